"""Append samples to a pool. What `flush` has returned from survives kill -9 and power loss."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from t2.hashing import sha256_of_file
from t2.spec import Question, SampleResult
from t2.store.files import append_line, write_atomically
from t2.store.schema import IMPORTED_QUESTION_SCHEMA, QUESTION_SCHEMA, SAMPLE_SCHEMA, PoolPaths

FLUSH_SECONDS = 10.0
"""Longest time that finished requests wait in memory: kill -9 loses these, and the requests in flight."""


def write_table(path: Path, table: pa.Table) -> None:
    """Write a Parquet file atomically."""
    write_atomically(path, lambda scratch: pq.write_table(table, scratch, compression="zstd"))


def write_questions(paths: PoolPaths, questions: Iterable[Question], prompt_ids: Iterable[tuple[int, ...]]) -> None:
    """Replace the questions file."""
    write_table(paths.questions, pa.Table.from_pylist(_question_rows(questions, prompt_ids), schema=QUESTION_SCHEMA))


def write_imported_questions(paths: PoolPaths, questions: Sequence[Question], prompt_tokens: Sequence[int]) -> None:
    """Write the questions file of an imported pool: how long the prompts were, not what they were."""
    rows = _question_rows(questions, [()] * len(questions))
    rows = [{**row, "prompt_tokens": tokens} for row, tokens in zip(rows, prompt_tokens, strict=True)]
    write_table(paths.questions, pa.Table.from_pylist(rows, schema=IMPORTED_QUESTION_SCHEMA))


def _question_rows(questions: Iterable[Question], prompt_ids: Iterable[tuple[int, ...]]) -> list[dict[str, Any]]:
    return [
        {**vars(question), "question_id": question.id, "prompt_ids": list(ids)}  # the schema leaves out `id`
        for question, ids in zip(questions, prompt_ids, strict=True)
    ]


def writer_name() -> str:
    """A name that no other writer has, and that comes after those of earlier ones."""
    return f"{time.strftime('%Y%m%dT%H%M%S')}-{os.urandom(4).hex()}"


@dataclass
class ShardWriter:
    """Buffers finished requests and turns them into shards; owns one manifest."""

    paths: PoolPaths
    engine_seed: int
    attempt: int
    name: str = field(default_factory=writer_name)
    flush_seconds: float = FLUSH_SECONDS
    _results: list[SampleResult] = field(default_factory=list)
    _last_flush: float = field(default_factory=time.monotonic)
    _serial: int = 0
    stored: int = 0
    """samples flushed so far"""

    def append(self, result: SampleResult) -> None:
        """Add the samples of one request; all its rows go into the same shard."""
        if len(result.samples) != len(result.request.draws):
            raise ValueError(f"Expected {len(result.request.draws)} samples, got {len(result.samples)}.")
        self._results.append(result)

    def flush_if_due(self) -> bool:
        """Flush when `flush_seconds` have passed since the last time; True if it did."""
        if time.monotonic() - self._last_flush < self.flush_seconds:
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Write the buffered rows as a shard, then name it in the manifest."""
        if self._results:
            table = self._table()
            # Counted afterwards: a flush that a signal cut short is repeated into the same shard.
            add_shard(self.paths, self.name, f"{self.name}-{self._serial + 1:05d}.parquet", table)
            self._serial, self._results, self.stored = self._serial + 1, [], self.stored + table.num_rows
        self._last_flush = time.monotonic()

    def _table(self) -> pa.Table:
        process = {"engine_seed": self.engine_seed, "writer": self.name, "attempt": self.attempt}
        rows = [
            {"question_id": result.request.question_id, "draw": draw, "num_tokens": len(sample.token_ids)}
            | vars(sample)
            | process
            for result in self._results
            for draw, sample in zip(result.request.draws, result.samples, strict=True)
        ]
        return pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA)


def add_shard(paths: PoolPaths, writer: str, file_name: str, table: pa.Table) -> None:
    """Write a shard and only then the manifest line that makes it count."""
    path = paths.shards / file_name
    write_table(path, table)
    entry = {
        "shard": file_name,
        "rows": table.num_rows,
        "bytes": path.stat().st_size,
        "sha256": sha256_of_file(path),
        "engine_seeds": sorted(set(table["engine_seed"].to_pylist())),
    }
    append_line(paths.manifests / f"{writer}.jsonl", json.dumps(entry))
