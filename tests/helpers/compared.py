"""A comparison of one head that knows each question's curve up to noise, on a pool at random."""

from __future__ import annotations

from functools import cache

import torch
from helpers.graded_pools import random_pool

from t2.comparison.compare import Comparison, compare
from t2.comparison.sources import Folds, Known, Source, cross_fitted
from t2.comparison.summary import Summary, summarise
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


@cache
def compared() -> Comparison:
    """Of `SOURCE` alone."""
    return compare(POOL, LABELS, [SOURCE], 0)


@cache
def summarised() -> Summary:
    """Of that comparison."""
    return summarise([compared()], clusters_of(POOL.dedup_keys), 0.02)
