"""A(N) against brute force, closed forms and the laws of voting."""

from __future__ import annotations

from itertools import combinations
from math import comb, isnan, nan
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from helpers.plain_rules import payoff
from helpers.seeds import SIGMAS, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom, multinomial
from torch import Tensor

from t2.curves.majority import MAX_SAMPLES, binomials, majority_accuracy

EXACT: dict[str, Any] = {"rtol": 0, "atol": 1e-13}
Question = tuple[list[int], list[bool], int]
"""votes of each class, which are correct, abstentions"""


def samples_of(question: Question) -> list[int | None]:
    counts, _, abstained = question
    return [c for c, count in enumerate(counts) for _ in range(count)] + [None] * abstained


def brute_force(question: Question) -> Tensor:
    """A(1..M) as the mean payoff over all subsets."""
    samples = samples_of(question)
    means = []
    for n in range(1, len(samples) + 1):
        pays = [payoff(list(subset), question[1]) for subset in combinations(samples, n)]
        means.append(sum(pays) / len(pays))
    return torch.tensor(means, dtype=torch.float64)


def curve(question: Question) -> Tensor:
    counts, correct, abstained = question
    return majority_accuracy(torch.tensor([counts]), torch.tensor([correct]), torch.tensor([abstained]))[0]


@st.composite
def questions(draw: st.DrawFn, most_samples: int = 8) -> Question:
    classes = draw(st.integers(1, 4))
    counts = draw(st.lists(st.integers(0, most_samples // 2), min_size=classes, max_size=classes))
    abstained = draw(st.integers(0, 3))
    while sum(counts) + abstained > most_samples:
        counts[counts.index(max(counts))] -= 1
    if sum(counts) + abstained == 0:
        abstained = 1
    return counts, draw(st.lists(st.booleans(), min_size=classes, max_size=classes)), abstained


@pytest.mark.parametrize(
    "question",
    [
        ([6, 4], [True, False], 0),
        ([5, 5], [True, False], 0),
        ([4, 3, 2], [False, True, False], 1),
        ([3, 3, 2, 1], [True, False, True, False], 1),
        ([2, 2, 2, 2, 2], [True, True, False, False, False], 0),
        ([7, 2], [False, False], 1),
        ([0, 4, 3], [True, False, True], 3),
        ([1] * 10, [True] + [False] * 9, 0),
        ([10], [True], 0),
        ([0], [True], 10),
        ([1], [True], 9),
    ],
)
def test_equals_brute_force_over_all_subsets(question: Question) -> None:
    torch.testing.assert_close(curve(question), brute_force(question), **EXACT)


@settings(deadline=None, max_examples=80)
@given(questions())
def test_equals_brute_force_on_random_questions(question: Question) -> None:
    torch.testing.assert_close(curve(question), brute_force(question), **EXACT)


@settings(deadline=None, max_examples=15)
@given(st.lists(questions(7), min_size=2, max_size=5))
def test_a_batch_of_questions_is_its_questions_one_by_one(batch: list[Question]) -> None:
    classes, most = max(len(counts) for counts, _, _ in batch), max(len(samples_of(q)) for q in batch)
    counts = torch.tensor([counts + [0] * (classes - len(counts)) for counts, _, _ in batch])
    correct = torch.tensor([right + [True] * (classes - len(right)) for _, right, _ in batch])
    acc_QM = majority_accuracy(counts, correct, torch.tensor([abstained for _, _, abstained in batch]))
    assert acc_QM.shape == (len(batch), most)
    for row, question in zip(acc_QM, batch, strict=True):
        size = len(samples_of(question))
        torch.testing.assert_close(row[:size], brute_force(question), **EXACT)
        assert row[size:].isnan().all()


@settings(deadline=None, max_examples=40)
@given(st.lists(questions(9), min_size=1, max_size=3), st.lists(st.integers(1, 11), min_size=1, max_size=4))
def test_some_budgets_are_columns_of_all(batch: list[Question], budgets: list[int]) -> None:
    counts = torch.tensor([counts + [0] * (4 - len(counts)) for counts, _, _ in batch])
    correct = torch.tensor([right + [False] * (4 - len(right)) for _, right, _ in batch])
    abstained = torch.tensor([abstained for _, _, abstained in batch])
    acc_QK = majority_accuracy(counts, correct, abstained, budgets)
    assert acc_QK.shape == (len(batch), len(budgets))
    for row, question in zip(acc_QK, batch, strict=True):
        all_N = torch.nn.functional.pad(brute_force(question), (0, 11), value=nan)
        torch.testing.assert_close(row, all_N[[n - 1 for n in budgets]], **EXACT, equal_nan=True)


@pytest.mark.parametrize("budgets", [[], [0], [3, -1]])
def test_budgets_start_at_one_sample(budgets: list[int]) -> None:
    with pytest.raises(ValueError, match="Expected budgets of at least 1 sample"):
        majority_accuracy(torch.tensor([[2]]), torch.tensor([[True]]), torch.tensor([0]), budgets)


@settings(deadline=None, max_examples=40)
@given(questions(20), st.randoms(use_true_random=False))
def test_laws(question: Question, rng: Random) -> None:
    counts, correct, abstained = question
    acc = curve(question)
    pool = sum(counts) + abstained
    right = sum(c for c, ok in zip(counts, correct, strict=True) if ok)
    assert acc[0] == pytest.approx(right / pool, abs=1e-13)
    assert acc[-1] == pytest.approx(payoff(samples_of(question), correct), abs=1e-13)
    assert ((acc >= 0) & (acc <= 1 + 1e-13)).all()
    if abstained == 0 and pool > 1:
        assert acc[1] == pytest.approx(float(acc[0]), abs=1e-13)
    order = list(range(len(counts)))
    rng.shuffle(order)
    renamed = ([counts[i] for i in order], [correct[i] for i in order], abstained)
    torch.testing.assert_close(curve(renamed), acc, **EXACT)


@pytest.mark.parametrize("right", [1, 13, 31, 32, 33, 51, 63])
def test_two_classes_are_a_hypergeometric_tail(right: int) -> None:
    budgets = np.arange(1, 65)
    draws = hypergeom(64, right, budgets)
    tie = np.where(budgets % 2 == 0, draws.pmf(budgets // 2), 0.0)
    expected = torch.tensor(draws.sf(budgets // 2) + 0.5 * tie)
    torch.testing.assert_close(curve(([right, 64 - right], [True, False], 0)), expected, rtol=0, atol=1e-12)


@pytest.mark.statistical
def test_mean_over_pools_is_the_models_own_accuracy() -> None:
    shares, num_samples, num_pools = (0.4, 0.35, 0.15, 0.1), 12, 4000  # correct, two wrong classes, abstention
    pools = torch.from_numpy(np.random.default_rng(shifted(0)).multinomial(num_samples, shares, size=num_pools))
    acc = majority_accuracy(pools[:, :3], torch.tensor([[True, False, False]] * num_pools), pools[:, 3])
    standard_error = acc.std(0) / num_pools**0.5
    for n in range(1, num_samples + 1):
        outcomes = [
            (a, b, c, n - a - b - c) for a in range(n + 1) for b in range(n + 1 - a) for c in range(n + 1 - a - b)
        ]
        pay = [payoff(samples_of((list(o[:3]), [], o[3])), [True, False, False]) for o in outcomes]
        true_accuracy = float(np.dot(multinomial.pmf(outcomes, n, shares), pay))
        assert abs(float(acc[:, n - 1].mean()) - true_accuracy) < SIGMAS * float(standard_error[n - 1]), n


def test_largest_pool_stays_exact() -> None:
    """Six right of 512: the same hypergeometric tail, where binomials come near the range of float64."""
    budgets = np.arange(1, MAX_SAMPLES + 1)
    draws = hypergeom(MAX_SAMPLES, 6, budgets)
    expected = draws.sf(budgets // 2) + 0.5 * np.where(budgets % 2 == 0, draws.pmf(budgets // 2), 0.0)
    acc = curve(([6, MAX_SAMPLES - 6], [True, False], 0))
    torch.testing.assert_close(acc, torch.tensor(expected), rtol=0, atol=1e-11)


def test_budgets_beyond_a_questions_own_pool_are_nan() -> None:
    acc_QM = majority_accuracy(torch.tensor([[2, 1], [1, 0]]), torch.tensor([[True, False]] * 2), torch.tensor([1, 0]))
    assert [isnan(a) for a in acc_QM[0].tolist()] == [False] * 4
    torch.testing.assert_close(acc_QM[1], torch.tensor([1.0, nan, nan, nan], dtype=torch.float64), equal_nan=True)


def test_binomials() -> None:
    table = binomials(9)
    assert [[table[n, k].item() for k in range(10)] for n in range(10)] == [
        [comb(n, k) for k in range(10)] for n in range(10)
    ]


@pytest.mark.parametrize(
    ("counts", "abstained", "message"),
    [
        ([[2, -1]], [0], "Expected counts >= 0, got a negative count"),
        ([[2, 1]], [-1], "Expected counts >= 0, got a negative count"),
        ([[2, 1], [0, 0]], [0, 0], r"Expected 1 to 512 samples of each question, got \[0, 3\]"),
        ([[MAX_SAMPLES, 1]], [0], r"Expected 1 to 512 samples of each question, got \[513\]"),
    ],
)
def test_bad_counts(counts: list[list[int]], abstained: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        majority_accuracy(torch.tensor(counts), torch.ones(len(counts), 2, dtype=torch.bool), torch.tensor(abstained))
