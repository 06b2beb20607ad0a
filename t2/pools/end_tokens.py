"""Pools that are older than the record of what ends an answer: their samples tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from t2.errors import T2Error
from t2.spec import FINISHED


def check_ends(tables: Iterable[pa.Table], ends: Iterable[int], stop: Iterable[str], where: object) -> None:
    """Refuse samples of a model that ends its answers otherwise than the stored ones end.

    A stored sample that finished without a stop text ends with an end token, and none has one before its last token.

    Args:
        tables: of samples, as shards hold them.
        ends: token ids that end an answer now.
        stop: texts that end one, too.
        where: folder of the pool, for the error.

    Raises:
        T2Error: a stored sample ends with another token, or goes on after one of these.
    """
    asked, seen_last, inside = np.array(sorted(ends)), set[int](), set[int]()
    for table in tables:
        lists = table["token_ids"].combine_chunks()
        tokens, starts = lists.values.to_numpy(), lists.offsets.to_numpy()[:-1]
        lengths = np.diff(lists.offsets.to_numpy())
        last = (starts + lengths - 1)[lengths > 0]
        finished = np.array(table["finish_reason"].to_pylist(), dtype=object)[lengths > 0] == FINISHED
        seen_last |= set(np.unique(tokens[last[finished]]).tolist())
        before = np.ones(len(tokens), dtype=bool)
        before[last] = False
        inside |= set(np.intersect1d(tokens[before], asked).tolist())
    others = seen_last - set(asked.tolist())
    if others and not tuple(stop):
        raise _refused(where, f"samples that end with token {_ids(others)}", asked)
    if inside:
        raise _refused(where, f"samples that go on after token {_ids(inside)}", asked)


def _refused(where: object, samples: str, asked: Any) -> T2Error:
    return T2Error(
        f"Expected a model that ends its answers as those of pool {where}, got one that ends them at token "
        f"{_ids(asked.tolist())}, and the pool has {samples}. Restore generation_config.json and the tokenizer, or "
        "choose another `data.pool.path`."
    )


def _ids(tokens: Iterable[int]) -> str:
    return " or ".join(map(str, sorted(tokens)))
