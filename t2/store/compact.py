"""Merge the many small shards of a pool into one, at any moment without losing a sample."""

from __future__ import annotations

import pyarrow as pa

from t2.store.reader import ShardReader, manifest_entries
from t2.store.schema import PoolPaths
from t2.store.writer import add_shard

COMPACT_ABOVE_SHARDS = 32
"""More shards than this are merged into one when a labelling process starts or ends."""


def compact(paths: PoolPaths, above: int = COMPACT_ABOVE_SHARDS) -> None:
    """Merge the shards into one if there are more than `above`; duplicates (by question and draw) are dropped.

    Safe at every moment: the merged shard is named before the old manifests go, and readers drop duplicates.
    Only the holder of the lock calls it.
    """
    old_manifests = sorted(paths.manifests.glob("*.jsonl"))
    old_shards = [entry["shard"] for entry in manifest_entries(paths)]
    if len(old_shards) <= above:
        return
    reader = ShardReader(paths)
    reader.refresh()
    merged = deduplicated(pa.concat_tables(reader.tables.values()))
    name = f"{max(path.stem for path in old_manifests)}-merged"
    add_shard(paths, name, f"{name}.parquet", merged)
    # Manifests first: a shard that a manifest names must be there, one that none names is no harm.
    for path in [*old_manifests, *(paths.shards / shard for shard in old_shards)]:
        path.unlink(missing_ok=True)


def deduplicated(table: pa.Table) -> pa.Table:
    """The first row of every (question, draw), in order of appearance."""
    keys = zip(table["question_id"].to_pylist(), table["draw"].to_pylist(), strict=True)
    first: dict[tuple[str, int], int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return table if len(first) == table.num_rows else table.take(list(first.values()))
