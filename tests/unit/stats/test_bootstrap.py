"""Clusters, paired intervals and resampled rows against SciPy, closed forms and a plain loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.seeds import SIGMAS, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm
from torch import Tensor

from t2.errors import T2Error
from t2.stats.bootstrap import (
    clusters_of,
    interval,
    mean_interval,
    paired_intervals,
    ratio_interval,
    resampled_means,
    resampled_rows,
)


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
    again = [paired_intervals(values, values + 1, seed=4, clusters_Q=clusters) for _ in range(2)]
    assert again[0] == again[1]
    assert again[0] != paired_intervals(values, values + 1, seed=5, clusters_Q=clusters)


# Paired intervals


def test_paired_intervals_are_the_single_ones() -> None:
    correct, tokens, clusters = randoms(90, 3), 10 + 90 * randoms(90, 3, seed=1), torch.arange(90) // 2
    found = paired_intervals(correct, tokens, 1, 1500, 2, clusters)
    for p in (0, 2):
        difference = mean_interval(correct[:, p] - correct[:, 1], 1500, 2, clusters)
        ratio = ratio_interval(tokens[:, p], tokens[:, 1], 1500, 2, clusters)
        mine = found[p].accuracy_difference
        assert (mine.value, mine.low, mine.high) == pytest.approx((difference.value, difference.low, difference.high))
        mine = found[p].token_ratio
        assert (mine.value, mine.low, mine.high) == pytest.approx((ratio.value, ratio.low, ratio.high))
    assert vars(found[1].accuracy_difference) == {"value": 0, "low": 0, "high": 0}
    assert vars(found[1].token_ratio) == {"value": 1, "low": 1, "high": 1}


@pytest.mark.statistical
def test_paired_intervals_are_scipys() -> None:
    rng = np.random.default_rng(shifted(0))
    correct = rng.uniform(size=(300, 2))
    correct[:, 1] = 0.7 * correct[:, 0] + 0.3 * correct[:, 1]
    tokens = rng.exponential(size=(300, 2)) + 0.2
    found = paired_intervals(torch.from_numpy(correct), torch.from_numpy(tokens), 0, 8000, level=0.9)[1]
    for mine, data, statistic in (
        (found.accuracy_difference, correct, lambda a, b, axis: b.mean(axis) - a.mean(axis)),
        (found.token_ratio, tokens, lambda a, b, axis: b.mean(axis) / a.mean(axis)),
    ):
        scipys = bootstrap(
            (data[:, 0], data[:, 1]),
            statistic,
            n_resamples=8000,
            paired=True,
            confidence_level=0.9,
            method="percentile",
            rng=np.random.default_rng(shifted(1)),
        )
        error = scipys.standard_error
        assert mine.value == pytest.approx(statistic(data[:, 0], data[:, 1], 0))
        # An end of a 90% interval from 8,000 resamples has a standard error of 0.024 errors, two differ by 0.033.
        assert mine.low == pytest.approx(scipys.confidence_interval.low, abs=0.033 * SIGMAS * error)
        assert mine.high == pytest.approx(scipys.confidence_interval.high, abs=0.033 * SIGMAS * error)
        assert mine.high - mine.low == pytest.approx(2 * norm.ppf(0.95) * error, rel=0.013 * SIGMAS)


# Mistakes


def test_bad_input() -> None:
    with pytest.raises(T2Error, match="at least one question to resample, got none"):
        resampled_means(torch.zeros(0, 2))
    with pytest.raises(T2Error, match=r"one cluster for each of 3 questions, got \(2,\)"):
        list(resampled_rows(3, clusters_Q=torch.zeros(2)))
    with pytest.raises(T2Error, match=r"got shapes \(3, 2\) and \(3, 1\), reference 0"):
        paired_intervals(torch.zeros(3, 2), torch.ones(3, 1))
    with pytest.raises(T2Error, match=r"a reference among them, got .* reference 2"):
        paired_intervals(torch.zeros(3, 2), torch.ones(3, 2), reference=2)


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_levels(level: float) -> None:
    found = interval(0.0, torch.arange(1001) / 1000, level)
    assert found.high - found.low == pytest.approx(level)
