"""Samples that a preview has drawn: kept beside the pool, by the settings they were drawn with, until it takes them.

A preview comes before a pool has settings of its own, and may be of other ones. So its samples lie in a pool beside it,
`PATH.previews/KEY`, whose key is a digest of model, prompt and sampling. A pool that is filled with the same settings
copies from there what it lacks. Nothing is removed: the copy in the folder does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2.hashing import digest
from t2.pools.complete import held_draws
from t2.store.pool_spec import read_spec
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.store.writer import add_shard, writer_name


def preview_paths(pool: str | Path, model_fingerprint: str, prompt: str, sampling: Mapping[str, Any]) -> PoolPaths:
    """Where previews of a pool's settings keep their samples.

    Args:
        pool: folder of the pool.
        model_fingerprint: of the LLM.
        prompt: fingerprint of the prompt as it is asked for: a day that nobody has named is not in it.
        sampling: `Sampler.recorded()`.
    """
    key = digest({"model": model_fingerprint, "prompt": prompt, "sampling": dict(sampling)})[:16]
    folder = Path(pool)
    if folder.name in ("", ".."):  # of a folder that is named by where one stands
        folder = folder.resolve()
    return PoolPaths(folder.with_name(f"{folder.name}.previews") / key)


def take_over(paths: PoolPaths, previews: PoolPaths, prompts: Mapping[str, tuple[int, ...]]) -> int:
    """Copy into a pool the samples that it lacks and its preview has; how many that are.

    Only the holder of the pool's lock calls it. A question counts if its prompt is the same, whatever its gold answer.

    Args:
        paths: the pool.
        previews: of its settings.
        prompts: token ids of the prompt of each of the pool's questions, by id.
    """
    if not previews.spec.exists() or read_spec(paths).difference(read_spec(previews)):
        return 0
    there, here = ShardReader(previews), ShardReader(paths)
    there.refresh()
    here.refresh()
    held, rows = held_draws(here), []
    same = {q.id for q, prompt in zip(*read_questions(previews), strict=True) if prompts.get(q.id) == prompt}
    for table in there.tables.values():
        keys = zip(table["question_id"].to_pylist(), table["draw"].to_pylist(), strict=True)
        wanted = [name in same and draw not in held.get(name, ()) for name, draw in keys]
        rows.append(table.filter(pa.array(wanted, pa.bool_())))
    missing = pa.concat_tables(rows) if rows else None
    if not missing:
        return 0
    writer = f"{writer_name()}-preview"
    add_shard(paths, writer, f"{writer}-00001.parquet", missing)
    return int(missing.num_rows)
