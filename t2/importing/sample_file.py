"""The file that `t2 import` reads: one question a line with its sampled answers. `docs/FORMATS.md` describes it."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2.errors import T2Error
from t2.spec import FINISHED, Question

_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class GivenSample:
    """One sample as the file gives it."""

    text: str
    """the whole output; the answer where the file has no text"""
    answer: str | None
    """the bare answer; None: none given, or null (nothing could be read)"""
    has_answer: bool
    """the file says what the answer is, be it null"""
    correct: bool | None
    """None: not flagged"""
    tokens: int | None
    """generated tokens; None: not given"""
    finish_reason: str


@dataclass(frozen=True)
class GivenQuestion:
    """One line of the file."""

    where: str
    """FILE:LINE, for errors"""
    question: Question
    prompt_tokens: int | None
    samples: tuple[GivenSample, ...]
    """in order of draw; may be empty"""
    greedy: GivenSample | None


class _Number(str):
    """A JSON number as it is written: 0.50 stays 0.50, and a megabyte of digits is a text like any other."""


def read_sample_file(path: Path) -> Iterator[GivenQuestion]:
    """The questions of a file, line by line; blank lines are skipped.

    Raises:
        T2Error: missing, empty or non-UTF-8 file, bad JSON, missing field, wrong type, duplicate id; names the line.
    """
    first_line: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if not (raw := raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip():
                    continue
                given = _question(_object(raw, f"{path}:{number}"), f"{path}:{number}")
                if (before := first_line.setdefault(given.question.id, number)) != number:
                    twice = _short(given.question.id)
                    raise T2Error(f"Expected unique ids, got {twice} on lines {before} and {number} of {path}.")
                yield given
    except OSError as error:
        raise T2Error(f"Expected a file of samples, got {path}: {error.strerror}. Check the path.") from error
    if not first_line:
        raise T2Error(f"Expected at least one question, got an empty file: {path}.")


def _object(raw: bytes, where: str) -> dict[str, Any]:
    """One line as a JSON object, numbers as they are written."""
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise T2Error(
            f"Expected UTF-8, got byte {raw[error.start]:#04x} at offset {error.start} of {where}. "
            "Convert the file: iconv -f LATIN1 -t UTF-8"
        ) from error
    try:
        row: Any = json.loads(line, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError) as error:
        raise T2Error(f"Expected a JSON object, got {_short(line)} at {where}: {error}.") from error
    if not isinstance(row, dict):
        raise T2Error(f"Expected a JSON object, got {_short(line)} at {where}.")
    return row


def _question(row: dict[str, Any], where: str) -> GivenQuestion:
    text = _required(row, "question", where)
    dedup_key = _text(row, "dedup_key", where)
    samples = row.get("samples")
    if not isinstance(samples, list):
        raise T2Error(f"Expected the field 'samples' with a list, got {_short(samples)} at {where}.")
    question = Question(
        id=_required(row, "id", where),
        text=text,
        answer=_required(row, "answer", where),
        dedup_key=dedup_key or " ".join(text.casefold().split()),
        family=_text(row, "family", where) or "",
        size=_count(row, "size", where) or 0,
    )
    greedy = row.get("greedy")
    return GivenQuestion(
        where=where,
        question=question,
        prompt_tokens=_count(row, "prompt_tokens", where),
        samples=tuple(_sample(sample, f"samples[{i}] at {where}") for i, sample in enumerate(samples)),
        greedy=None if greedy is None else _sample(greedy, f"greedy at {where}"),
    )


def _sample(row: Any, where: str) -> GivenSample:
    if not isinstance(row, dict):
        raise T2Error(f"Expected an object with 'text' or 'answer', got {_short(row)} in {where}.")
    text, answer = _text(row, "text", where), _text(row, "answer", where)
    if text is None and "answer" not in row:
        raise T2Error(f"Expected 'text' or 'answer', got the fields {_short(sorted(row))} in {where}.")
    correct = row.get("correct")
    if not (correct is None or isinstance(correct, bool)):
        raise T2Error(f"Expected true or false as `correct`, got {_short(correct)} in {where}.")
    reason = _text(row, "finish_reason", where)
    return GivenSample(
        text=text if text is not None else answer or "",
        answer=answer,
        has_answer="answer" in row,
        correct=correct,
        tokens=_count(row, "tokens", where),
        finish_reason=FINISHED if reason is None else reason,
    )


def _required(row: dict[str, Any], key: str, where: str) -> str:
    value = _text(row, key, where)
    if value is None or not value.strip():
        raise T2Error(f"Expected the field {key!r}, got {_short(value)} at {where}. Add it or remove the line.")
    return value


def _text(row: dict[str, Any], key: str, where: str) -> str | None:
    """A text, or a number as it is written; None if missing or null."""
    value = row.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise T2Error(f"Expected a text as `{key}`, got {_short(value)} in {where}.")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise T2Error(
                f"Expected a text that UTF-8 can hold, got half a surrogate pair in `{key}` of {where}. "
                "Replace it, as by text.encode('utf-8', 'replace')."
            ) from error
    return str(value)


def _count(row: dict[str, Any], key: str, where: str) -> int | None:
    """An integer from 0 to 2^31 - 1; None if missing or null."""
    value = row.get(key)
    if value is None:
        return None
    # isdecimal alone would let 4,301 digits through to int(), which refuses them.
    if not (isinstance(value, _Number) and value.isdecimal() and len(value) <= 10 and int(value) <= _LARGEST_INT32):
        raise T2Error(f"Expected an integer of at least 0 as `{key}`, got {_short(value)} in {where}.")
    return int(value)


def _short(value: Any) -> str:
    """A value for an error message: one line, not long; a number as it is written."""
    if value is None:
        return "nothing"
    text = str(value[:60]) if isinstance(value, _Number) else repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
