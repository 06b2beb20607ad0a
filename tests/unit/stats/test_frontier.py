"""Frontiers, areas and intervals against hand-computed cases, numerical integration and SciPy."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers.graded_pools import graded_pool
from helpers.seeds import SIGMAS, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap
from torch import Tensor

from t2.comparison.bins import fit_bins
from t2.comparison.contenders import fixed_frontier, head_frontiers, reference_frontiers
from t2.comparison.slices import Slice
from t2.comparison.sweeps import FULL
from t2.comparison.tuning import cheapest_within
from t2.curves.labels import budget_labels
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.base import Replay
from t2.policies.batch_budget import BatchBudget
from t2.stats.bootstrap import Interval, interval, mean_interval, resampled_means
from t2.stats.frontier import Frontier, area, areas_between, interpolated, tokens_reaching
from t2.stats.resampled import Resampled
from t2.training.accuracy_cost import ValidationResult, table_rows


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def replay(correct: list[float], tokens: list[float]) -> Replay:
    num = len(correct)
    return Replay(doubles(*correct), torch.ones(num), doubles(*tokens), torch.full((num,), 5.0), *[torch.ones(num)] * 4)


def mixed_pool(num: int = 24, samples: int = 16) -> GradedPool:
    generator = torch.Generator().manual_seed(0)
    right = torch.linspace(0.05, 0.95, num)[:, None] > torch.rand(num, samples, generator=generator)
    tokens = torch.randint(20, 60, (num, samples), generator=generator)
    return graded_pool(torch.where(right, 0, 1).tolist(), tokens.tolist())


# Area


def area_between(tokens: Tensor, accuracy: Tensor, fixed_tokens: Tensor, fixed_accuracy: Tensor) -> float:
    """`areas_between` of one frontier."""
    return float(areas_between(tokens[None], accuracy[None], fixed_tokens[None], fixed_accuracy[None]))


def test_interpolated() -> None:
    x, y = doubles(2.0, 0.0, 1.0), doubles(0.9, 0.5, 0.6)  # any order
    at = doubles(-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 9.0)
    torch.testing.assert_close(interpolated(x, y, at), doubles(0.5, 0.5, 0.55, 0.6, 0.75, 0.9, 0.9))
    torch.testing.assert_close(interpolated(x[:1], y[:1], at), torch.full_like(at, 0.9))
    x, y = doubles(0.0, 1.0, 1.0, 2.0), doubles(0.0, 0.2, 0.6, 0.8)
    torch.testing.assert_close(interpolated(x, y, doubles(0.5, 1.0, 1.5)), doubles(0.1, 0.2, 0.7))
    torch.testing.assert_close(interpolated(x, y, doubles(0.5, 1.0, 1.5, 3.0), after=True), doubles(0.1, 0.6, 0.7, 0.8))


def test_area_of_a_hand_computed_case() -> None:
    # FixedN climbs from 0.5 to 0.7 over one e-fold of tokens; the policy is 0.1 above at both ends.
    fixed_tokens, fixed_accuracy = doubles(100.0, 100 * math.e), doubles(0.5, 0.7)
    assert area_between(fixed_tokens, fixed_accuracy + 0.1, fixed_tokens, fixed_accuracy) == pytest.approx(0.1)
    assert area_between(fixed_tokens, fixed_accuracy, fixed_tokens, fixed_accuracy) == 0
    # A triangle in tokens, equal at the ends, 0.2 above at x = m: the integral of a straight line over log x by hand.
    low, mid, high = 100.0, 200.0, 100 * math.e
    line = 0.5 + 0.2 * (mid - low) / (high - low)
    tokens, accuracy = doubles(low, mid, high), doubles(0.5, line + 0.2, 0.7)
    up = 0.2 / (mid - low) * (mid - low - low * math.log(mid / low))
    down = 0.2 / (high - mid) * (high * math.log(high / mid) - (high - mid))
    assert area_between(tokens, accuracy, fixed_tokens, fixed_accuracy) == pytest.approx(up + down)
    # Only the part on FixedN's axis counts.
    wide = doubles(1.0, 100.0, 100 * math.e, 1e6), doubles(0.0, 0.5, 0.7, 1.0)
    assert area_between(*wide, fixed_tokens, fixed_accuracy) == pytest.approx(0.0)
    assert area_between(tokens, accuracy, doubles(100.0), doubles(0.5)) == 0


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_area_is_the_integral(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fixed_tokens, fixed_accuracy = np.sort(rng.uniform(10, 1000, 6)), rng.uniform(0, 1, 6)
    inner = rng.uniform(fixed_tokens[0], fixed_tokens[-1], 4)
    tokens, accuracy = np.sort(np.concatenate([fixed_tokens[[0, -1]], inner])), rng.uniform(0, 1, 6)
    at = np.geomspace(fixed_tokens[0], fixed_tokens[-1], 20_001)
    gap = np.interp(at, tokens, accuracy) - np.interp(at, fixed_tokens, fixed_accuracy)
    found = area_between(*map(torch.from_numpy, (tokens, accuracy, fixed_tokens, fixed_accuracy)))
    assert found == pytest.approx(float(gap.mean()), abs=2e-3)


def test_some_of_the_constants_do_not_beat_the_constants() -> None:
    """A frontier that starts dear was continued to the left at its own accuracy, as if that could be had for less."""
    tokens, accuracy = doubles(20.0, 60.0, 100.0, 320.0), doubles(0.5, 0.6, 0.65, 0.7)
    assert area_between(tokens[-1:], accuracy[-1:], tokens, accuracy) <= 1e-12
    assert area_between(tokens[1:], accuracy[1:], tokens, accuracy) <= 1e-12


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 0.1), min_size=3, max_size=9), st.sets(st.integers(1, 7), max_size=4))
def test_fewer_of_the_constants_gain_nothing(gains: list[float], drawn: set[int]) -> None:
    """Lines were straight in log tokens: budgets 1, 12 and 24 alone had an area of a point over all of FixedN."""
    tokens = doubles(*(50.0 * n for n in range(1, len(gains) + 2)))
    accuracy = doubles(0.2, *sorted(gains, reverse=True)).cumsum(0)  # concave in tokens
    few = sorted({0, len(gains), *(k for k in drawn if k < len(gains))})
    assert area_between(tokens[few], accuracy[few], tokens, accuracy) <= 1e-12


def test_a_step_counts_where_it_is() -> None:
    """Two settings of the same tokens were read as one: 0.25 instead of 0.5."""
    tokens, accuracy = doubles(1.0, 10.0, 10.0, 100.0), doubles(0.0, 0.0, 1.0, 1.0)
    flat = doubles(1.0, 100.0), doubles(0.0, 0.0)
    assert area_between(tokens, accuracy, *flat) == pytest.approx(0.5)
    assert area_between(tokens + doubles(0, 0, 1e-6, 0), accuracy, *flat) == pytest.approx(0.5, abs=1e-6)


def test_a_cheaper_frontier_of_equal_accuracy_has_positive_area() -> None:
    tokens, accuracy = doubles(20.0, 60.0, 320.0), doubles(0.5, 0.6, 0.7)
    assert area_between(tokens / 1.5, accuracy, tokens, accuracy) > 0
    assert area_between(tokens[:1], accuracy[:1], tokens, accuracy) < 0


# Frontiers


def test_points_are_means_over_questions() -> None:
    [row] = table_rows([Frontier("policy", (0.5,), (replay([1, 0, 1, 0], [10, 20, 30, 40]),))])
    # setting, accuracy, generated and total tokens, samples, rounds, peak
    assert row == ["policy", 0.5, 0.5, 25, 30, 1, 1, 1]


def test_frontier_of_some_questions() -> None:
    frontier = Frontier("policy", (1.0, 2.0), (replay([1, 0], [10, 20]), replay([1, 1], [30, 50])))
    assert frontier.accuracy_P.tolist() == [0.5, 1]
    assert frontier.tokens_P.tolist() == [15, 40]
    again = frontier.take(torch.tensor([1, 1, 0]))
    assert again.accuracy_P.tolist() == pytest.approx([1 / 3, 1])
    assert again.settings == (1, 2)


def test_frontiers_of_everything() -> None:
    pool = mixed_pool()
    labels = budget_labels(pool, (1, 3, 5, 7, 9), eps=0.02, first="sampled")
    on = Slice.of(pool, labels, seed=0)
    fixed = fixed_frontier(on)
    assert fixed.settings == labels.grid
    torch.testing.assert_close(fixed.accuracy_P, labels.acc_QK.mean(0))
    torch.testing.assert_close(fixed.tokens_P, doubles(*labels.grid) * pool.mean_tokens_Q.mean())
    found = reference_frontiers(on, on, cap=9)
    names = ["Greedy", "FixedN(1), sampled", "FixedN", "ASC", "ESC", "Doubling"]
    assert [f.name for f in found] == [*names, "NoHeadThenStop", "BayesOracle", "OwnOracle"]
    assert all(len(f.settings) == len(f.replays) for f in found)
    assert all(float(replay.samples.max()) <= 9 for f in found for replay in f.replays)
    truth = Prediction(pool.mean_tokens_Q.log(), labels.acc_QK, torch.tensor(labels.label_grid)[labels.n_star_Q].log2())
    heads = head_frontiers("Truth", truth, on, 9)
    assert [f.name for f in heads] == ["Truth + Utility", "Truth + BatchBudget", "Truth + PredictedN"]
    assert area(heads[0], fixed, n_ref=9) > 0
    assert area(fixed, fixed, n_ref=9) == pytest.approx(0)
    assert head_frontiers("Nothing", Prediction(pool.mean_tokens_Q.log()), on, 9) == []


def test_prices_are_dense_where_settings_are_chosen() -> None:
    """A factor of 1.7 between neighbours made settings that were tuned to lose 1 point overshoot on other questions."""
    chosen = [price for price in FULL.prices if 1 <= price <= 30]
    assert (chosen[0], chosen[-1]) == (1, 30)
    assert all(1.25 <= b / a <= 1.35 for a, b in pairwise(chosen))
    assert list(FULL.prices) == sorted(set(FULL.prices))


@pytest.mark.parametrize("largest", [1, 3, 8, 32, 64])
def test_totals_of_a_batch(largest: int) -> None:
    settings = FULL.totals_for(tuple(n for n in (1, 3, 5, 7, 8, 9, 16, 32, 64) if n <= largest))
    assert (settings[0], settings[-1]) == (1, largest)
    assert len(settings) == (len(FULL.totals) if largest > 1 else 1)
    assert list(settings) == sorted(set(settings))
    # The choice is as fine as that of a price: a step is less than a tenth of what the largest budget costs.
    assert all(b - a < 0.1 * largest for a, b in pairwise(settings) if 0.2 * largest <= a <= 0.6 * largest)


def test_validation_sweeps_batch_budget_too() -> None:
    """Its area is that of its own knob: without a frontier of its name it was FixedN's, which is 0."""
    pool = mixed_pool()
    labels = budget_labels(pool, (1, 3, 5, 7, 9), eps=0.02, first="sampled")
    truth = Prediction(pool.mean_tokens_Q.log(), labels.acc_QK)
    result = ValidationResult("Truth", BatchBudget(150.0), pool, labels, truth)
    assert result.own.name == "Truth + BatchBudget"
    assert result.metrics.area.value > 0
    assert float((result.replay.samples * pool.mean_tokens_Q).mean()) <= 150
    assert "BatchBudget(tokens_per_question=150.0)" in result.verdict()


def test_tokens_reaching_is_where_the_line_first_has_the_accuracy() -> None:
    """Against a search on a fine grid of the line that areas are made of."""
    generator = torch.Generator().manual_seed(0)
    tokens_RP = torch.rand(50, 6, generator=generator).double() * 100 + 1
    accuracy_RP = torch.rand(50, 6, generator=generator).double()
    wanted_R = torch.rand(50, generator=generator).double()
    fine_X = torch.linspace(0, 101, 200_001, dtype=torch.float64)
    has_RX = interpolated(tokens_RP, accuracy_RP, fine_X.expand(50, -1)) >= wanted_R[:, None]
    has_RX &= fine_X >= tokens_RP.amin(1, keepdim=True)  # nothing is known of less
    expected_R = torch.where(has_RX.any(1), fine_X[has_RX.int().argmax(1)], torch.inf)
    torch.testing.assert_close(tokens_reaching(tokens_RP, accuracy_RP, wanted_R), expected_R, atol=1e-3, rtol=0)
    assert 5 < int(expected_R.isinf().sum()) < 45


def test_ratio_at_the_same_accuracy() -> None:
    fixed = Frontier("FixedN", (1, 3), (replay([0.2, 0.4], [10, 10]), replay([0.6, 0.8], [30, 30])))
    policies = [replay([0.5, 0.5], [10, 12]), replay([0.0, 0.2], [5, 5]), replay([1.0, 1.0], [60, 60])]
    resampled = Resampled([*fixed.replays, *policies])
    found = [resampled.ratio_at_same_accuracy(policy, fixed) for policy in policies]
    # 0.5 is half way from 0.3 to 0.7: 20 tokens; below and above the line its ends count.
    assert [one.value for one in found] == pytest.approx([11 / 20, 5 / 10, 60 / 30])
    assert all(one.low <= one.value <= one.high for one in found)


def test_cheapest_setting_within_the_allowance() -> None:
    replays = tuple(replay([a], [t]) for a, t in [(0.60, 10), (0.695, 40), (0.70, 30), (0.72, 90)])
    frontier = Frontier("policy", (1, 2, 3, 4), replays)
    assert cheapest_within(frontier, 0.70) == 2
    assert cheapest_within(frontier, 0.70, allowance=0.1) == 0
    assert cheapest_within(frontier, 0.99) == 3


# Intervals


def test_resamples_without_a_ratio_are_left_out() -> None:
    """One resample of 2,000 without a token made a finished report fail: JSON has no NaN."""
    ratio_R = torch.tensor([float("nan"), 1.0, 2.0, float("inf"), 3.0])
    assert interval(2.0, ratio_R) == interval(2.0, torch.tensor([1.0, 2.0, 3.0]))
    assert interval(2.0, torch.full((3,), float("nan"))) == Interval(2.0, 2.0, 2.0)


def test_paired_draws_are_shared() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    means = resampled_means(torch.stack([values, values + 0.25], 1), 300)
    torch.testing.assert_close(means[:, 1] - means[:, 0], torch.full((300,), 0.25, dtype=torch.float64))
    assert torch.equal(means, resampled_means(torch.stack([values, values + 0.25], 1), 300))
    assert not torch.equal(means, resampled_means(torch.stack([values, values + 0.25], 1), 300, seed=1))


@pytest.mark.parametrize("num_resamples", [1, 511, 512, 513, 2000])
def test_number_of_resamples(num_resamples: int) -> None:
    assert resampled_means(torch.rand(7, 3), num_resamples).shape == (num_resamples, 3)


@pytest.mark.statistical
def test_interval_is_scipys_and_the_normal_one() -> None:
    values = np.random.default_rng(shifted(0)).exponential(size=300)
    found = mean_interval(torch.from_numpy(values), num_resamples=8000)
    scipys = bootstrap((values,), np.mean, n_resamples=8000, method="percentile", rng=np.random.default_rng(shifted(1)))
    error = values.std() / len(values) ** 0.5
    assert found.value == pytest.approx(values.mean())
    # An end of a 95% interval from 8,000 resamples has a standard error of 0.030 errors, two differ by 0.042.
    assert found.low == pytest.approx(scipys.confidence_interval.low, abs=0.042 * SIGMAS * error)
    assert found.high == pytest.approx(scipys.confidence_interval.high, abs=0.042 * SIGMAS * error)
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.011 * SIGMAS + 0.01)


def test_percentiles_and_text() -> None:
    found = interval(0.5, torch.arange(101) / 100, level=0.9)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.05, 0.95))
    assert str(Interval(0.5, 0.25, 0.75)) == "0.500 [0.250, 0.750]"


# Common decision layer


def test_bins_hold_mean_curves() -> None:
    score = torch.arange(16).double()
    curves = torch.stack([score / 16, 1 - score / 16], 1)
    bins = fit_bins(score, curves, num_bins=4)
    torch.testing.assert_close(bins.acc_NK, curves.reshape(4, 4, 2).mean(1))
    prediction = bins.predict(doubles(-5.0, 1.0, 15.0, 99.0), torch.zeros(4))
    torch.testing.assert_close(prediction.accuracy_BK, bins.acc_NK[[0, 0, 3, 3]])
    assert torch.equal(prediction.log_tokens_B, torch.zeros(4))


def test_equal_scores_share_a_bin() -> None:
    curves = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)).double()
    constant = fit_bins(torch.ones(20), curves)
    torch.testing.assert_close(constant.predict(torch.ones(1), torch.zeros(1)).accuracy_BK[0], curves.mean(0))
    assert constant.acc_NK.isfinite().all()
