"""From stored samples to a `GradedPool`. Grades are sidecars beside the shards, keyed by grader version and derived."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from t2.errors import T2Error, quoted
from t2.grading.given import GIVEN, GivenGrader, as_imported
from t2.grading.grade import golds_of, vote_of
from t2.grading.graded import GradedPool
from t2.hashing import digest
from t2.pools.complete import complete_ids, needed_draws
from t2.spec import FINISHED, GREEDY_DRAW, Grader, Question
from t2.store.pool_spec import read_spec
from t2.store.reader import ShardReader
from t2.store.writer import write_table
from t2.voting import ABSENT, ABSTAINED

_SIDECAR_SCHEMA = pa.schema([("answer_class", pa.string())])
_Row = tuple[int, str | None, int, str]
"""draw, answer class, generated tokens, finish reason"""


def grades_of_shard(reader: ShardReader, shard: str, grader: Grader) -> list[str | None]:
    """The class each row of a shard votes for; read from the sidecar if there is one, else graded and stored.

    Raises:
        T2Error: given grades are asked of samples that were not imported.
    """
    table = reader.tables[shard]
    if isinstance(grader, GivenGrader):
        if "given_class" not in table.column_names:
            raise T2Error(
                f"Expected grades that were imported with the samples, got none in {reader.paths.root}. "
                f"Choose another grader than {GIVEN!r}."
            )
        return list(table["given_class"].to_pylist())
    slug = re.sub(r"[^A-Za-z0-9._-]+", "_", grader.version)
    path = reader.paths.grades / f"{slug}-{digest(grader.version)[:8]}" / shard
    if path.exists():
        with contextlib.suppress(OSError, pa.ArrowInvalid, KeyError):  # a damaged sidecar is graded anew
            sidecar = pq.read_table(path)
            if sidecar.num_rows == table.num_rows:
                return list(sidecar["answer_class"].to_pylist())
    texts, reasons = table["text"].to_pylist(), table["finish_reason"].to_pylist()
    answers = _column(table, "given_answer")
    grades = [
        vote_of(grader, text, reason) if answer is None else _vote_of_answer(grader, answer, reason)
        for text, answer, reason in zip(texts, answers, reasons, strict=True)
    ]
    with contextlib.suppress(OSError):  # a read-only pool is graded anew each time
        write_table(path, pa.table({"answer_class": grades}, schema=_SIDECAR_SCHEMA))
    return grades


def _column(table: pa.Table, name: str) -> list[str | None]:
    """A column that only imported pools have."""
    return list(table[name].to_pylist()) if name in table.column_names else [None] * table.num_rows


def _vote_of_answer(grader: Grader, answer: str, finish_reason: str) -> str | None:
    """`vote_of` for a bare answer, which has no marker to look for."""
    return grader.gold_class(answer) if finish_reason == FINISHED else None


class PoolGrader:
    """Grades a pool shard by shard as it grows."""

    def __init__(self, reader: ShardReader, grader: Grader) -> None:
        has_spec = reader.paths.spec.exists()
        self.reader, self.grader = reader, as_imported(grader, read_spec(reader.paths)) if has_spec else grader
        self._rows: dict[str, dict[int, _Row]] = {}

    def refresh(self) -> None:
        """Take in the shards written since the last call; of duplicates the first counts."""
        for shard in self.reader.refresh():
            table = self.reader.tables[shard]
            columns = [table[name].to_pylist() for name in ("question_id", "draw", "num_tokens", "finish_reason")]
            grades = grades_of_shard(self.reader, shard, self.grader)
            for question_id, draw, tokens, reason, grade in zip(*columns, grades, strict=True):
                self._rows.setdefault(question_id, {}).setdefault(draw, (draw, grade, tokens, reason))

    def complete_ids(self, samples_per_question: int, with_greedy: bool = True) -> set[str]:
        """Questions that have the first M draws and, if it counts, their greedy answer."""
        held = {question_id: rows.keys() for question_id, rows in self._rows.items()}
        return complete_ids(held, needed_draws(samples_per_question, imported=not with_greedy))

    def num_samples(self, question_id: str) -> int:
        """Stored samples of a question, not counting the greedy answer."""
        rows = self._rows.get(question_id, {})
        return len(rows) - (GREEDY_DRAW in rows)

    def pool(
        self, questions: Sequence[Question], prompt_tokens: Sequence[int], max_samples: int | None = None
    ) -> GradedPool:
        """The graded samples of `questions`, in their order; of draws 0..max_samples-1 alone, if that is given.

        Raises:
            T2Error: a question has no samples.
        """
        rows_Q = [self._samples(question.id, max_samples) for question in questions]
        if empty := [q.id for q, rows in zip(questions, rows_Q, strict=True) if not rows]:
            raise T2Error(
                f"Expected samples of every question, got none for {len(empty)} of {len(questions)} "
                f"(first: {quoted(empty[0])}). Finish the pool: t2 label --config FILE"
            )
        length_Q = torch.tensor([len(rows) for rows in rows_Q], dtype=torch.long)
        present_QM = torch.arange(max((len(rows) for rows in rows_Q), default=1)) < length_Q[:, None]
        votes: list[int] = []
        right: list[bool] = []
        greedy_Q = [self._rows[question.id].get(GREEDY_DRAW) for question in questions]
        gold_Q = golds_of(self.grader, questions)
        for gold, rows in zip(gold_Q, rows_Q, strict=True):
            # Class indices count from 0 within a question, in order of first vote: text classes only compare equal.
            classes: dict[str, int] = {}
            votes += [ABSTAINED if r[1] is None else classes.setdefault(r[1], len(classes)) for r in rows]
            right += [r[1] == gold for r in rows]

        def padded(values: list[Any], fill: int | bool) -> Tensor:
            """One value a sample, in order, as (Q, M); a tensor for each question would take seconds."""
            padded_QM = torch.full(present_QM.shape, fill)
            padded_QM[present_QM] = torch.tensor(values, dtype=padded_QM.dtype)  # a mask fills row by row
            return padded_QM

        return GradedPool(
            question_ids=tuple(q.id for q in questions),
            dedup_keys=tuple(q.dedup_key for q in questions),
            families=tuple(q.family for q in questions),
            sizes=tuple(q.size for q in questions),
            vote_QM=padded(votes, ABSENT),
            right_QM=padded(right, False),
            tokens_QM=padded([r[2] for rows in rows_Q for r in rows], 0),
            truncated_QM=padded([r[3] != FINISHED for rows in rows_Q for r in rows], False),
            greedy_right_Q=torch.tensor(
                [g is not None and g[1] == w for g, w in zip(greedy_Q, gold_Q, strict=True)], dtype=torch.bool
            ),
            greedy_tokens_Q=torch.tensor([g[2] if g else 0 for g in greedy_Q], dtype=torch.long),
            prompt_tokens_Q=torch.tensor(list(prompt_tokens), dtype=torch.long),
            greedy_present_Q=torch.tensor([g is not None for g in greedy_Q], dtype=torch.bool),
        )

    def _samples(self, question_id: str, max_samples: int | None) -> list[_Row]:
        """The sampled (not greedy) rows of a question, by draw."""
        rows = self._rows.get(question_id, {})
        limit = max(rows, default=-1) + 1 if max_samples is None else max_samples
        return [rows[draw] for draw in range(limit) if draw in rows]
