"""How bad is overscaling for a model and a task, and what triggers it: what `t2 curse` reports. Pure, seeded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from t2.curse.measured import CurseReport
from t2.curse.notes import curse_notes
from t2.curse.overscaling import (
    WHOLE,
    Curves,
    Means,
    Setting,
    curves_by_samples,
    interval_of,
    interval_or_none,
    optima,
    overscaling,
    overscaling_columns,
    rows_of_means,
    swept_settings,
)
from t2.curse.triggers import joint_types, kappa, rise, same_type_share, type_columns, type_rows
from t2.curves.halves import half_curves
from t2.curves.labels import DATASET_EPS, accuracy_on_grid, check_grid, cut_grid, dataset_optimum
from t2.curves.majority import MAX_SAMPLES
from t2.curves.types import TYPE_TOLERANCE, sample_types
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.stats.bootstrap import Interval, clusters_of, mean_interval
from t2.stats.reliability import reliability_of

EPS = 0.02
"""Accuracy given up on a question to call a budget enough."""


def curse_report(
    pool: GradedPool,
    grid: Sequence[int],
    eps: float = EPS,
    dataset_eps: float = DATASET_EPS,
    num_resamples: int = 1000,
    seed: int = 0,
) -> CurseReport:
    """Measure the curse on a pool.

    Args:
        pool: graded samples; ragged pools are cut to the smallest one's budgets, by exact curves.
        grid: budgets in samples, rising from 1; those beyond the smallest pool are left out.
        eps: accuracy that N* may lose on a question.
        dataset_eps: accuracy that N_D may lose on the dataset.
        num_resamples: bootstrap resamples of questions; those of one dedup key are drawn together.
        seed: of the resamples.

    Raises:
        T2Error: no question, one without samples, too many samples, a bad grid or tolerance.
    """
    sizes_Q = _checked_sizes(pool, eps, dataset_eps, num_resamples)
    smallest = int(sizes_Q.min())
    budgets = check_grid(cut_grid(grid, smallest), smallest)
    label_grid = cut_grid(budgets, max(1, smallest // 2))
    clusters_Q = clusters_of(pool.dedup_keys)
    acc_QK, halves = accuracy_on_grid(pool, budgets), half_curves(pool, budgets)
    whole = Curves(label_grid, acc_QK[:, : len(label_grid)], pool.mean_tokens_Q)
    curves = curves_by_samples(whole, halves)
    setting = Setting("as asked", eps, dataset_eps, label_grid[-1])
    settings = swept_settings(eps, dataset_eps, label_grid, halves)
    columns = {
        "curve": acc_QK,
        **overscaling_columns(curves, (setting, *settings)),
        **type_columns(whole, sample_types(whole.acc_QK), eps),
        **({} if halves is None else {"joint": joint_types(halves)}),
    }
    means = rows_of_means(columns, num_resamples, seed, clusters_Q)
    main = overscaling(means, setting, label_grid)
    report = CurseReport(
        num_questions=len(pool),
        num_units=len(set(pool.dedup_keys)),
        samples=smallest,
        most_samples=int(sizes_Q.max()),
        grid=budgets,
        label_grid=label_grid,
        num_resamples=num_resamples,
        type_tolerance=TYPE_TOLERANCE,
        curve=tuple(interval_of(column_R) for column_R in means["curve"].T),
        greedy=_greedy(pool, num_resamples, seed),
        greedy_questions=int(pool.greedy_present_Q.sum()),
        main=main,
        n_ref=budgets[dataset_optimum(acc_QK, dataset_eps)],
        rise=float(rise(means[f"accuracy of {WHOLE}"], label_grid, main.n_d)[0]),
        n_star_shares=tuple(interval_of(column_R) for column_R in means["n_star_is"].T),
        n_d_shares=_n_d_shares(means, label_grid, dataset_eps),
        sweep=tuple(overscaling(means, other, curves[other.samples].grid) for other in settings),
        types=type_rows(means, label_grid, main.n_d, dataset_eps),
        type_agreement=None if halves is None else interval_of(same_type_share(means["joint"])),
        type_kappa=None if halves is None else interval_or_none(kappa(means["joint"])),
        reliability={} if halves is None else reliability_of(halves, clusters_Q, eps, num_resamples, seed),
        notes=(),
    )
    return replace(report, notes=tuple(curse_notes(report, pool, tuple(grid))))


def _checked_sizes(pool: GradedPool, eps: float, dataset_eps: float, num_resamples: int) -> Tensor:
    """Samples of each question, once the arguments are known to be sound."""
    if not (0 <= eps < 1 and 0 <= dataset_eps < 1):  # NaN fails too
        raise T2Error(f"Expected eps and eps_D in [0, 1) of accuracy, got {eps} and {dataset_eps}. Give shares.")
    if num_resamples < 1:
        raise T2Error(f"Expected at least 1 bootstrap resample, got {num_resamples}. The default is 1000.")
    if not len(pool):
        raise T2Error("Expected a pool with at least one question, got none. Check the pool's path and its filters.")
    sizes_Q = pool.present_QM.sum(1)
    if not 1 <= int(sizes_Q.min()) <= int(sizes_Q.max()) <= MAX_SAMPLES:
        raise T2Error(
            f"Expected 1 to {MAX_SAMPLES} samples of each question, got {int(sizes_Q.min())} to {int(sizes_Q.max())}. "
            "Leave out questions without samples, or use fewer samples a question."
        )
    return sizes_Q


def _greedy(pool: GradedPool, num_resamples: int, seed: int) -> Interval | None:
    rows_Q = torch.nonzero(pool.greedy_present_Q).squeeze(1)
    if not len(rows_Q):
        return None
    clusters_Q = clusters_of([pool.dedup_keys[row] for row in rows_Q.tolist()])
    return mean_interval(pool.greedy_right_Q[rows_Q].double(), num_resamples, seed, clusters_Q)


def _n_d_shares(means: Means, grid: tuple[int, ...], dataset_eps: float) -> tuple[float, ...]:
    n_d_R = optima(means[f"accuracy of {WHOLE}"], grid, dataset_eps, grid[-1])[1:]
    return tuple(float((n_d_R == n).double().mean()) for n in grid)
