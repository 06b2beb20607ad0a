"""The rows of an imported pool on their way into shards; memory stays bounded however long the file is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2.errors import T2Error, quoted
from t2.grading.given import GivenGrader
from t2.importing.given_classes import given_classes
from t2.importing.sample_file import GivenQuestion
from t2.importing.token_counter import TokenCounter
from t2.spec import FINISHED, GREEDY_DRAW, Grader, Question
from t2.store.schema import IMPORTED_SAMPLE_SCHEMA, PoolPaths
from t2.store.writer import add_shard, write_imported_questions

_ROWS_PER_SHARD = 65_536
_CHARACTERS_PER_SHARD = 64 * 1024 * 1024
"""A shard is written when either is reached, so that memory stays bounded however long answers are."""


@dataclass
class ImportedRows:
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
            row = {
                "question_id": given.question.id,
                "draw": draw,
                "num_tokens": num_tokens,
                "token_ids": [],
                "text": sample.text,
                "finish_reason": sample.finish_reason,
                "engine_seed": 0,
                "writer": self.writer,
                "attempt": 1,
                "given_class": vote,
                "given_answer": sample.answer,
            }
            self._rows.append(row)
            self._characters += sum(len(value) for value in row.values() if isinstance(value, str))
            self.from_text += not sample.has_answer and vote not in (None, gold)
            if draw != GREEDY_DRAW and sample.finish_reason != FINISHED:
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

    def _flush(self) -> None:
        if self._rows:
            self._shards += 1
            table = pa.Table.from_pylist(self._rows, schema=IMPORTED_SAMPLE_SCHEMA)
            add_shard(self.paths, self.writer, f"{self.writer}-{self._shards:05d}.parquet", table)
            self._rows, self._characters = [], 0
