"""Engine seeds: no two labelling processes of a pool may share one."""

from __future__ import annotations

import secrets

from t2.errors import T2Error


def fresh_engine_seed(used: set[int], wanted: int | None) -> int:
    """An engine seed that is not `used` in the pool, random if none is wanted: equal seeds redraw the same answers.

    Raises:
        T2Error: the wanted seed has been used.
    """
    if wanted is None:
        return next(seed for seed in iter(lambda: secrets.randbelow(2**31 - 1), None) if seed not in used)
    if wanted in used:
        raise T2Error(
            f"Expected an engine seed that the pool does not have, got {wanted}: it would redraw the same samples. "
            "Remove `data.pool.engine_seed`."
        )
    return wanted
