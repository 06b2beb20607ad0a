"""Where the questions of a pool came from, if the config alone does not decide it: asked again, they stay the same."""

from __future__ import annotations

import json

from t2.json_lines import read_objects
from t2.store.files import append_line
from t2.store.schema import PoolPaths


def read_origins(paths: PoolPaths) -> list[dict[str, str]]:
    """What the pool has recorded, oldest first; nothing where there is no pool.

    Raises:
        T2Error: the file is damaged.
    """
    if not paths.origins.exists():
        return []
    return [{key: line.required(key) for key in line.row} for line in read_objects(paths.origins, "origins")]


def add_origin(paths: PoolPaths, origin: dict[str, str] | None) -> None:
    """Record where a task's questions came from, once; None: the config says it."""
    if origin is not None and origin not in read_origins(paths):
        append_line(paths.origins, json.dumps(origin, ensure_ascii=False))
