"""The curse report against brute force: resamples one by one, types left out by hand, halves cut out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.graded_pools import mixed_pool
from helpers.reliability import reliability
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from t2.curse.measure import curse_report
from t2.curse.measured import CurseReport
from t2.curse.overscaling import PLAIN_RULE
from t2.curves.labels import accuracy_on_grid, dataset_optimum, smallest_enough
from t2.curves.types import TYPE_NAMES, sample_types
from t2.grading.graded import GradedPool
from t2.stats.bootstrap import Interval, clusters_of, resampled_rows
from t2.stats.reliability import TARGETS, equal_groups, spearman, spearman_brown

GRID = (1, 3, 5, 8, 16)
LABEL_GRID = (1, 3, 5, 8)


def half_of(pool: GradedPool, half: int) -> GradedPool:
    """One half of each question's samples, cut out row by row."""
    chosen = [torch.nonzero(row == half).squeeze(1) for row in pool.fold_QM()]
    names = ("vote_QM", "right_QM", "tokens_QM", "truncated_QM")
    cut = {n: torch.stack([getattr(pool, n)[q, draws] for q, draws in enumerate(chosen)]) for n in names}
    return GradedPool(**{**vars(pool), **cut})


def label_curves(pool: GradedPool) -> Tensor:
    return accuracy_on_grid(pool, LABEL_GRID)


def overscaling_index(acc_QK: Tensor, grid: Sequence[int], eps: float, dataset_eps: float) -> float:
    """M_D = mean(N*) / N_D, by its definition."""
    budgets = torch.tensor(grid, dtype=torch.float64)
    return float(budgets[smallest_enough(acc_QK, eps)].mean() / budgets[dataset_optimum(acc_QK, dataset_eps)])


def assert_interval(found: Interval | None, value: float, resamples: list[float]) -> None:
    assert found is not None
    expected = (value, *np.quantile(np.array(resamples), [0.025, 0.975]))
    assert (found.value, found.low, found.high) == pytest.approx(expected, abs=1e-12)


@pytest.fixture(scope="module")
def pool() -> GradedPool:
    return mixed_pool()


@pytest.fixture(scope="module")
def report(pool: GradedPool) -> CurseReport:
    return curse_report(pool, GRID, num_resamples=40, seed=3)


def resampled(pool: GradedPool) -> list[Tensor]:
    return list(resampled_rows(len(pool), 40, 3, clusters_of(pool.dedup_keys)))


def test_overscaling_is_recomputed_in_each_resample(pool: GradedPool, report: CurseReport) -> None:
    acc_QK, draws = label_curves(pool), resampled(pool)
    budgets = torch.tensor(LABEL_GRID, dtype=torch.float64)
    assert (report.grid, report.label_grid) == (GRID, LABEL_GRID)
    indices = [overscaling_index(acc_QK[rows], LABEL_GRID, 0.02, 0.005) for rows in draws]
    assert_interval(report.main.m_d, overscaling_index(acc_QK, LABEL_GRID, 0.02, 0.005), indices)
    n_star_Q = budgets[smallest_enough(acc_QK, 0.02)]
    assert_interval(report.main.mean_n_star, float(n_star_Q.mean()), [float(n_star_Q[rows].mean()) for rows in draws])
    n_d = [LABEL_GRID[dataset_optimum(acc_QK[rows], 0.005)] for rows in draws]
    assert report.main.n_d == LABEL_GRID[dataset_optimum(acc_QK, 0.005)]
    assert report.n_d_shares == tuple(n_d.count(n) / 40 for n in LABEL_GRID)
    low, high = np.quantile(n_d, 0.025, method="lower"), np.quantile(n_d, 0.975, method="higher")
    assert (report.main.n_d_low, report.main.n_d_high) == (low, high)
    assert report.n_ref == GRID[dataset_optimum(accuracy_on_grid(pool, GRID), 0.005)]
    for index, n in enumerate(LABEL_GRID):
        shares = [float((n_star_Q[rows] == n).double().mean()) for rows in draws]
        assert_interval(report.n_star_shares[index], float((n_star_Q == n).double().mean()), shares)


def test_tokens_of_the_oracle_over_those_of_one_budget(pool: GradedPool, report: CurseReport) -> None:
    acc_QK, t_Q = label_curves(pool), pool.mean_tokens_Q
    budgets = torch.tensor(LABEL_GRID, dtype=torch.float64)

    def by_hand(rows: Tensor) -> float:
        n_d = LABEL_GRID[dataset_optimum(acc_QK[rows], 0.005)]
        oracle = sum(float(budgets[smallest_enough(acc_QK[q : q + 1], 0.02)] * t_Q[q]) for q in rows.tolist())
        return oracle / (n_d * float(t_Q[rows].sum()))

    assert_interval(report.main.m_d_tokens, by_hand(torch.arange(len(pool))), [by_hand(r) for r in resampled(pool)])


def test_equal_lengths_weigh_nothing(pool: GradedPool) -> None:
    same = curse_report(replace(pool, tokens_QM=torch.full_like(pool.tokens_QM, 7)), GRID, num_resamples=20)
    assert same.main.m_d_tokens is not None
    assert vars(same.main.m_d_tokens) == pytest.approx(vars(same.main.m_d))


def test_curve_and_greedy(pool: GradedPool, report: CurseReport) -> None:
    acc_QK, draws = accuracy_on_grid(pool, GRID), resampled(pool)
    for index, point in enumerate(report.curve):
        assert_interval(point, float(acc_QK[:, index].mean()), [float(acc_QK[rows, index].mean()) for rows in draws])
    greedy_Q = pool.greedy_right_Q.double()
    assert_interval(report.greedy, float(greedy_Q.mean()), [float(greedy_Q[rows].mean()) for rows in draws])


def test_greedy_answers_of_some_or_no_questions(pool: GradedPool) -> None:
    some_Q = torch.arange(len(pool)) % 3 == 0
    some = curse_report(replace(pool, greedy_present_Q=some_Q), GRID, num_resamples=5)
    assert some.greedy is not None
    assert some.greedy.value == pytest.approx(float(pool.greedy_right_Q[some_Q].double().mean()))
    assert "20 of 60 questions have a greedy answer; its line is theirs alone." in some.notes
    none = curse_report(replace(pool, greedy_present_Q=torch.zeros_like(some_Q)), GRID, num_resamples=5)
    assert none.greedy is None
    assert "The pool has no greedy (temperature 0) answers, so there is no greedy line." in none.notes


def test_the_sweep_changes_one_thing_at_a_time(pool: GradedPool, report: CurseReport) -> None:
    acc_QK = label_curves(pool)
    whole = [row for row in report.sweep if row.setting.samples == "whole pool"]
    for row in whole:
        s, inside = row.setting, [k for k, n in enumerate(LABEL_GRID) if n <= row.setting.n_max]
        by_hand = overscaling_index(acc_QK[:, inside], LABEL_GRID, s.eps, s.dataset_eps)
        assert row.m_d.value == pytest.approx(by_hand)
        if s.label not in (PLAIN_RULE, "eps"):
            assert s.eps == 0.02
        if s.label not in (PLAIN_RULE, "eps_D"):
            assert s.dataset_eps == 0.005
        if s.label != "N_max":
            assert s.n_max == 8
    assert [(r.setting.eps, r.setting.dataset_eps) for r in whole if r.setting.label == PLAIN_RULE] == [(0.0, 0.0)]
    assert sorted(r.setting.n_max for r in whole if r.setting.label == "N_max") == [3, 5, 8]
    assert {row.setting.eps for row in whole} == {0.0, 0.01, 0.02, 0.05}
    assert {row.setting.dataset_eps for row in whole} == {0.0, 0.0025, 0.005, 0.01, 0.02}


def test_half_the_pool_is_the_report_of_that_half(pool: GradedPool, report: CurseReport) -> None:
    rows = [row for row in report.sweep if row.setting.label == "half the pool"]
    assert [row.setting.samples for row in rows] == ["first half", "second half"]
    for half, row in enumerate(rows):
        alone = curse_report(half_of(pool, half), (1, 3, 5, 8), num_resamples=40, seed=3).main
        assert (row.setting.n_max, row.n_d, row.n_d_low) == (alone.setting.n_max, alone.n_d, alone.n_d_low)
        assert vars(row.m_d) == pytest.approx(vars(alone.m_d))
        assert row.m_d_tokens is not None
        assert vars(row.m_d_tokens) == pytest.approx(vars(alone.m_d_tokens))


def test_parts_of_the_rise_sum_to_it(pool: GradedPool, report: CurseReport) -> None:
    acc_K = label_curves(pool).mean(0)
    assert report.rise == pytest.approx(float(acc_K[LABEL_GRID.index(report.main.n_d)] - acc_K[0]), abs=1e-14)
    assert report.rise > 0.05
    assert sum(row.contribution.value for row in report.types) == pytest.approx(report.rise, abs=1e-14)
    assert sum(row.share.value for row in report.types) == pytest.approx(1, abs=1e-14)


def test_a_type_left_out_is_the_report_without_its_questions(pool: GradedPool, report: CurseReport) -> None:
    type_Q = sample_types(label_curves(pool))
    assert len(set(type_Q.tolist())) >= 4
    for code, row in enumerate(report.types):
        assert row.name == TYPE_NAMES[code]
        assert row.share.value == pytest.approx(float((type_Q == code).double().mean()))
        others = pool.take(torch.nonzero(type_Q != code).squeeze(1))
        alone = curse_report(others, GRID, num_resamples=2).main
        assert row.m_d_without is not None
        assert (row.n_d_without, row.m_d_without.value) == (alone.n_d, pytest.approx(alone.m_d.value))
        if bool((type_Q == code).any()):
            mine = curse_report(pool.take(torch.nonzero(type_Q == code).squeeze(1)), GRID, num_resamples=2).main
            assert row.mean_n_star == pytest.approx(mine.mean_n_star.value)
        else:
            assert row.mean_n_star is None


def test_agreement_of_the_halves_is_that_of_scikit_learn(pool: GradedPool, report: CurseReport) -> None:
    first, second = (sample_types(accuracy_on_grid(half_of(pool, h), LABEL_GRID)).numpy() for h in (0, 1))
    draws = [rows.numpy() for rows in resampled(pool)]
    kappas = [cohen_kappa_score(first[rows], second[rows]) for rows in draws]
    assert_interval(report.type_kappa, cohen_kappa_score(first, second), kappas)
    same = first == second
    assert_interval(report.type_agreement, float(same.mean()), [float(same[rows].mean()) for rows in draws])
    for code, row in enumerate(report.types):
        partners = [(a, b) for a, b in zip([*first, *second], [*second, *first], strict=True) if a == code]
        by_hand = sum(b == code for _, b in partners) / len(partners) if partners else None
        assert row.half_agreement == (None if by_hand is None else pytest.approx(by_hand))


def test_reliability_is_the_rank_correlation_of_the_halves(pool: GradedPool, report: CurseReport) -> None:
    sides = []
    for half in (0, 1):
        mine = half_of(pool, half)
        acc_QK = label_curves(mine).round(decimals=12)
        n_star_Q, tokens_Q = smallest_enough(acc_QK, 0.02), mine.tokens_QM.double().mean(1)
        gain_Q = (acc_QK[:, -1] - acc_QK[:, 0]).round(decimals=12)
        sides.append(dict(zip(TARGETS, (acc_QK[:, 0], acc_QK[:, -1], gain_Q, n_star_Q, tokens_Q), strict=True)))
    found = reliability(pool, GRID, 0.02, num_resamples=40, seed=3)
    assert set(found) == set(TARGETS)
    assert found == report.reliability
    for name in TARGETS:
        a, b = sides[0][name].numpy(), sides[1][name].numpy()
        resamples = [spearmanr(a[rows], b[rows]).statistic for rows in (r.numpy() for r in resampled(pool))]
        assert_interval(found[name], spearmanr(a, b).statistic, resamples)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=12).filter(
        lambda rows: sum(row[2] for row in rows) >= 2
    )
)
def test_weighted_ranks_are_those_of_repeated_questions(rows: list[tuple[int, int, int]]) -> None:
    first, second, weight = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    found = float(spearman(equal_groups(first / 10 + 0.2), equal_groups(second / 10), weight[:, None]))
    a, b = (column.repeat_interleave(weight.long()).numpy() for column in (first, second))
    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found != found
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


@given(st.floats(0.01, 100))
def test_spearman_brown_of_parallel_halves(noise: float) -> None:
    """Variance of the truth 1, of a half's error `noise`, so of the whole's error noise / 2."""
    half, whole = 1 / (1 + noise), 1 / (1 + noise / 2)
    found = spearman_brown(Interval(half, half / 2, 1.0))
    assert (found.value, found.high) == (pytest.approx(whole), 1)
    assert found.low < found.value


def test_spearman_brown_stays_a_correlation() -> None:
    assert vars(spearman_brown(Interval(-0.5, -1.0, 0.0))) == {"value": -1, "low": -1, "high": 0}


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 5))
def test_the_order_of_the_questions_changes_no_value(order: list[int], seed: int) -> None:
    pool = mixed_pool(12, 8, seed)
    one, other = (curse_report(p, (1, 3, 4, 8), num_resamples=3) for p in (pool, pool.take(order)))
    assert other.main.m_d.value == pytest.approx(one.main.m_d.value)
    assert [row.contribution.value for row in other.types] == pytest.approx([r.contribution.value for r in one.types])
    assert [p.value for p in other.curve] == pytest.approx([p.value for p in one.curve])


@pytest.mark.parametrize(
    ("n_d", "index", "start"),
    [
        (8, (0.4, 0.3, 0.5), "Overscaled: one budget for all needs 8 samples a question, an oracle"),
        (8, (0.9, 0.8, 1.1), "Not decided: the interval of the overscaling index contains 1"),
        (3, (1.2, 1.1, 1.4), "Not overscaled: the questions need more than the one budget"),
        (1, (1.2, 1.1, 1.4), "Nothing to overscale: one sample is enough for the data set (N_D = 1"),
    ],
)
def test_verdicts(report: CurseReport, n_d: int, index: tuple[float, float, float], start: str) -> None:
    assert replace(report, main=replace(report.main, n_d=n_d, m_d=Interval(*index))).verdict.startswith(start)


def test_a_sound_pool_needs_few_notes(report: CurseReport) -> None:
    assert [note.split(":")[0].split(",")[0] for note in report.notes] == [
        "N_D is",
        "60 questions have 55 dedup keys; questions that share a key are resampled together.",
    ]


def test_without_token_counts_there_is_no_weighted_index(pool: GradedPool) -> None:
    report = curse_report(replace(pool, tokens_QM=torch.zeros_like(pool.tokens_QM)), GRID, num_resamples=4)
    assert report.main.m_d_tokens is None
    assert "log_tokens" not in report.reliability
    assert "The pool has no token counts, so there is no token-weighted index." in report.notes
