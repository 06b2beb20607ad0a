"""Intervals over questions: the paired percentile bootstrap. Pure, seeded.

Questions that share a dedup key are not independent. With `clusters_Q` whole clusters are drawn (Davison and Hinkley,
"Bootstrap Methods and their Application", 1997, section 3.8), and a mean is the drawn questions' sum over their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.errors import T2Error

_RESAMPLES_AT_ONCE = 512
_DRAWS_AT_ONCE = 1 << 23
"""Bounds memory: 64 MiB of draws and as much of weights at a time, whatever the number of questions."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def scaled(self, factor: float) -> Interval:
        """In another unit (points as a share)."""
        return Interval(factor * self.value, factor * self.low, factor * self.high)


def clusters_of(dedup_keys: Sequence[str]) -> Tensor:
    """Number of each question's key, (Q,), in order of first appearance."""
    number: dict[str, int] = {}
    return torch.tensor([number.setdefault(key, len(number)) for key in dedup_keys], dtype=torch.long)


def resampled_means(
    values_QP: Tensor, num_resamples: int = 2000, seed: int = 0, clusters_Q: Tensor | None = None
) -> Tensor:
    """Means of each column over questions drawn with replacement, (R, P) float64; all columns share the draws.

    Sharing the draws is what makes differences between columns paired; the same seed draws the same questions in every
    function of this module. `clusters_Q`: cluster of each question, any integers; None: each question is its own.

    Raises:
        T2Error: no question, or not one cluster per question.
    """
    values_QP = values_QP.double()
    row_Q, num_units = _units(len(values_QP), clusters_Q)
    # Clusters have different numbers of questions: a column of ones counts those that were drawn.
    with_count = torch.cat([values_QP, torch.ones(len(values_QP), 1, dtype=torch.float64)], 1)
    sums_UP = with_count.new_zeros(num_units, with_count.shape[1]).index_add_(0, row_Q, with_count)
    means = []
    for drawn_RU in _draws(num_units, num_resamples, seed):
        # How often each unit was drawn, so that a resample is one row of a matrix product, not a copy of the values.
        weight_RU = torch.zeros(drawn_RU.shape, dtype=torch.float64)
        weight_RU.scatter_add_(1, drawn_RU, torch.ones((), dtype=torch.float64).expand(drawn_RU.shape))
        total_RP = weight_RU @ sums_UP
        means.append(total_RP[:, :-1] / total_RP[:, -1:])
    return torch.cat(means) if means else values_QP.new_zeros(0, values_QP.shape[1])


def resampled_rows(
    num_questions: int, num_resamples: int = 2000, seed: int = 0, clusters_Q: Tensor | None = None
) -> Iterator[Tensor]:
    """The questions of each resample as indices, for statistics that are no means of columns (an area, N_D).

    The same draws as `resampled_means`. A resample of clusters has as many clusters as there are, and as many
    questions as these hold.
    """
    row_Q, num_units = _units(num_questions, clusters_Q)
    # Questions lie sorted by unit: a drawn one is a run of `size` places from `start` on; runs are laid end to end.
    order_Q = torch.argsort(row_Q, stable=True)
    size_U = torch.bincount(row_Q, minlength=num_units)
    start_U = size_U.cumsum(0) - size_U
    for drawn_RU in _draws(num_units, num_resamples, seed):
        for drawn_U in drawn_RU:
            size = size_U[drawn_U]
            first = start_U[drawn_U] - (size.cumsum(0) - size)
            yield order_Q[torch.repeat_interleave(first, size) + torch.arange(int(size.sum()))]


def interval(value: float, resamples_R: Tensor, level: float = 0.95) -> Interval:
    """The percentile interval of a statistic around its value on the full sample.

    Resamples where the statistic is undefined (a ratio to 0 tokens) are left out; without any other it is the value.
    """
    tail = (1 - level) / 2
    defined_R = resamples_R.double()[resamples_R.isfinite()]
    if not len(defined_R):
        return Interval(value, value, value)
    low, high = torch.quantile(defined_R, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(value, low, high)


def mean_interval(
    values_Q: Tensor, num_resamples: int = 2000, seed: int = 0, clusters_Q: Tensor | None = None
) -> Interval:
    """Mean over questions with its interval."""
    means_RP = resampled_means(values_Q[:, None], num_resamples, seed, clusters_Q)
    return interval(float(values_Q.double().mean()), means_RP[:, 0])


def _units(num_questions: int, clusters_Q: Tensor | None) -> tuple[Tensor, int]:
    """Which drawn unit each question belongs to, and how many units there are."""
    if num_questions < 1:
        raise T2Error("Expected at least one question to resample, got none.")
    clusters_Q = torch.arange(num_questions) if clusters_Q is None else clusters_Q
    if clusters_Q.shape != (num_questions,):
        raise T2Error(f"Expected one cluster for each of {num_questions} questions, got {tuple(clusters_Q.shape)}.")
    clusters_U, row_Q = torch.unique(clusters_Q, return_inverse=True)
    return row_Q, len(clusters_U)


def _draws(num_units: int, num_resamples: int, seed: int) -> Iterator[Tensor]:
    """Units drawn with replacement, (R, U) at a time; the numbers do not depend on how many at a time."""
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, min(_RESAMPLES_AT_ONCE, _DRAWS_AT_ONCE // num_units))
    for start in range(0, num_resamples, at_once):
        rows = min(at_once, num_resamples - start)
        yield torch.randint(num_units, (rows, num_units), generator=generator)
