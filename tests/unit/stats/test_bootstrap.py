"""Clusters, paired statistics and resampled rows against SciPy, closed forms and a plain loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.seeds import SIGMAS, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm
from torch import Tensor

from t2.errors import T2Error
from t2.policies.base import Replay
from t2.stats.bootstrap import (
    clusters_of,
    interval,
    mean_interval,
    resampled_means,
    resampled_rows,
)
from t2.stats.resampled import Resampled


def randoms(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Clusters


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 100))
def test_means_are_those_of_a_plain_loop(labels: list[int], seed: int) -> None:
    """Draw clusters with replacement, put their questions together, take the mean."""
    values, names = randoms(len(labels), 2, seed=seed), sorted(set(labels))
    found = resampled_means(values, 5, seed, torch.tensor(labels))
    drawn = torch.randint(len(names), (5, len(names)), generator=torch.Generator().manual_seed(seed))
    for means, clusters in zip(found, drawn.tolist(), strict=True):
        rows = [q for c in clusters for q, label in enumerate(labels) if label == names[c]]
        torch.testing.assert_close(means, values[rows].mean(0))


def test_clusters_of_one_are_the_plain_bootstrap() -> None:
    values = randoms(60, 3)
    plain = resampled_means(values, 700, seed=3)
    assert torch.equal(plain, resampled_means(values, 700, 3, torch.arange(60)))
    torch.testing.assert_close(plain.mean(0), values.mean(0), atol=0.01, rtol=0)


@pytest.mark.statistical
def test_copies_in_clusters_leave_the_interval_and_plain_copies_fake_certainty() -> None:
    """Each question four times: as clusters nothing is learned; taken for independent, the interval halves."""
    values = randoms(100, seed=shifted(0))
    once = mean_interval(values, 4000)
    copies, clusters = values.repeat_interleave(4), torch.arange(100).repeat_interleave(4)
    together = mean_interval(copies, 4000, clusters_Q=clusters)
    assert (together.low, together.high) == pytest.approx((once.low, once.high), abs=1e-12)
    apart = mean_interval(copies, 4000)
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(
        2,
        rel=0.022 * SIGMAS,  # 1.5% of a width from 4,000 resamples, twice
    )


@pytest.mark.statistical
def test_interval_of_unequal_clusters_is_that_of_the_ratio_estimator() -> None:
    """Linearised variance of sum(y) / sum(m) over G clusters: sum((y_g - mean * m_g)^2) / (sum m)^2."""
    rng = np.random.default_rng(shifted(0))
    sizes = rng.integers(1, 6, 400)
    clusters = np.repeat(np.arange(400), sizes)
    values = rng.normal(size=400)[clusters] + 0.5 * rng.normal(size=len(clusters))
    found = mean_interval(torch.from_numpy(values), 6000, clusters_Q=torch.from_numpy(clusters))
    residual = np.bincount(clusters, values) - values.mean() * sizes
    error = math.sqrt((residual**2).sum()) / len(values)
    assert found.value == pytest.approx(values.mean())
    # An end from 6,000 resamples has a standard error of 0.035 errors; 0.02 are left for what is not normal.
    assert found.low == pytest.approx(values.mean() + norm.ppf(0.025) * error, abs=(0.035 * SIGMAS + 0.02) * error)
    assert found.high == pytest.approx(values.mean() + norm.ppf(0.975) * error, abs=(0.035 * SIGMAS + 0.02) * error)


def test_any_integers_are_clusters_and_row_order_within_them_decides_nothing() -> None:
    values, clusters = randoms(30, 2), torch.arange(30) // 3
    found = resampled_means(values, 50, 1, clusters)
    order = torch.arange(29, -1, -1)
    torch.testing.assert_close(resampled_means(values[order], 50, 1, 1000 + 7 * clusters[order]), found)


def test_clusters_of_keys() -> None:
    assert clusters_of(["3+4", "5*6", "3+4", "9", "5*6"]).tolist() == [0, 1, 0, 2, 1]


# Rows


@pytest.mark.parametrize("clusters_Q", [None, torch.arange(40) // 3, torch.arange(40) % 7])
def test_rows_are_the_draws_of_the_means(clusters_Q: Tensor | None) -> None:
    values = randoms(40, 2)
    rows = list(resampled_rows(40, 600, 5, clusters_Q))
    assert len(rows) == 600
    torch.testing.assert_close(
        torch.stack([values[r].mean(0) for r in rows]), resampled_means(values, 600, 5, clusters_Q)
    )


def test_rows_are_drawn_as_one_stream() -> None:
    """One `randint` after another from one generator: what area intervals have always used."""
    generator = torch.Generator().manual_seed(0)
    for rows in resampled_rows(33, 20):
        assert torch.equal(rows, torch.randint(33, (33,), generator=generator))


def test_drawing_fewer_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = randoms(50, 2)
    wide = resampled_means(values, 100)
    monkeypatch.setattr("t2.stats.bootstrap._DRAWS_AT_ONCE", 60)  # one resample at a time
    torch.testing.assert_close(resampled_means(values, 100), wide)
    assert torch.equal(torch.stack(list(resampled_rows(50, 3))), torch.stack(list(resampled_rows(50, 100)))[:3])


def test_same_seed_same_numbers() -> None:
    values, clusters = randoms(40, 2), torch.arange(40) // 2
    again = [resampled_means(values, seed=4, clusters_Q=clusters) for _ in range(2)]
    assert torch.equal(*again)
    assert not torch.equal(again[0], resampled_means(values, seed=5, clusters_Q=clusters))


# Paired statistics of replays


def replay(correct: Tensor, tokens: Tensor) -> Replay:
    one_Q = torch.ones(len(correct))
    return Replay(correct, one_Q, tokens, *[one_Q] * 5)


def test_paired_intervals_are_those_of_a_plain_loop_over_resampled_questions() -> None:
    correct, tokens, clusters = randoms(90, 3), 10 + 90 * randoms(90, 3, seed=1), torch.arange(90) // 2
    replays = [replay(correct[:, p], tokens[:, p]) for p in range(3)]
    resampled = Resampled(replays, clusters, 1500)
    rows = list(resampled_rows(90, 1500, clusters_Q=clusters))
    for p in (0, 2):
        difference, ratio = resampled.difference(replays[p], replays[1]), resampled.ratio(replays[p], replays[1])
        points = [100 * float((correct[r, p] - correct[r, 1]).mean()) for r in rows]
        ratios = [float(tokens[r, p].sum() / tokens[r, 1].sum()) for r in rows]
        assert (difference.low, difference.high) == pytest.approx(tuple(np.quantile(points, (0.025, 0.975))))
        assert (ratio.low, ratio.high) == pytest.approx(tuple(np.quantile(ratios, (0.025, 0.975))))
        assert difference.value == pytest.approx(100 * float((correct[:, p] - correct[:, 1]).mean()))
        assert ratio.value == pytest.approx(float(tokens[:, p].sum() / tokens[:, 1].sum()))
    assert vars(resampled.difference(replays[1], replays[1])) == {"value": 0, "low": 0, "high": 0}
    assert vars(resampled.ratio(replays[1], replays[1])) == {"value": 1, "low": 1, "high": 1}


@pytest.mark.parametrize("others", [1, 2, 4, 9, 40])
def test_no_digit_depends_on_what_else_is_resampled(others: int) -> None:
    """Dropping a row from a report moved the last digits of others: a matrix product rounds its last columns apart."""
    replays = [replay(randoms(90, seed=p), randoms(90, seed=100 + p)) for p in range(2 + others)]
    alone, among = Resampled(replays[:2]), Resampled(replays)
    assert among.difference(*replays[:2]) == alone.difference(*replays[:2])
    assert torch.equal(among.tokens_R(replays[1]), alone.tokens_R(replays[1]))


def test_the_ratio_of_a_multiple_is_the_factor_in_every_resample() -> None:
    one = replay(randoms(100), randoms(100) + 0.5)
    thrice = replace(one, generated_tokens=3 * one.generated_tokens)
    found = Resampled([one, thrice]).ratio(thrice, one)
    assert (found.low, found.value, found.high) == pytest.approx((3, 3, 3))


@pytest.mark.statistical
def test_paired_intervals_are_scipys() -> None:
    rng = np.random.default_rng(shifted(0))
    correct = rng.uniform(size=(300, 2))
    correct[:, 1] = 0.7 * correct[:, 0] + 0.3 * correct[:, 1]
    tokens = rng.exponential(size=(300, 2)) + 0.2
    first, second = (replay(torch.from_numpy(correct[:, p]), torch.from_numpy(tokens[:, p])) for p in range(2))
    resampled = Resampled([first, second], num_resamples=8000)
    for mine, data, statistic in (
        (resampled.difference(second, first), 100 * correct, lambda a, b, axis: b.mean(axis) - a.mean(axis)),
        (resampled.ratio(second, first), tokens, lambda a, b, axis: b.mean(axis) / a.mean(axis)),
    ):
        scipys = bootstrap(
            (data[:, 0], data[:, 1]),
            statistic,
            n_resamples=8000,
            paired=True,
            method="percentile",
            rng=np.random.default_rng(shifted(1)),
        )
        error = scipys.standard_error
        assert mine.value == pytest.approx(statistic(data[:, 0], data[:, 1], 0))
        # An end of a 95% interval from 8,000 resamples has a standard error of 0.030 errors, two differ by 0.042.
        assert mine.low == pytest.approx(scipys.confidence_interval.low, abs=0.042 * SIGMAS * error)
        assert mine.high == pytest.approx(scipys.confidence_interval.high, abs=0.042 * SIGMAS * error)
        assert mine.high - mine.low == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.014 * SIGMAS)


# Mistakes


def test_bad_input() -> None:
    with pytest.raises(T2Error, match="at least one question to resample, got none"):
        resampled_means(torch.zeros(0, 2))
    with pytest.raises(T2Error, match=r"one cluster for each of 3 questions, got \(2,\)"):
        list(resampled_rows(3, clusters_Q=torch.zeros(2)))


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_levels(level: float) -> None:
    found = interval(0.0, torch.arange(1001) / 1000, level)
    assert found.high - found.low == pytest.approx(level)
