"""Rows of a file for `t2 import`, and what a pool holds of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from t2.grading.graded import GradedPool
from t2.importing.command import ImportSummary
from t2.pools.load import load_pool
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths

Import = Callable[..., ImportSummary]


def question(id: Any = "q", samples: Any = ({"answer": "7"},), **more: Any) -> dict[str, Any]:
    return {"id": id, "question": f"question {id}", "answer": "7", "samples": list(samples), **more}


def samples(*answers: Any, **common: Any) -> list[dict[str, Any]]:
    return [{"answer": answer, **common} for answer in answers]


def stored(pool: Path) -> list[dict[str, Any]]:
    reader = ShardReader(PoolPaths(pool))
    reader.refresh()
    return [row for table in reader.tables.values() for row in table.to_pylist()]


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def graded(pool: Path, grader: str | None = None) -> GradedPool:
    return load_pool(pool, grader).pool
