"""Read a pool, live or finished: the union of all shards that the manifests name, each read once."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from t2.errors import T2Error
from t2.hashing import sha256_of_file
from t2.spec import Question
from t2.store.schema import QUESTION_SCHEMA, PoolPaths


def manifest_entries(paths: PoolPaths) -> list[dict[str, Any]]:
    """All complete manifest lines, in a fixed order; a line without its newline was never finished and is ignored."""
    entries = []
    for manifest in sorted(paths.manifests.glob("*.jsonl")):
        lines = manifest.read_text(encoding="utf-8").split("\n")[:-1]
        try:
            parsed = [json.loads(line) for line in lines]
        except json.JSONDecodeError as error:
            raise T2Error(
                f"Expected JSON lines in {manifest}, got {error}. Delete the damaged line and run t2 label again."
            ) from error
        if odd := [entry for entry in parsed if not (isinstance(entry, dict) and {"shard", "sha256"} <= entry.keys())]:
            raise T2Error(
                f"Expected objects with shard and sha256 in {manifest}, got {str(odd[0])[:40]!r}. Delete the damaged "
                "line and run t2 label again."
            )
        entries += parsed
    return entries


def read_questions(paths: PoolPaths) -> tuple[list[Question], list[tuple[int, ...]]]:
    """Questions of the pool and their prompt token ids.

    Raises:
        T2Error: the file is missing or damaged.
    """
    try:
        rows = pq.read_table(paths.questions, columns=QUESTION_SCHEMA.names).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise T2Error(
            f"Expected the pool's questions, got {paths.questions}: {error}. Restore the file, or run t2 label again."
        ) from error
    if rows and (missing := set(QUESTION_SCHEMA.names) - rows[0].keys()):
        raise T2Error(f"Expected columns {sorted(missing)} in {paths.questions}, got none such. Restore the file.")
    names = [each.name for each in fields(Question) if each.name != "id"]
    questions = [Question(id=row["question_id"], **{name: row[name] for name in names}) for row in rows]
    return questions, [tuple(row["prompt_ids"]) for row in rows]


def read_prompt_tokens(paths: PoolPaths) -> list[int]:
    """Tokens of each question's prompt, in the order of `read_questions`; 0 where an import did not know."""
    table = pq.read_table(paths.questions)
    if "prompt_tokens" in table.column_names:
        return [int(tokens) for tokens in table["prompt_tokens"].to_pylist()]
    return [len(ids) for ids in table["prompt_ids"].to_pylist()]


@dataclass
class ShardReader:
    """Samples of a pool; `refresh` takes in what has been added since."""

    paths: PoolPaths
    tables: dict[str, pa.Table] = field(default_factory=dict)
    """shard file name -> rows"""

    def refresh(self) -> list[str]:
        """Read new shards; returns their names.

        Raises:
            T2Error: a shard that a manifest names is missing or differs from its checksum.
        """
        with contextlib.suppress(FileNotFoundError):
            return self._read_new()
        # A labeller that compacts its shards removes old manifests first: look again once.
        try:
            return self._read_new()
        except FileNotFoundError as error:
            raise T2Error(
                f"Expected every shard that {self.paths.manifests} names, got none at {error.filename}. "
                "Restore it, or delete its manifest line and run t2 label again."
            ) from error

    def _read_new(self) -> list[str]:
        new: dict[str, pa.Table] = {}
        for entry in manifest_entries(self.paths):
            if entry["shard"] not in self.tables:
                new[entry["shard"]] = _read_checked(self.paths.shards / entry["shard"], entry)
        self.tables.update(new)
        return list(new)

    def engine_seeds(self) -> set[int]:
        return {seed for table in self.tables.values() for seed in table["engine_seed"].unique().to_pylist()}

    def attempts(self) -> set[int]:
        """Ordinals of the labelling processes that have written here."""
        return {attempt for table in self.tables.values() for attempt in table["attempt"].unique().to_pylist()}


def _read_checked(path: Path, entry: dict[str, Any]) -> pa.Table:
    if sha256_of_file(path) != entry["sha256"]:
        raise T2Error(
            f"Expected SHA-256 {entry['sha256'][:12]}... for {path}, got another: the file is damaged. "
            "Restore it, or delete its manifest line and run t2 label again."
        )
    return pq.read_table(path)
