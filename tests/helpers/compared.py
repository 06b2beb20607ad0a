"""A comparison of one head that knows each question's curve up to noise, on a pool at random."""

from __future__ import annotations

import math
from functools import cache

import torch
from helpers.graded_pools import random_pool
from helpers.sweeps import small_sweeps

from t2.comparison.compare import Comparison, compare
from t2.comparison.sources import Folds, Known, Source, cross_fitted
from t2.comparison.summary import Summary, summarise
from t2.comparison.sweeps import Sweeps
from t2.curves.labels import budget_labels
from t2.heads.base import Prediction
from t2.stats.bootstrap import clusters_of

GRID = (1, 3, 5, 7)
POOL = random_pool(num=90, samples=14)
LABELS = budget_labels(POOL, GRID, 0.02)
FOLDS = Folds.of(POOL.dedup_keys, 0)


def knowing(noise: float, seed: int = 0, folds: Folds = FOLDS) -> Source:
    """A head that knows the curve up to noise."""
    error_Q = noise * torch.randn(len(POOL), generator=torch.Generator().manual_seed(seed))
    curve_QK = (LABELS.acc_QK.float() + error_Q[:, None]).clamp(0, 1)

    def fit_predict(learn: torch.Tensor, held: torch.Tensor) -> Known:
        assert not set(learn.tolist()) & set(held.tolist())
        prediction = Prediction(LABELS.log_tokens_Q[learn].mean().expand(len(held)).float(), curve_QK[held])
        return Known(curve_QK[held].mean(1).double(), prediction)

    return Source("Oracle head", "head", cross_fitted(fit_predict, folds))


SOURCE = knowing(0.1)
FEWER = Sweeps(
    prices=(0.01, 1.0, 2.9, 8.5, 23.0, 200.0),
    plan_prices=(0.3, 2.2, 6.5),
    round_prices=(0.0, 0.9, math.inf),
    totals=(0.0, 0.13, 0.32, 0.53, 1.0),
    shifts=(-2.0, 0.0, 1.0),
    thresholds=(0.76, 0.9, 0.97),
    dsc_thresholds=(0.76, 0.9, 0.97),
    windows=(2.0, 4.0, 7.0),
    shares=(0.6, 0.75, 0.9),
    num_orders=8,
    num_resamples=400,
    num_rank_resamples=200,
)
"""Every part of a knob's range, a third of the settings."""
SMALL = small_sweeps()
"""Where a test is not about what is tried or found."""


@cache
def compared() -> Comparison:
    """`SOURCE` alone, at `FEWER` settings."""
    return compare(POOL, LABELS, [SOURCE], 0, FEWER)


@cache
def summarised() -> Summary:
    """Of that comparison."""
    return summarise([compared()], clusters_of(POOL.dedup_keys), 0.02)
