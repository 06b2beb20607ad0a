"""Reliability of a whole pool, as a comparison and the curse report take it from halves that they have already."""

from __future__ import annotations

from collections.abc import Sequence

from t2.curves.halves import half_curves
from t2.grading.graded import GradedPool
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.reliability import reliability_of


def reliability(
    pool: GradedPool, grid: Sequence[int], eps: float, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """`reliability_of` the halves of a pool; none with fewer than 2 samples a question."""
    halves = half_curves(pool, grid)
    return {} if halves is None else reliability_of(halves, clusters_of(pool.dedup_keys), eps, num_resamples, seed)
