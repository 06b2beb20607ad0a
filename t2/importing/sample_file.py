"""The file that `t2 import` reads: one question a line with its sampled answers. `docs/FORMATS.md` describes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from t2.errors import T2Error
from t2.json_lines import JsonObject, Unique, read_objects, short
from t2.spec import FINISHED, Question

_FINISHED_ELSEWHERE = frozenset(("stop", "stop_sequence", "end_turn", "eos", "eos_token", "completed", "complete"))
"""What other engines call an answer that ended by itself, in lower case."""


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
    """`FINISHED` whatever the file calls it, or what ended the answer otherwise"""


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


def read_sample_file(path: Path) -> Iterator[GivenQuestion]:
    """The questions of a file, line by line; blank lines are skipped.

    Raises:
        T2Error: missing, empty or non-UTF-8 file, bad JSON, missing field, wrong type, duplicate id; names the line.
    """
    ids = Unique(path)
    for line in read_objects(path, "samples"):
        given = _question(line)
        ids.add(given.question.id, line.line)
        yield given


def _question(line: JsonObject) -> GivenQuestion:
    text, dedup_key, where = line.required("question"), line.text("dedup_key"), line.where
    samples, greedy = line.row.get("samples"), line.row.get("greedy")
    if not isinstance(samples, list):
        raise T2Error(f"Expected the field 'samples' with a list, got {short(samples)} at {where}.")
    question = Question(
        id=line.required("id"),
        text=text,
        answer=line.required("answer"),
        dedup_key=dedup_key or " ".join(text.casefold().split()),
        family=line.text("family") or "",
        size=line.count("size") or 0,
    )
    return GivenQuestion(
        where=where,
        question=question,
        prompt_tokens=line.count("prompt_tokens"),
        samples=tuple(_sample(sample, f"samples[{i}] at {where}", line.line) for i, sample in enumerate(samples)),
        greedy=None if greedy is None else _sample(greedy, f"greedy at {where}", line.line),
    )


def _sample(row: object, where: str, line: int) -> GivenSample:
    if not isinstance(row, dict):
        raise T2Error(f"Expected an object with 'text' or 'answer', got {short(row)} in {where}.")
    given = JsonObject(row, where, line)
    text, answer = given.text("text"), given.text("answer")
    if text is None and "answer" not in row:
        raise T2Error(f"Expected 'text' or 'answer', got the fields {short(sorted(row))} in {where}.")
    correct = row.get("correct")
    if not (correct is None or isinstance(correct, bool)):
        raise T2Error(f"Expected true or false as `correct`, got {short(correct)} in {where}.")
    reason = given.text("finish_reason")
    return GivenSample(
        text=text if text is not None else answer or "",
        answer=answer,
        has_answer="answer" in row,
        correct=correct,
        tokens=given.count("tokens"),
        finish_reason=FINISHED if reason is None or reason.casefold() in _FINISHED_ELSEWHERE else reason,
    )
