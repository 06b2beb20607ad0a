"""`t2 import`: any stored multi-sample output becomes a pool, whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2.errors import T2Error, quoted
from t2.grading.given import GIVEN, GivenGrader, given_classes, grader_named
from t2.grading.grade import FINISHED
from t2.hashing import sha256_of_file
from t2.spec import GREEDY_DRAW, Grader, Question
from t2.store.pool_spec import PoolSpec, check_or_create_spec, read_spec
from t2.store.sample_file import GivenQuestion, GivenSample, read_sample_file
from t2.store.schema import IMPORTED_SAMPLE_SCHEMA, PoolPaths
from t2.store.token_counter import TokenCounter
from t2.store.writer import add_shard, write_imported_questions

_ROWS_PER_SHARD = 65_536
_CHARACTERS_PER_SHARD = 64 * 1024 * 1024
"""A shard is written when either is reached, so that memory stays bounded however long answers are."""
_REASONS_SHOWN = 5
"""Finish reasons that a note names: a file may give each sample another one."""
_SPECIFIC = ("sha256", "tokenizer")
"""Keys of `source` that an import repeated into the same pool must share."""


@dataclass(frozen=True)
class ImportSummary:
    """What an import made, or found."""

    pool: Path
    already_there: bool
    """this very file was imported before, and nothing was written"""
    source: dict[str, Any]
    """as pool.json has it"""
    cost_unit: str

    def lines(self) -> Iterator[str]:
        """The summary as text."""
        source = self.source
        verb = "was imported before, nothing to do:" if self.already_there else "imported:"
        yield _utf8(
            f"{source['file']} {verb} {source['questions']} questions, {source['samples']} samples -> {self.pool}"
        )
        yield from source_notes(source, self.cost_unit)


def import_file(
    path: str, pool: str, grader: str | None = None, tokenizer: str | None = None, model: str | None = None
) -> ImportSummary:
    """Turn a JSONL file of questions with sampled answers into a pool.

    Args:
        path: one {"id", "question", "answer", "samples": [{"text" or "answer", "correct", "tokens"}]} a line.
        pool: folder of the new pool.
        grader: "numeric" or "exact" grades the samples again; by default the file's flags or string equality count.
        tokenizer: folder or hub id of the tokenizer that counts tokens which the file does not give.
        model: what produced the samples, for the record.

    Raises:
        T2Error: bad file, unknown grader or tokenizer, or a pool that is something else already.
    """
    file, target = Path(path), Path(os.path.realpath(pool))
    default_grader = None if grader in (None, GIVEN) else grader
    judge = grader_named(default_grader or GIVEN)
    identity = _identity(file, tokenizer)
    spec = _spec(identity, _utf8(model or "unknown"), default_grader, "tokens")
    if _is_taken(target):
        there = _same_import(PoolPaths(target), spec)
        return ImportSummary(Path(pool), True, there.source or {}, there.cost_unit)
    scratch = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        scratch.mkdir(parents=True)
        work = _Import(PoolPaths(scratch), judge, TokenCounter(tokenizer), f"import-{identity['sha256'][:12]}")
        for given in read_sample_file(file):
            work.add(given)
        source = {**identity, **work.finish(file)}
        spec = _spec(source, spec.model["id"], default_grader, work.counter.unit)
        check_or_create_spec(work.paths, spec)
        os.rename(scratch, target)
    except (OSError, pa.ArrowException) as error:
        raise T2Error(f"Expected to write the pool {target}, got: {error}. Check the folder.") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return ImportSummary(Path(pool), False, source, spec.cost_unit)


def source_notes(source: dict[str, Any], cost_unit: str, regraded: bool = False) -> Iterator[str]:
    """What a reader of numbers must know of an import.

    Args:
        source: of pool.json.
        cost_unit: of pool.json.
        regraded: a grader has read the samples, so what the file says of them does not count.
    """
    if cost_unit == "samples":
        yield "Cost is in samples, not tokens: the imported file gives no token counts and no tokenizer was named."
    if counted := source.get("tokens_counted"):
        yield f"Tokens of {counted} samples were counted from their text with the tokenizer {source['tokenizer']}."
    if unfinished := source.get("unfinished"):
        often = sorted(unfinished.items(), key=lambda item: (-item[1], item[0]))
        reasons = ", ".join(f"{quoted(reason, 40)} {count}" for reason, count in often[:_REASONS_SHOWN])
        more = f" and {len(often) - _REASONS_SHOWN} other reasons" if len(often) > _REASONS_SHOWN else ""
        yield f"{sum(unfinished.values())} samples abstain because they did not finish: finish_reason {reasons}{more}."
    if (bare := source.get("classes_from_text")) and not regraded:
        yield (
            f"{bare} samples vote for their whole text, since the file names no `answer` and no grader was chosen: "
            "equal answers in other words count as different."
        )


def _identity(file: Path, tokenizer: str | None) -> dict[str, Any]:
    """The first keys of `source`: the file and what counts its tokens, without folders.

    Raises:
        T2Error: no such file, or one that cannot be read.
    """
    try:
        if not file.is_file():
            raise T2Error(f"Expected a file of samples, got {file}. Check the path.")
        sha256 = sha256_of_file(file)
    except OSError as error:
        raise T2Error(f"Expected a file of samples, got {quoted(str(file))}: {error.strerror}. Check it.") from error
    name = Path(tokenizer).resolve().name if tokenizer and os.path.isdir(tokenizer) else tokenizer
    return {"file": _utf8(file.name), "sha256": sha256, "tokenizer": name and _utf8(name)}


def _is_taken(target: Path) -> bool:
    """Whether something lies where the pool should be.

    Raises:
        T2Error: nothing can lie there.
    """
    if str(target) != _utf8(str(target)):  # which pyarrow could not open
        raise T2Error(
            f"Expected a folder as `--pool` whose path UTF-8 can hold, got {str(target)[-60:]!r}. Choose another."
        )
    try:
        return target.exists() and (not target.is_dir() or any(target.iterdir()))
    except OSError as error:  # as a name that is too long
        raise T2Error(f"Expected a folder as `--pool`, got {quoted(str(target))}: {error.strerror}.") from error


def _utf8(name: str) -> str:
    """A name that UTF-8 can hold: those of files may be any bytes, which Python passes on as surrogates."""
    return name.encode("utf-8", "replace").decode()


def _spec(source: dict[str, Any], model: str, default_grader: str | None, cost_unit: str) -> PoolSpec:
    """The pool's identity: what is unknown is null."""
    name = f"imported-{source['sha256'][:16]}"
    unknown = dict.fromkeys(("temperature", "top_p", "top_k", "max_tokens", "stop"))
    return PoolSpec(
        model={"id": model, "revision": None, "fingerprint": name, "num_layers": None, "width": None},
        prompt={"template": None, "system": None, "shots": None, "fingerprint": name},
        sampling=unknown,
        source=source,
        default_grader=default_grader,
        cost_unit=cost_unit,
    )


def _same_import(paths: PoolPaths, asked: PoolSpec) -> PoolSpec:
    """The spec of the pool that lies at `paths` if it comes from the same file with the same options.

    Raises:
        T2Error: it does not.
    """
    if not paths.spec.is_file():
        raise T2Error(
            f"Expected an empty or new folder, got {paths.root} with something else. Choose another `--pool`."
        )
    there = read_spec(paths)
    if there.source is None:
        raise T2Error(f"Expected a new pool, got {paths.root}, which t2 label fills. Choose another `--pool`.")
    wanted = asked.source or {}
    pairs = {
        "file": (there.source["sha256"][:12], wanted["sha256"][:12]),
        "--tokenizer": (there.source["tokenizer"], wanted["tokenizer"]),
        "--model": (there.model["id"], asked.model["id"]),
        "--grader": (there.default_grader, asked.default_grader),
    }
    if other := [f"{name} {mine} there, {theirs} asked" for name, (mine, theirs) in pairs.items() if mine != theirs]:
        raise T2Error(
            f"Expected the import that {paths.root} holds ({there.source['file']}), got a difference in "
            f"{'; '.join(other)}. Choose another `--pool`."
        )
    return there


@dataclass
class _Import:
    """Rows on their way into shards."""

    paths: PoolPaths
    grader: Grader
    """must be able to read every gold answer"""
    counter: TokenCounter
    writer: str
    """name of the one manifest"""
    questions: list[Question] = field(default_factory=list)
    prompt_tokens: list[int] = field(default_factory=list)
    num_samples: int = 0
    num_greedy: int = 0
    from_text: int = 0
    unfinished: Counter[str] = field(default_factory=Counter)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _characters: int = 0
    _shards: int = 0

    def add(self, given: GivenQuestion) -> None:
        """Take in one question with its samples.

        Raises:
            T2Error: a gold answer that the grader cannot read, contradictory flags, or tokens of some samples alone.
        """
        gold = GivenGrader().gold_class(given.question.answer)
        if gold is None or self.grader.gold_class(given.question.answer) is None:
            raise T2Error(
                f"Expected an `answer` that grader {self.grader.version!r} can read, got "
                f"{quoted(given.question.answer, 40)} at {given.where}. Mend it, or choose another `--grader`."
            )
        samples = [*([given.greedy] if given.greedy else []), *given.samples]
        draws = range(GREEDY_DRAW if given.greedy else 0, len(given.samples))
        tokens = self.counter.of(samples, given.where)
        classes = given_classes(gold, samples, given.where)
        for draw, sample, num_tokens, vote in zip(draws, samples, tokens, classes, strict=True):
            row = self._row(given.question.id, draw, sample, num_tokens, vote)
            self._rows.append(row)
            self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
            self.from_text += not sample.has_answer and vote not in (None, gold)
            if sample.finish_reason != FINISHED:
                self.unfinished[sample.finish_reason] += 1
        self.questions.append(given.question)
        self.prompt_tokens.append(self.counter.of_prompt(given))
        self.num_samples += len(given.samples)
        self.num_greedy += given.greedy is not None
        if len(self._rows) >= _ROWS_PER_SHARD or self._characters >= _CHARACTERS_PER_SHARD:
            self._flush()

    def finish(self, file: Path) -> dict[str, Any]:
        """Write what is left and the questions; returns what `source` says beside the file's identity.

        Raises:
            T2Error: no question has any sample.
        """
        if self.num_samples == 0:
            raise T2Error(f"Expected samples of at least one question, got none in {file}.")
        self._flush()
        write_imported_questions(self.paths, self.questions, self.prompt_tokens)
        return {
            "questions": len(self.questions),
            "samples": self.num_samples,
            "greedy": self.num_greedy,
            "tokens_counted": self.counter.counted,
            "classes_from_text": self.from_text,
            "unfinished": dict(sorted(self.unfinished.items())),
        }

    def _row(self, question_id: str, draw: int, sample: GivenSample, tokens: int, vote: str | None) -> dict[str, Any]:
        return {
            "question_id": question_id,
            "draw": draw,
            "num_tokens": tokens,
            "token_ids": [],
            "text": sample.text,
            "finish_reason": sample.finish_reason,
            "engine_seed": 0,
            "writer": self.writer,
            "attempt": 1,
            "given_class": vote,
            "given_answer": sample.answer,
        }

    def _flush(self) -> None:
        if self._rows:
            self._shards += 1
            table = pa.Table.from_pylist(self._rows, schema=IMPORTED_SAMPLE_SCHEMA)
            add_shard(self.paths, self.writer, f"{self.writer}-{self._shards:05d}.parquet", table)
            self._rows, self._characters = [], 0
