"""N_D and M_D over sweeps of everything they depend on, with N_D recomputed in each resample. Pure, seeded.

All settings share one set of resamples, so that everything is paired. Statistics are computed on *rows of means*: row 0
holds the means over the questions themselves, each other row those over a resample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.halves import Halves
from t2.curves.labels import cut_grid, smallest_enough
from t2.stats.bootstrap import Interval, interval, resampled_means

SWEPT_EPS = (0.0, 0.01, 0.02, 0.05)
SWEPT_DATASET_EPS = (0.0, 0.0025, 0.005, 0.01, 0.02)
WHOLE = "whole pool"
HALVES = ("first half", "second half")
PLAIN_RULE = "the paper's plain rule"
"""Label of the setting with both tolerances 0: N* and N_D are plain smallest maximisers."""


@dataclass(frozen=True)
class Curves:
    """Curves and lengths of all questions from some of their samples."""

    grid: tuple[int, ...]
    """budgets in samples, up to half the samples"""
    acc_QK: Tensor
    tokens_Q: Tensor
    """mean generated tokens of a sample"""


@dataclass(frozen=True)
class Setting:
    """What N*, N_D and M_D depend on besides the questions."""

    label: str
    """what is swept: "eps", "eps_D", "N_max", "half the pool", or a name"""
    eps: float
    """accuracy that N* may lose on a question"""
    dataset_eps: float
    """accuracy that N_D may lose on the dataset"""
    n_max: int
    """largest budget, samples"""
    samples: str = WHOLE
    """of which samples: the whole pool, or a half of each question's (`GradedPool.fold_QM`)"""


@dataclass(frozen=True)
class Overscaling:
    """N_D and M_D at one setting."""

    setting: Setting
    n_d: int
    """samples"""
    n_d_low: int
    """lower end of the 95% interval of N_D, a budget of the grid"""
    n_d_high: int
    """upper end"""
    mean_n_star: Interval
    """samples"""
    m_d: Interval
    """mean(N*) / N_D"""
    m_d_tokens: Interval | None
    """sum of N*_q t_q over N_D times the sum of t_q, where t_q is the mean generated tokens of a sample of question q:
    what an oracle that draws N* generates, as a share of what FixedN(N_D) generates. None without token counts"""


Means = dict[str, Tensor]
"""Rows of means, (R + 1, P) float64, by name of the columns."""


def rows_of_means(
    columns: Mapping[str, Tensor], num_resamples: int, seed: int, clusters_Q: Tensor | None = None
) -> Means:
    """Means of all columns, each (Q, P), over the questions (row 0) and over R resamples, the same for all of them.

    Questions with one number in `clusters_Q` are drawn together.
    """
    values_QP = torch.cat([column.double() for column in columns.values()], 1)
    means_RP = torch.cat([values_QP.mean(0, keepdim=True), resampled_means(values_QP, num_resamples, seed, clusters_Q)])
    parts = torch.split(means_RP, [column.shape[1] for column in columns.values()], dim=1)
    return dict(zip(columns, parts, strict=True))


def interval_of(statistic_R: Tensor) -> Interval:
    """The interval of a statistic of rows of means."""
    return interval(float(statistic_R[0]), statistic_R[1:])


def interval_or_none(statistic_R: Tensor) -> Interval | None:
    """The same where the statistic may be undefined (NaN) on the questions, or in every resample: None."""
    if bool(statistic_R[0].isnan()) or not bool(statistic_R[1:].isfinite().any()):
        return None
    return interval_of(statistic_R)


def swept_settings(
    eps: float, dataset_eps: float, label_grid: tuple[int, ...], halves: Halves | None
) -> tuple[Setting, ...]:
    """The paper's plain rule, then one thing varied at a time: eps, eps_D, N_max, the samples."""
    top = label_grid[-1]
    settings = [Setting(PLAIN_RULE, 0.0, 0.0, top)]
    settings += [Setting("eps", e, dataset_eps, top) for e in sorted({*SWEPT_EPS, eps})]
    settings += [Setting("eps_D", eps, e, top) for e in sorted({*SWEPT_DATASET_EPS, dataset_eps})]
    settings += [Setting("N_max", eps, dataset_eps, n) for n in label_grid if n > 1]
    if halves is not None and halves.samples >= 2:
        half_top = half_label_grid(halves)[-1]
        settings += [Setting("half the pool", eps, dataset_eps, half_top, half) for half in HALVES]
    return tuple(settings)


def half_label_grid(halves: Halves) -> tuple[int, ...]:
    """Budgets up to half of a half."""
    return cut_grid(halves.grid, max(1, halves.samples // 2))


def curves_by_samples(whole: Curves, halves: Halves | None) -> dict[str, Curves]:
    """The curves that a setting's `samples` may name."""
    curves = {WHOLE: whole}
    if halves is not None:
        grid = half_label_grid(halves)
        for half, name in enumerate(HALVES):
            curves[name] = Curves(grid, halves.acc_QK[half][:, : len(grid)], halves.tokens_Q[half])
    return curves


def overscaling_columns(curves: Mapping[str, Curves], settings: Sequence[Setting]) -> dict[str, Tensor]:
    """What `overscaling` reads from rows of means."""
    columns = {}
    for name, part in curves.items():
        columns[f"accuracy of {name}"] = part.acc_QK
        columns[f"tokens of {name}"] = part.tokens_Q[:, None]
    for setting in settings:
        part = curves[setting.samples]
        n_star_Q = optima(part.acc_QK, part.grid, setting.eps, setting.n_max)
        columns[_key(setting)] = torch.stack([n_star_Q, n_star_Q * part.tokens_Q], 1)
    return columns


def overscaling(means: Means, setting: Setting, grid: tuple[int, ...]) -> Overscaling:
    """N_D and M_D at a setting from the means of `overscaling_columns`; `grid` is that of the setting's samples."""
    n_d_R = optima(means[f"accuracy of {setting.samples}"], grid, setting.dataset_eps, setting.n_max)
    n_star_R, n_star_tokens_R = means[_key(setting)].T
    tokens_R = means[f"tokens of {setting.samples}"][:, 0]
    # N_D is a budget of the grid, and so are the ends of its interval: no mean of two budgets.
    low = torch.quantile(n_d_R[1:], 0.025, interpolation="lower")
    high = torch.quantile(n_d_R[1:], 0.975, interpolation="higher")
    return Overscaling(
        setting=setting,
        n_d=int(n_d_R[0]),
        n_d_low=int(low),
        n_d_high=int(high),
        mean_n_star=interval_of(n_star_R),
        m_d=interval_of(n_star_R / n_d_R),
        m_d_tokens=interval_or_none(n_star_tokens_R / (n_d_R * tokens_R)),
    )


def optima(acc_XK: Tensor, grid: tuple[int, ...], eps: float, n_max: int) -> Tensor:
    """N* of each question, or N_D of each row of means, on the budgets up to `n_max`, samples, float64.

    Both are one rule, the smallest budget within a tolerance of the best, with `eps` or eps_D.
    """
    inside = len(cut_grid(grid, n_max))
    return torch.tensor(grid, dtype=torch.float64)[smallest_enough(acc_XK[:, :inside], eps)]


def _key(setting: Setting) -> str:
    return f"N* of {setting.samples}, eps {setting.eps!r}, up to {setting.n_max}"
