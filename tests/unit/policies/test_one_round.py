"""Policies against plain references: hull walks, one-at-a-time ASC, and an oracle that never grades itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from math import comb
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from helpers.graded_pools import graded_pool, random_pool, with_tokens_shuffled
from helpers.plain_rules import halves_of, own_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc
from torch import Tensor

import t2.policies
from t2.comparison.contenders import head_frontiers
from t2.comparison.slices import Slice
from t2.curves.labels import accuracy_on_grid, budget_labels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import answer_atoms
from t2.heads.base import Prediction
from t2.policies import ASC, POLICIES, BatchBudget, BayesOracle, Costs, FixedN, Orders, PredictedN, Utility
from t2.policies.asc import stop_probability
from t2.policies.base import OneRound, Replay, mean_of, replay_greedy, replay_one_round
from t2.policies.orders import shuffled
from t2.voting import ABSENT, ABSTAINED, running_leaders

GRID = (1, 3, 5, 7, 9, 12, 16, 24, 32)


def predicted(num: int, **parts: Tensor) -> Prediction:
    return Prediction(log_tokens_B=torch.full((num,), 4.0), **parts)


def costs(num: int, tokens: float = 50.0, grid: tuple[int, ...] = GRID) -> Costs:
    return Costs(grid, torch.full((num,), tokens, dtype=torch.float64))


# One round


@pytest.mark.parametrize("n", [1, 3, 7])
def test_fixed_replay_is_the_exact_curve(n: int) -> None:
    pool, grid = random_pool(), (1, 3, 5, 7)
    labels = budget_labels(pool, grid, eps=0.02, first="sampled")
    replay = replay_one_round(FixedN(n).choose(predicted(30), costs(30, grid=grid)), labels, pool)
    torch.testing.assert_close(replay.correct, accuracy_on_grid(pool, (n,))[:, 0])
    assert (replay.samples == n).all()
    assert (replay.peak == n).all()
    assert (replay.rounds == 1).all()
    torch.testing.assert_close(replay.generated_tokens, n * pool.tokens_QM.double().mean(1))
    torch.testing.assert_close(replay.total_tokens, replay.generated_tokens + 5)


def test_one_answer_is_the_greedy_one() -> None:
    """Where every question has a greedy answer; all else of a question that gets more than one answer stays."""
    pool, grid = random_pool(), (1, 3, 5)
    pool = replace(pool, greedy_right_Q=torch.arange(30) % 3 == 0, greedy_tokens_Q=torch.arange(30) + 7)
    labels, index_Q = budget_labels(pool, grid, 0.02), torch.arange(30) % 2
    replay = replay_one_round(index_Q, labels, pool)
    sampled = replay_one_round(index_Q, budget_labels(pool, grid, 0.02, first="sampled"), pool)
    alone = index_Q == 0
    assert torch.equal(replay.correct[alone], pool.greedy_right_Q[alone].double())
    for part in (replay.generated_tokens, replay.critical_path, replay.peak_kv - 5):
        assert torch.equal(part[alone], pool.greedy_tokens_Q[alone].double())
    for mine, theirs in zip(vars(replay).values(), vars(sampled).values(), strict=True):
        assert torch.equal(mine[~alone], theirs[~alone])
    assert not torch.equal(sampled.correct[alone], replay.correct[alone])


def test_greedy_answers_that_are_asked_for_must_be_there() -> None:
    pool = replace(random_pool(4), greedy_present_Q=torch.tensor([True, True, False, True]))
    with pytest.raises(T2Error, match="Expected a greedy answer of every question for `first: greedy`, got none of 1"):
        budget_labels(pool, (1, 3), 0.02, first="greedy")
    assert budget_labels(pool, (1, 3), 0.02).greedy_right_Q is None


@pytest.mark.parametrize(("n", "budget"), [(1, 1), (2, 3), (10, 12), (32, 32), (99, 32)])
def test_fixed_n_rounds_up_into_the_grid(n: int, budget: int) -> None:
    assert GRID[FixedN(n).choose(predicted(1), costs(1))] == budget


def test_greedy_replay() -> None:
    pool = random_pool(4)
    replay = replay_greedy(replace(pool, greedy_right_Q=torch.tensor([True, False, True, False])))
    assert replay.correct.tolist() == [1, 0, 1, 0]
    assert (replay.generated_tokens == 10).all()
    assert (replay.samples == 1).all()


def hull_walk(accuracy: list[Fraction], tokens: list[Fraction], price: Fraction) -> int:
    """Climb the upper concave hull of (tokens, accuracy) while its slope exceeds the price."""
    hull: list[int] = []
    for k in range(len(accuracy)):
        while len(hull) > 1:
            i, j = hull[-2], hull[-1]
            before = (accuracy[j] - accuracy[i]) * (tokens[k] - tokens[i])
            direct = (accuracy[k] - accuracy[i]) * (tokens[j] - tokens[i])
            if before > direct:
                break
            hull.pop()  # j lies on or below the line from i to k
        hull.append(k)
    at = 0
    while at + 1 < len(hull):
        i, j = hull[at], hull[at + 1]
        if 100 * (accuracy[j] - accuracy[i]) <= price * (tokens[j] - tokens[i]) / 1000:
            break
        at += 1
    return hull[at]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.integers(0, 64), min_size=9, max_size=9),
    st.integers(1, 400),
    st.fractions(0, 60, max_denominator=50),
)
def test_utility_is_the_walk_up_the_hull(eighths: list[int], tokens: int, price: Fraction) -> None:
    accuracy = [Fraction(a, 64) for a in eighths]
    walked = hull_walk(accuracy, [Fraction(tokens * n) for n in GRID], price)
    curve = predicted(1, accuracy_BK=torch.tensor([[a / 64 for a in eighths]]))
    chosen = int(Utility(float(price)).choose(curve, costs(1, tokens)))
    assert chosen == walked


def test_utility_limits() -> None:
    curve = predicted(2, accuracy_BK=torch.tensor([[0.2, 0.5, 0.4], [0.5, 0.5, 0.5]]))
    cheap, dear = Utility(0.0), Utility(1e6)
    assert cheap.choose(curve, costs(2, grid=(1, 3, 5))).tolist() == [1, 0]  # of equals the cheapest
    assert dear.choose(curve, costs(2, grid=(1, 3, 5))).tolist() == [0, 0]
    # 1 point for 100 tokens is 10 points per 1,000.
    one_point = predicted(1, accuracy_BK=torch.tensor([[0.50, 0.51]], dtype=torch.float64))
    assert Utility(9.9).choose(one_point, costs(1, 50.0, (1, 3))).tolist() == [1]
    assert Utility(10.1).choose(one_point, costs(1, 50.0, (1, 3))).tolist() == [0]


@pytest.mark.parametrize(
    ("mu", "shift", "budget"),
    [(0, 0, 1), (1, 0, 3), (2.5, 0, 7), (4, 0, 16), (4.001, 0, 24), (9, 0, 32), (2, 1, 9), (2, -3, 1), (-2, 0, 1)],
)
def test_predicted_n_rounds_up_into_the_grid(mu: float, shift: float, budget: int) -> None:
    assert GRID[PredictedN(shift).choose(predicted(1, log2_n_B=torch.tensor([float(mu)])), costs(1))] == budget


@pytest.mark.parametrize("n", GRID)
def test_predicted_n_of_a_budget_is_that_budget(n: int) -> None:
    """log2 in float32 made 7 a little more than 7, which was rounded up to 9, and 12 to 16."""
    mu = torch.tensor([float(n)]).log2()
    assert GRID[PredictedN().choose(predicted(1, log2_n_B=mu), costs(1))] == n


def test_missing_parts_are_named() -> None:
    with pytest.raises(T2Error, match="predicts a curve for policy Utility"):
        Utility().choose(predicted(1), costs(1))
    with pytest.raises(T2Error, match="predicts N\\* for policy PredictedN"):
        PredictedN().choose(predicted(1), costs(1))
    with pytest.raises(T2Error, match="for policy Utility, got OrdinalHead"):
        Utility.check(gives_curve=False, head="OrdinalHead")
    Utility.check(gives_curve=True, head="CurveHead")
    PredictedN.check(gives_curve=False, head="OrdinalHead")


NO_NUMBERS = [float("inf"), float("nan"), pytest.param(10**400, id="huge"), "3", None, True, [1]]


@pytest.mark.parametrize("price", [-1.0, *NO_NUMBERS])
def test_bad_prices(price: Any) -> None:
    with pytest.raises(T2Error, match="Expected a finite `price` >= 0"):
        Utility(price)


@pytest.mark.parametrize("n", [0, -3, 2.5, *NO_NUMBERS])
def test_bad_n(n: Any) -> None:
    """NaN, infinity and 2.5 samples were taken, and drew some budget."""
    with pytest.raises(T2Error, match="Expected `n`, a whole number of samples, of at least 1, got "):
        FixedN(n)


@pytest.mark.parametrize("shift", [float("-inf"), *NO_NUMBERS])
def test_bad_shifts(shift: Any) -> None:
    """A shift of NaN drew the largest budget for every question."""
    with pytest.raises(T2Error, match=r"Expected a finite `shift` .*, got "):
        PredictedN(shift)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_predictions_that_are_not_finite_are_refused(value: float) -> None:
    """NaN made Utility draw 1 sample and PredictedN the most there are, without a word."""
    curve, log2_n, tokens = torch.rand(3, len(GRID)), torch.ones(3), torch.full((3,), 50.0, dtype=torch.float64)
    curve[1, 4], log2_n[1] = value, value
    message = "Expected finite predicted {} for policy {}, got NaN or infinity for 1 of 3 questions. Check"
    for policy, prediction, what in (
        (Utility(), predicted(3, accuracy_BK=curve), "accuracies"),
        (BatchBudget(900.0), predicted(3, accuracy_BK=curve), "accuracies"),
        (PredictedN(), predicted(3, log2_n_B=log2_n), "log2 N\\*"),
    ):
        with pytest.raises(T2Error, match=message.format(what, type(policy).__name__)):
            policy.choose(prediction, costs(3))
    tokens[1] = value
    for policy in (Utility(0.0), BatchBudget(900.0)):
        with pytest.raises(T2Error, match=message.format("tokens", type(policy).__name__)):
            policy.choose(predicted(3, accuracy_BK=torch.rand(3, len(GRID))), Costs(GRID, tokens))


@pytest.mark.parametrize("policy", [FixedN(3), PredictedN(), Utility(), BatchBudget(0.0)])
def test_no_question_is_no_mistake(policy: OneRound) -> None:
    nothing = predicted(0, accuracy_BK=torch.zeros(0, len(GRID)), log2_n_B=torch.zeros(0))
    assert policy.choose(nothing, costs(0)).tolist() == []


def test_fixed_n_reads_nothing_of_a_prediction() -> None:
    assert FixedN(3).choose(predicted(2, log2_n_B=torch.tensor([torch.nan, 1.0])), costs(2)).tolist() == [1, 1]


def test_whitelist() -> None:
    assert sorted(POLICIES) == ["BatchBudget", "FixedN", "PredictedN", "Utility"]
    modules = [import_module(f"t2.policies.{module.name}") for module in iter_modules(t2.policies.__path__)]
    there = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    assert {each for each in there if issubclass(each, OneRound)} - {OneRound} == set(POLICIES.values())


def test_true_lengths_decide_nothing() -> None:
    pool, grid = random_pool(), (1, 3, 5, 7)
    prediction = predicted(30, accuracy_BK=torch.rand(30, 4).sort(1).values, log2_n_B=3 * torch.rand(30))
    other = with_tokens_shuffled(pool)
    for first, second in zip(
        head_frontiers("head", prediction, Slice.of(pool, budget_labels(pool, grid, 0.02), 0, 2), 7),
        head_frontiers("head", prediction, Slice.of(other, budget_labels(other, grid, 0.02), 0, 2), 7),
        strict=True,
    ):
        for a, b in zip(first.replays, second.replays, strict=True):
            assert torch.equal(a.samples, b.samples)
            assert torch.equal(a.correct, b.correct)
    a, b = ASC(0.9, 16).replay(Orders.of(pool, 3, seed=0)), ASC(0.9, 16).replay(Orders.of(other, 3, seed=0))
    assert torch.equal(a.samples, b.samples)
    assert not torch.equal(a.generated_tokens, b.generated_tokens)


# ASC


def probability(first: int, second: int) -> float:
    """Mass of Beta(first + 1, second + 1) above 1/2."""
    return 1 - float(betainc(first + 1, second + 1, 0.5))


def test_unanimous_answers_stop_with_one_minus_two_to_the_minus_k_plus_one() -> None:
    k = torch.arange(40)
    torch.testing.assert_close(
        stop_probability(k, torch.zeros(40)), 1 - torch.exp2(-(k + 1).double()), rtol=0, atol=1e-14
    )


def test_stop_probability_is_a_beta_tail() -> None:
    for first in range(0, 33, 4):
        for second in range(0, first + 1, 3):
            found = float(stop_probability(torch.tensor(first), torch.tensor(second)))
            assert found == pytest.approx(probability(first, second), abs=1e-12)
            flips = first + second + 1  # at most `first` heads of a fair coin
            assert found == pytest.approx(sum(comb(flips, k) for k in range(first + 1)) / 2**flips, abs=1e-12)


@pytest.mark.parametrize("threshold", [0.5, 1.0, 0.2, 1.5])
def test_bad_thresholds(threshold: float) -> None:
    with pytest.raises(T2Error, match=r"Expected a threshold of ASC between 0\.5 and 1"):
        ASC(threshold, 8)


def one_at_a_time(pool: GradedPool, threshold: float, cap: int) -> list[tuple[bool, int, int]]:
    """Plain Python ASC, sample by sample: right, samples, tokens of each question."""
    results = []
    for q in range(len(pool)):
        votes = [v for v in pool.vote_QM[q].tolist() if v != ABSENT][:cap]
        counts: dict[int, int] = {}
        spent = used = 0
        for vote, tokens in zip(votes, pool.tokens_QM[q].tolist(), strict=False):
            used, spent = used + 1, spent + tokens
            if vote != ABSTAINED:
                counts[vote] = counts.get(vote, 0) + 1
            first, second = [*sorted(counts.values(), reverse=True), 0, 0][:2]
            if probability(first, second) >= threshold:
                break
        leader = max(counts, key=counts.__getitem__) if counts else None  # a tie goes to the class seen first
        results.append((leader == 0, used, spent))
    return results


def in_batches(votes: list[int], threshold: float, cap: int) -> list[int]:
    """Sizes of the rounds when each draws as many samples as must come before stopping is possible."""
    limit, sizes, drawn = min(cap, len(votes)), [], 0
    while drawn < limit:
        counts = sorted([votes[:drawn].count(c) for c in set(votes[:drawn]) - {ABSTAINED}], reverse=True)
        first, second = [*counts, 0, 0][:2]
        if drawn and probability(first, second) >= threshold:
            break
        more = next(k for k in range(1, 200) if probability(first + k, second) >= threshold)
        sizes.append(min(more, limit - drawn))
        drawn += sizes[-1]
    return sizes


@pytest.mark.parametrize("threshold", [0.76, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("cap", "ragged"), [(16, False), (7, False), (16, True), (40, True), (1, False)])
def test_asc_is_the_one_at_a_time_rule(threshold: float, cap: int, ragged: bool) -> None:
    pool = random_pool(ragged=ragged)
    replay = ASC(threshold, cap).replay(Orders.of(pool, 1, seed=5))
    drawn_from = shuffled(pool, torch.Generator().manual_seed(5))
    reference = one_at_a_time(drawn_from, threshold, cap)
    assert replay.correct.tolist() == [float(right) for right, _, _ in reference]
    assert replay.samples.tolist() == [used for _, used, _ in reference]
    assert replay.generated_tokens.tolist() == [spent for _, _, spent in reference]
    for q in range(len(pool)):
        votes = [v for v in drawn_from.vote_QM[q].tolist() if v != ABSENT]
        sizes = in_batches(votes, threshold, cap)
        assert sum(sizes) == replay.samples[q]
        assert len(sizes) == replay.rounds[q]
        assert max(sizes) == replay.peak[q]


def test_asc_saves_rounds() -> None:
    replay = ASC(0.95, 16).replay(Orders.of(graded_pool([[0] * 16]), 1, seed=0))
    assert (replay.samples.item(), replay.rounds.item(), replay.peak.item()) == (4, 1, 4)  # 1 - 2^-5 >= 0.95


def test_asc_without_votes_draws_all_and_is_wrong() -> None:
    replay = ASC(0.9, 8).replay(Orders.of(graded_pool([[ABSTAINED] * 8]), 2, seed=0))
    assert (replay.correct.item(), replay.samples.item(), replay.generated_tokens.item()) == (0, 8, 80)


def test_asc_averages_over_orders_and_repeats_with_its_seed() -> None:
    pool = random_pool()
    generator = torch.Generator().manual_seed(3)
    orders = [one_at_a_time(shuffled(pool, generator), 0.9, 16) for _ in range(4)]
    replay = ASC(0.9, 16).replay(Orders.of(pool, 4, seed=3))
    mean = torch.tensor([[used for _, used, _ in order] for order in orders], dtype=torch.float64).mean(0)
    torch.testing.assert_close(replay.samples, mean)
    assert torch.equal(replay.samples, ASC(0.9, 16).replay(Orders.of(pool, 4, seed=3)).samples)
    assert not torch.equal(replay.samples, ASC(0.9, 16).replay(Orders.of(pool, 4, seed=4)).samples)


def test_shuffling_moves_samples_whole() -> None:
    pool = random_pool(ragged=True)
    moved = shuffled(pool, torch.Generator().manual_seed(0))
    assert not torch.equal(moved.vote_QM, pool.vote_QM)
    for q in range(len(pool)):
        before = sorted(zip(pool.vote_QM[q].tolist(), pool.tokens_QM[q].tolist(), strict=True))
        assert sorted(zip(moved.vote_QM[q].tolist(), moved.tokens_QM[q].tolist(), strict=True)) == before
        assert not moved.present_QM[q].int().diff().gt(0).any()  # padding stays last


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(ABSTAINED, 3), min_size=6, max_size=6), min_size=1, max_size=4))
def test_running_leaders_are_plain_majorities(rows: list[list[int]]) -> None:
    leader, first, second = running_leaders(torch.tensor(rows))
    for q, row in enumerate(rows):
        counts: dict[int, int] = {}
        for n, vote in enumerate(row):
            if vote != ABSTAINED:
                counts[vote] = counts.get(vote, 0) + 1
            ranked = [*sorted(counts.values(), reverse=True), 0, 0]
            best = max(counts, key=counts.__getitem__) if counts else ABSTAINED
            assert (leader[q, n], first[q, n], second[q, n]) == (best, ranked[0], ranked[1])


# OwnOracle


def halves_that_disagree() -> GradedPool:
    """One half is right 5 times of 8 and rises; the other 3 times of 8 and falls; the halves' lengths differ."""
    fold = graded_pool([[0] * 16]).fold_QM()[0].tolist()
    answers = {0: [0, 0, 0, 0, 0, 1, 1, 1], 1: [1, 1, 1, 1, 1, 0, 0, 0]}
    votes = [answers[half].pop() for half in fold]
    return graded_pool([votes], [[10 if half == 0 else 30 for half in fold]])


def test_own_oracle_is_never_scored_on_the_half_that_chose() -> None:
    replay = own_oracle(0.0, halves_that_disagree(), (1, 3, 5, 7))
    # The rising half chooses 7, where the falling half is always wrong; the falling half chooses 1, where the
    # rising half is right 5 times of 8. Scored on itself it would be (1 + 3/8) / 2.
    assert replay.correct.item() == pytest.approx((0 + 5 / 8) / 2)
    assert replay.samples.item() == 4
    assert replay.generated_tokens.item() == pytest.approx((7 * 30 + 1 * 10) / 2)


def test_own_oracle_keeps_to_half_the_pool() -> None:
    replay = own_oracle(0.0, random_pool(samples=16), GRID)
    assert replay.samples.max() <= 8
    assert own_oracle(1e6, random_pool(samples=16), GRID).samples.max() == 1


# BayesOracle


def test_votes_that_are_all_but_impossible_under_every_atom_still_have_a_posterior() -> None:
    """A half of 128 abstentions, and training questions that never abstained in 256 samples: 0 / 0, and so 1 sample.

    The likelihoods are about 1e-347, less than a float64 holds. Atoms with the same share of abstentions are equally
    likely; one that abstained once is 3^128 times as likely as those.
    """
    never, never_either, once = [0] * 256, [0] * 250 + [1] * 6, [0] * 255 + [ABSTAINED]
    pool, grid = graded_pool([[ABSTAINED] * 256]), (1, 3, 128)
    halves = halves_of(pool, grid)
    for rows, curves, index in (
        ([never], [[0.1, 0.1, 0.9]], 2),
        ([never, never_either], [[0.2, 0.9, 0.0], [0.2, 0.0, 0.8]], 1),  # mean 0.2, 0.45, 0.4
        ([never, once], [[0.9, 0.1, 0.1], [0.1, 0.1, 0.9]], 2),
        ([never, once], [[0.1, 0.1, 0.9], [0.9, 0.1, 0.1]], 0),
    ):
        curve_JK = torch.tensor(curves, dtype=torch.float64)
        replay = BayesOracle(0.001).replay(halves, pool, answer_atoms(graded_pool(rows)), curve_JK)
        assert replay.samples.tolist() == [grid[index]]


def test_mean_of_replays() -> None:
    ones = Replay(*(torch.ones(2) for _ in range(8)))
    threes = Replay(*(torch.full((2,), 3.0) for _ in range(8)))
    mean = vars(mean_of([ones, threes]))
    assert (mean.pop("order_variance") == 0).all()
    assert all((value == 2).all() for value in mean.values())
