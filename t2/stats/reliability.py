"""Reliability: how far two halves of each pool agree on everything that is computed from samples. Pure.

The halves are those of `GradedPool.fold_QM`. A target whose halves disagree is noise, and no head can predict it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from t2.curves.halves import Halves
from t2.curves.labels import BudgetLabels, smallest_enough
from t2.heads.base import Prediction
from t2.stats.bootstrap import Interval, interval, resampled_rows

TARGETS = ("first_accuracy", "top_accuracy", "gain", "n_star", "log_tokens")
"""A(1); A at the largest budget up to M/2; their difference; N*; log of the mean generated tokens of a sample."""
_TITLES = {
    "first_accuracy": "A(1), accuracy of one sample",
    "top_accuracy": "A({top}), accuracy of {top} samples",
    "gain": "gain A({top}) - A(1)",
    "n_star": "N*",
    "log_tokens": "log mean {unit} of a sample",
}
_RESAMPLES_AT_ONCE = 128
_DECIMALS = 9
"""Curves are sums of floats: two that are equal on paper tie in rank although they differ by rounding."""


def target_title(target: str, top: int, unit: str = "tokens") -> str:
    """A target of `TARGETS` in words; `top` is the largest budget up to M/2, samples."""
    return _TITLES[target].format(top=top, unit=unit)


def reliability_of(
    halves: Halves, clusters_Q: Tensor, eps: float, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Spearman correlation between the halves of each of `TARGETS`, over questions.

    It is that of a target from half the samples; `spearman_brown` steps it up to the whole pool. What a head can reach
    against a target from the whole pool is at most about the square root of that (attenuation by noise). A target that
    is the same for all questions has no correlation and is left out.
    """
    first, second = (_targets(halves.acc_QK[half], halves.tokens_Q[half], eps) for half in (0, 1))
    pairs = {name: (first[name], second[name]) for name in TARGETS}
    return correlations(pairs, clusters_Q, num_resamples, seed)


def correlations(
    pairs: Mapping[str, tuple[Tensor, Tensor]], clusters_Q: Tensor, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Spearman correlation of each pair over questions, all on the same resamples; without those that have none.

    Questions with the same number in `clusters_Q` are drawn together.
    """
    once_Q1 = torch.ones(len(clusters_Q), 1, dtype=torch.float64)
    groups = {name: (equal_groups(first_Q), equal_groups(second_Q)) for name, (first_Q, second_Q) in pairs.items()}
    values = {name: float(spearman(*pair, once_Q1)) for name, pair in groups.items()}
    values = {name: value for name, value in values.items() if value == value}  # NaN: a side is constant
    drawn: dict[str, list[Tensor]] = {name: [] for name in values}
    resamples = resampled_rows(len(clusters_Q), num_resamples, seed, clusters_Q)
    while values and (rows := list(islice(resamples, _RESAMPLES_AT_ONCE))):
        weight_QR = torch.stack([torch.bincount(r, minlength=len(clusters_Q)) for r in rows], 1).double()
        for name, parts in drawn.items():
            parts.append(spearman(*groups[name], weight_QR))
    intervals = {}
    for name, parts in drawn.items():
        rho_R = torch.cat(parts)
        if bool(rho_R.isfinite().any()):  # a resample that holds one value alone says nothing
            intervals[name] = interval(values[name], rho_R)
    return intervals


@dataclass(frozen=True)
class TargetRow:
    """A target: how far it can be known, and how far it is."""

    name: str
    """of `TARGETS`"""
    half: Interval
    """Spearman correlation between the halves"""
    whole: Interval
    """stepped up to the whole pool, see `spearman_brown`"""
    ceiling: float
    """about what a correlation with the whole pool's target can reach: the square root of `whole`"""
    heads: dict[str, Interval]
    """Spearman correlation of each head's out-of-fold prediction with the whole pool's target, where it predicts it"""


def target_rows(
    halves: Halves,
    labels: BudgetLabels,
    heads: Mapping[str, Prediction],
    clusters_Q: Tensor,
    eps: float,
    num_resamples: int = 1000,
) -> tuple[TargetRow, ...]:
    """Every target that is not the same for all questions.

    A head is held against the whole pool's target, which is itself noisy: perfect knowledge of the model would reach no
    more than `ceiling`. How noisy is seen between the halves, and stepped up, since the whole pool has twice as much.
    Targets end at the largest budget of a half, on both sides, so that they are the same quantity. `heads` are out of
    fold, and `eps` is the tolerance of N* that `labels` were made with.
    """
    top = len(halves.grid) - 1
    acc_QK = labels.acc_QK[:, : top + 1]
    truth = _targets(acc_QK, labels.log_tokens_Q.exp(), eps) | {"n_star": labels.n_star_Q}
    pairs = {
        f"{name}/{target}": (predicted_Q, truth[target])
        for name, prediction in heads.items()
        for target, predicted_Q in _predicted(prediction, top).items()
    }
    reached = correlations(pairs, clusters_Q, num_resamples)
    return tuple(
        TargetRow(
            name=target,
            half=half,
            whole=(whole := spearman_brown(half)),
            ceiling=max(whole.value, 0.0) ** 0.5,
            heads={name: reached[key] for name in heads if (key := f"{name}/{target}") in reached},
        )
        for target, half in reliability_of(halves, clusters_Q, eps, num_resamples).items()
    )


def _predicted(prediction: Prediction, top: int) -> dict[str, Tensor]:
    """The targets that a prediction has a part for."""
    parts = {"log_tokens": prediction.log_tokens_B}
    if prediction.accuracy_BK is not None:
        first_B, top_B = prediction.accuracy_BK[:, 0].double(), prediction.accuracy_BK[:, top].double()
        parts |= {"first_accuracy": first_B, "top_accuracy": top_B, "gain": top_B - first_B}
    if prediction.log2_n_B is not None:
        parts["n_star"] = prediction.log2_n_B
    return parts


def equal_groups(value_Q: Tensor) -> Tensor:
    """Which questions have the same value, to nine decimals, numbered from the smallest value."""
    group_Q: Tensor = torch.unique(value_Q.double().round(decimals=_DECIMALS), return_inverse=True)[1]
    return group_Q


def spearman(first_group_Q: Tensor, second_group_Q: Tensor, weight_QR: Tensor) -> Tensor:
    """Rank correlation where question q counts weight_qr times, shape (R,), float64; NaN where a side is constant.

    Ranks are taken anew in each column, ties share their mean rank: the same as repeating the questions. Both sides are
    from `equal_groups`, since the sort does not depend on the weights.
    """
    total_R = weight_QR.sum(0)
    ranks = []
    for group_Q in (first_group_Q, second_group_Q):
        size_GR = weight_QR.new_zeros(int(group_Q.max()) + 1, weight_QR.shape[1]).index_add_(0, group_Q, weight_QR)
        # The mean rank of all is (total + 1) / 2; what is left is centred, so that nothing cancels.
        centred_GR = size_GR.cumsum(0) - size_GR / 2 - total_R / 2
        ranks.append(centred_GR[group_Q])
    product_R = (weight_QR * ranks[0] * ranks[1]).sum(0)
    first_R, second_R = ((weight_QR * rank_QR.square()).sum(0) for rank_QR in ranks)
    return product_R / (first_R * second_R).sqrt()


def spearman_brown(half: Interval) -> Interval:
    """Reliability of the whole pool from that of a half: 2r / (1 + r) (Spearman 1910, Brown 1910), at least -1.

    Exact for means of independent samples, as A(1); for A(N), which uses all subsets, and for N* it is a guide.
    """
    value, low, high = (max(2 * r / (1 + r), -1.0) if r > -1 else -1.0 for r in (half.value, half.low, half.high))
    return Interval(value, low, high)


def _targets(acc_QK: Tensor, tokens_Q: Tensor, eps: float) -> dict[str, Tensor]:
    first_Q, top_Q = acc_QK[:, 0], acc_QK[:, -1]
    values = (first_Q, top_Q, top_Q - first_Q, smallest_enough(acc_QK, eps), tokens_Q.clamp(min=1).log())
    return dict(zip(TARGETS, values, strict=True))
