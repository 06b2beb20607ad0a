"""Intervals over questions: the paired percentile bootstrap. Pure, seeded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_RESAMPLES_AT_ONCE = 512


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def resampled_means(values_QP: Tensor, num_resamples: int = 2000, seed: int = 0) -> Tensor:
    """Means of each column over questions drawn with replacement, (R, P) float64; all columns share the draws.

    Sharing the draws is what makes differences between columns paired.
    """
    values_QP = values_QP.double()
    num_questions = len(values_QP)
    generator = torch.Generator().manual_seed(seed)
    means = []
    for start in range(0, num_resamples, _RESAMPLES_AT_ONCE):
        rows = min(_RESAMPLES_AT_ONCE, num_resamples - start)
        drawn = torch.randint(num_questions, (rows, num_questions), generator=generator)
        weight_RQ = torch.zeros(rows, num_questions, dtype=torch.float64)
        weight_RQ.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=torch.float64))
        means.append(weight_RQ @ values_QP / num_questions)
    return torch.cat(means)


def interval(value: float, resamples_R: Tensor, level: float = 0.95) -> Interval:
    """The percentile interval of a statistic around its value on the full sample."""
    tail = (1 - level) / 2
    low, high = torch.quantile(resamples_R.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value, low, high)


def mean_interval(values_Q: Tensor, num_resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean over questions with its interval."""
    return interval(float(values_Q.double().mean()), resampled_means(values_Q[:, None], num_resamples, seed)[:, 0])


def ratio_interval(over_Q: Tensor, under_Q: Tensor, num_resamples: int = 2000, seed: int = 0) -> Interval:
    """Ratio of two means (for tokens), paired."""
    means = resampled_means(torch.stack([over_Q, under_Q], 1), num_resamples, seed)
    value = float(over_Q.double().mean() / under_Q.double().mean())
    return interval(value, means[:, 0] / means[:, 1])
