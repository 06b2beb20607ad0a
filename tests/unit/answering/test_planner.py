"""The plan of one question: the exported rules at any prices, limits on rounds, and how sure an answer is."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product

import pytest
import torch
from helpers.serving_heads import GRID, VOTES, served
from hypothesis import given
from hypothesis import strategies as st

from t2.answering.options import AnswerOptions
from t2.answering.plan import QuestionPlan
from t2.answering.planner import Planner
from t2.errors import T2Error
from t2.heads.prior import PriorHead
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.record import Policy, in_words, reads_activations
from t2.policies.rules import GreedyAnswer
from t2.policies.states import vote_states
from t2.policies.stoppers import ONE_ROUND_PRICE, PlanWithHead, PlanWithoutHead, StopByVotes

Votes = Sequence[str | None]
ALL: list[Policy] = [
    FixedN(5),
    Utility(3.0),
    StopByVotes(7, 0.9),
    PlanWithoutHead(7, 3.0, 0.5),
    PlanWithHead(7, 3.0, 0.5),
    PlanWithHead(7, 3.0, ONE_ROUND_PRICE),
]


def walked(plan: QuestionPlan, answers: Votes) -> list[int]:
    """Samples of each round if the answers come in this order."""
    votes: list[str | None] = []
    rounds: list[int] = []
    while extra := plan.extra(votes, len(rounds)):
        votes += answers[len(votes) : len(votes) + extra]
        rounds.append(extra)
    return rounds


def orders(num: int = 30) -> list[Votes]:
    """Answers in order of draw, from unanimous to scattered."""
    rng = random.Random(0)
    return [rng.choices(["a", "b", "c", None], weights=[2 + i % 9, 2, 1, 1], k=max(GRID)) for i in range(num)]


@pytest.mark.parametrize("policy", ALL, ids=in_words)
def test_a_plan_draws_what_the_export_says(policy: Policy) -> None:
    """One question at a time, from raw outputs, as all at once from activations."""
    head, pooled = served(policy)
    planner = Planner(head)
    rules = head.rules(pooled if head.reads_activations else len(pooled))
    for row, answers in zip(range(20), orders(), strict=False):
        plan = planner.plan(head.raw(pooled[row]) if planner.needs_activations else None)
        assert plan.is_greedy == isinstance(rules[row], GreedyAnswer)
        for drawn in range(max(GRID)):
            assert plan.extra(answers[:drawn], 0) == rules[row].extra(answers[:drawn])


@pytest.mark.parametrize(("price", "round_price"), [(1.0, 0.0), (6.0, 1.0), (20.0, 3.0)])
def test_prices_of_a_request_are_those_of_plans(price: float, round_price: float) -> None:
    head, pooled = served(PlanWithHead(7, 3.0, 0.5))
    rules = head.plans(pooled, price, round_price)
    options = AnswerOptions(price=price, round_price=round_price)
    for row, answers in zip(range(20), orders(), strict=False):
        plan = Planner(head).plan(head.raw(pooled[row]), options)
        assert [plan.extra(answers[:n], 0) for n in range(7)] == [rules[row].extra(answers[:n]) for n in range(7)]


@pytest.mark.parametrize(
    ("asked", "samples", "expected"), [(None, None, 7), (None, 3, 3), (2, None, 2), (2, 5, 2), (6, 5, 5)]
)
def test_a_question_that_falls_back_draws_no_more_than_it_may(
    asked: int | None, samples: int | None, expected: int
) -> None:
    planner = Planner(served(PlanWithHead(7, 3.0, 0.5))[0])
    plan = planner.fallback(AnswerOptions(max_samples=asked), samples)
    assert (plan.first, plan.extra(["a"] * expected, 1)) == (expected, 0)


ASKED = [
    AnswerOptions(),
    AnswerOptions(max_samples=4),
    AnswerOptions(max_rounds=1),
    AnswerOptions(max_rounds=2, max_samples=6),
]


@pytest.mark.parametrize("policy", ALL, ids=in_words)
@pytest.mark.parametrize("options", ASKED, ids=str)
def test_plans_made_together_are_those_made_alone(
    policy: Policy, options: AnswerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where so many come that they are made in several parts."""
    head, pooled = served(policy)
    planner = Planner(head)
    monkeypatch.setattr("t2.answering.planner._STATES_AT_ONCE", 8 * len(vote_states(7)))
    raws = [head.raw(pooled[row]) if planner.needs_activations else None for row in range(20)]
    together = planner.plans(torch.stack(raws), options) if planner.needs_activations else planner.plans(None, options)
    assert len(together) == (20 if planner.needs_activations else 1)
    for plan, raw_O, answers in zip(together, raws, orders(), strict=False):
        alone = planner.plan(raw_O, options)
        assert (plan.first, plan.is_greedy, plan.most) == (alone.first, alone.is_greedy, alone.most)
        assert walked(plan, answers) == walked(alone, answers)
        confidence = alone.confidence(answers[:3])
        assert plan.confidence(answers[:3]) == (confidence if confidence is None else pytest.approx(confidence))


def test_expected_steps_are_rounds_of_walks_times_tokens() -> None:
    """Walks through vote states by the chances of the question's own prior, 400 a question."""
    head, pooled = served(PlanWithHead(7, 1.0, 0.1))
    planner, raws = Planner(head), torch.stack([head.raw(pooled[row]) for row in range(6)])
    prediction = head.of_raw(raws)
    priors = planner._priors(prediction, 7)
    assert priors is not None
    states, draw = priors.model.states, random.Random(1)
    plans = planner.plans(raws, with_steps=True)
    for row, plan in enumerate(plans):
        walks = []
        for _ in range(1 if plan.is_greedy else 400):
            state, votes, rounds = 0, list[str | None](), 0
            while extra := plan.extra(votes, rounds):
                rounds += 1
                for _ in range(extra):
                    lead, run, rest = (float(share[row, state]) for share in priors.model.shares)
                    ways = [int(each[state]) for each in (states.lead_S, states.run_S, states.rest_S)]
                    (state,) = draw.choices(ways, [lead, run, rest])
                    votes.append(None)
                counted = [int(each[state]) for each in (states.drawn_S, states.first_S, states.second_S)]
                drawn, first, second = counted
                votes = ["a"] * first + ["b"] * second + [None] * (drawn - first - second)
            walks.append(rounds)
        mean = sum(walks) / len(walks)
        error = (sum((each - mean) ** 2 for each in walks) / len(walks) / len(walks)) ** 0.5
        assert plan.steps is not None
        assert abs(plan.steps / float(prediction.log_tokens_B[row].exp()) - mean) <= 4 * error + 1e-6
    assert len({plan.steps for plan in plans}) > 1


@pytest.mark.parametrize("policy", ALL, ids=in_words)
def test_steps_are_said_where_they_are_asked_for(policy: Policy) -> None:
    head, pooled = served(policy)
    planner = Planner(head)
    raws = torch.stack([head.raw(pooled[row]) for row in range(5)]) if planner.needs_activations else None
    assert all(plan.steps is None for plan in planner.plans(raws))
    least = 1.0 if raws is None else float(head.of_raw(raws).log_tokens_B.exp().min())
    for options in ASKED:
        steps = [plan.steps for plan in planner.plans(raws, options, with_steps=True)]
        assert all(each is not None and each >= least - 1e-6 for each in steps)


@pytest.mark.parametrize("greedy", [True, False])
def test_what_is_surely_sampled_is_sampled(greedy: bool) -> None:
    """At prices from nothing to dear, and limits: what is told beforehand is true, and told of most that are drawn."""
    told: list[tuple[bool, bool]] = []
    limits: list[dict[str, int]] = [{}, {"max_samples": 1}, {"max_samples": 2}, {"max_rounds": 1}, {"max_rounds": 2}]
    for policy in (PlanWithHead(7, 3.0, 0.5), PlanWithHead(7, 3.0, ONE_ROUND_PRICE), Utility(3.0)):
        head, pooled = served(policy, greedy=greedy)
        planner = Planner(head)
        prices = (0.0, 1.0, 5.0, 30.0, 200.0)
        for options in (AnswerOptions(price=price, **limit) for price, limit in product(prices, limits)):
            for row in range(len(pooled)):
                raw_O = head.raw(pooled[row])
                is_greedy = planner.plan(raw_O, options).is_greedy
                told.append((planner.is_surely_sampled(raw_O, options), is_greedy))
    assert (True, True) not in told
    assert (sum(is_greedy for _, is_greedy in told) > 50) == greedy
    assert sum(is_sure for is_sure, _ in told) > 0.9 * sum(not is_greedy for _, is_greedy in told)


def test_a_dear_price_draws_less_and_a_dear_round_waits_less() -> None:
    head, pooled = served(PlanWithHead(7, 0.5, 0.0))
    planner = Planner(head)

    def totals(**asked: float) -> tuple[int, int]:
        walks = [
            walked(planner.plan(head.raw(pooled[row]), AnswerOptions(**asked)), answers)  # type: ignore[arg-type]
            for row, answers in enumerate(orders())
        ]
        return sum(map(sum, walks)), sum(map(len, walks))

    cheap, dear = totals(price=0.1, round_price=0.0), totals(price=50.0, round_price=0.0)
    assert dear[0] < cheap[0]
    assert totals(price=0.1, round_price=5.0)[1] < cheap[1]


@pytest.mark.parametrize("policy", ALL, ids=in_words)
@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_no_question_waits_more_often_than_it_may(policy: Policy, most: int) -> None:
    head, pooled = served(policy)
    planner = Planner(head)
    for row, answers in enumerate(orders()):
        raw_O = head.raw(pooled[row]) if planner.needs_activations else None
        rounds = walked(planner.plan(raw_O, AnswerOptions(max_rounds=most)), answers)
        free = walked(planner.plan(raw_O), answers)
        assert 1 <= len(rounds) <= most
        if len(free) <= most and most > 1:
            assert rounds[:-1] == free[: len(rounds) - 1], "only the last allowed round is another one"


def test_one_allowed_round_is_the_plan_for_one_round() -> None:
    head, pooled = served(PlanWithHead(7, 3.0, 0.2))
    once = head.plans(pooled, 3.0, ONE_ROUND_PRICE)
    for row in range(20):
        plan = Planner(head).plan(head.raw(pooled[row]), AnswerOptions(max_rounds=1))
        assert plan.extra([], 0) == once[row].extra([])
        assert plan.is_greedy == isinstance(once[row], GreedyAnswer)


def worth_of_a_last_round(weight_Q: torch.Tensor, drawn: int, first: int, second: int, more: int) -> float:
    """P(right) after so many more samples, summed over all ways in which they may vote, atom by atom.

    Leader and runner-up are followed by name: at the end the first with the most votes is the answer, and of a tie
    either with the same probability.
    """
    total = worth = 0.0
    rest = drawn - first - second
    atoms = VOTES.atoms
    for weight, (s1, s2, r), c in zip(weight_Q.tolist(), atoms.share_J3.tolist(), atoms.right_J.tolist(), strict=True):
        for a, b, right in ((s1, s2, c), (s2, s1, {1: 2, 2: 1, 0: 0}[c])):
            here = weight * a**first * b**second * r**rest
            total += here
            for to_first in range(more + 1):
                for to_second in range(more + 1 - to_first):
                    others = more - to_first - to_second
                    ways = math.comb(more, to_first) * math.comb(more - to_first, to_second)
                    came = here * ways * a**to_first * b**to_second * r**others
                    x, y = first + to_first, second + to_second
                    won = 1.0 if x > y else 0.5 if x == y else 0.0
                    worth += came * (won * (right == 1) + (1 - won) * (right == 2)) * (x + y > 0)
    return worth / total


@pytest.mark.parametrize("price", [0.5, 3.0, 12.0])
def test_the_last_round_is_the_best_single_batch(price: float) -> None:
    """Against brute force over batches, whatever the price of a round is: there is no look after it."""
    head, pooled = served(PlanWithHead(7, price, 0.05))
    own = head.head
    assert isinstance(own, PriorHead)
    seen = 0
    for row, answers in enumerate(orders()):
        raw_O = head.raw(pooled[row])
        plan = Planner(head).plan(raw_O, AnswerOptions(max_rounds=2))
        first = plan.extra([], 0)
        if plan.is_greedy or not (second := plan.extra(answers[:first], 1)):
            continue
        prediction = own.predict(raw_O[None])
        assert prediction.atom_weights_BJ is not None
        weight_J = prediction.atom_weights_BJ[0].double()
        weight_Q = (1 - own.lam) * weight_J @ own.spread_JQ + own.lam / own.spread_JQ.shape[1]
        cost = price / 100 / 1000 * float(prediction.log_tokens_B[0].double().exp())
        leader, runner = sorted((answers[:first].count(vote) for vote in "abc"), reverse=True)[:2]
        worth = {
            more: worth_of_a_last_round(weight_Q, first, leader, runner, more) - more * cost
            for more in range(1, 8 - first)
        }
        assert worth[second] == pytest.approx(max(worth.values()), abs=1e-9)
        seen += 1
    assert seen >= 5


def test_a_dear_round_does_not_make_the_last_one_small() -> None:
    """It once drew a single sample: the table for one round stops after any look, whatever the votes are."""
    head, pooled = served(PlanWithHead(7, 0.2, 0.5))
    drawn = [
        plan.extra(answers[: plan.first], 1)
        for plan, answers in (
            (Planner(head).plan(head.raw(pooled[row]), AnswerOptions(max_rounds=2)), each)
            for row, each in enumerate(orders())
        )
    ]
    assert max(drawn) > 1


@pytest.mark.parametrize("policy", ALL, ids=in_words)
@given(most=st.integers(1, 7), answers=st.lists(st.sampled_from(["a", "b", None]), min_size=7, max_size=7))
def test_no_more_samples_than_asked_for(policy: Policy, most: int, answers: list[str | None]) -> None:
    head, pooled = served(policy)
    planner = Planner(head)
    raw_O = head.raw(pooled[0]) if planner.needs_activations else None
    rounds = walked(planner.plan(raw_O, AnswerOptions(max_samples=most)), answers)
    assert 1 <= sum(rounds) <= most


def plain_confidence(weight_Q: torch.Tensor, drawn: int, first: int, second: int) -> float:
    """P(right | votes) as a sum over training questions, term by term."""
    right = total = 0.0
    atoms = VOTES.atoms
    for weight, (s1, s2, r), c in zip(weight_Q.tolist(), atoms.share_J3.tolist(), atoms.right_J.tolist(), strict=True):
        same = s1**first * s2**second * r ** (drawn - first - second)
        changed = s2**first * s1**second * r ** (drawn - first - second)
        total += weight * (same + changed)
        right += weight * (same * (c == 1) + changed * (c == 2))
    return right / total


@pytest.mark.parametrize("policy", [PlanWithHead(7, 3.0, 0.5), Utility(3.0)], ids=in_words)
def test_confidence_is_the_posterior_of_the_heads_own_prior(policy: Policy) -> None:
    head, pooled = served(policy)
    own = head.head
    assert isinstance(own, PriorHead)
    for row in range(5):
        weight_J = own.predict(head.raw(pooled[row])[None]).atom_weights_BJ
        assert weight_J is not None
        weight_Q = (1 - own.lam) * weight_J[0].double() @ own.spread_JQ + own.lam / own.spread_JQ.shape[1]
        plan = Planner(head).plan(head.raw(pooled[row]))
        for votes in (["a"], ["a", "a", "b"], ["a", None, "b", "b", "c"]):
            counts = sorted((votes.count(each) for each in set(votes) - {None}), reverse=True)
            first, second = [*counts, 0][:2]
            expected = plain_confidence(weight_Q, len(votes), first, second)
            assert plan.is_greedy or plan.confidence(votes) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("policy", [FixedN(5), StopByVotes(7, 0.9), PlanWithoutHead(7, 3.0, 0.5)], ids=in_words)
def test_without_a_head_confidence_is_that_of_all_training_questions(policy: Policy) -> None:
    plan = Planner(served(policy)[0]).plan(None)
    everyone_Q = torch.full((len(VOTES),), 1 / len(VOTES), dtype=torch.float64)
    if not plan.is_greedy:
        assert plan.confidence(["a", "b", "a"]) == pytest.approx(plain_confidence(everyone_Q, 3, 2, 1), rel=1e-9)


def test_a_greedy_answer_is_as_sure_as_those_of_questions_alike() -> None:
    head, pooled = served(PlanWithHead(7, 900.0, 0.0))
    plans = [Planner(head).plan(head.raw(pooled[row])) for row in range(20)]
    greedy = [plan for plan in plans if plan.is_greedy]
    assert greedy
    assert all(0 < (plan.confidence(["a"]) or 0) < 1 for plan in greedy)
    assert {plan.extra(["a"], 1) for plan in greedy} == {0}


def test_nobody_voted_and_nobody_knows() -> None:
    head, _ = served(StopByVotes(7, 0.9))
    assert Planner(head).plan(None).confidence([None, None]) is None
    without, _ = served(StopByVotes(7, 0.9), votes=None)
    assert Planner(without).plan(None).confidence(["a", "a"]) is None


def test_what_runs_is_cancelled_where_the_rule_would_have_stopped() -> None:
    plan = Planner(served(StopByVotes(7, 0.9))[0]).plan(None)
    assert [plan.is_settled(["a"] * n) for n in range(4)] == [False, False, False, True]
    fixed = Planner(served(FixedN(5))[0]).plan(None)
    assert [fixed.is_settled(["a"] * n) for n in (1, 4, 5)] == [False, False, True]


def test_fixed_is_what_is_left_without_activations() -> None:
    plan = Planner(served(PlanWithHead(7, 3.0, 0.5))[0]).fixed(4)
    assert walked(plan, ["a"] * 7) == [4]
    with pytest.raises(T2Error, match="Expected a fixed number of samples from 1 to 7, the largest budget, got 1000"):
        Planner(served(PlanWithHead(7, 3.0, 0.5))[0]).fixed(1000)
    assert plan.confidence(["a"] * 4) is not None


@pytest.mark.parametrize(
    ("policy", "asked", "said"),
    [
        (StopByVotes(7, 0.9), {"price": 1.0}, r"Expected no `price` for an export that decides by ASC"),
        (FixedN(5), {"round_price": 1.0}, r"Expected no `round_price` for an export that decides by FixedN"),
        (PredictedN(0.0), {"price": 1.0}, r"Expected no `price` for an export that decides by PredictedN"),
        (PlanWithHead(7, 1.0), {"max_samples": 8}, r"Expected `max_samples` of at most 7, the head's largest budget"),
    ],
)
def test_what_an_export_cannot_be_asked(policy: Policy, asked: dict[str, float], said: str) -> None:
    head, _ = served(policy)
    with pytest.raises(T2Error, match=said):
        Planner(head).check(AnswerOptions(**asked))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "asked",
    [
        *({"price": value} for value in (-1.0, float("nan"), float("inf"), 10**400, "dear", True)),
        *({"max_samples": value} for value in (0, -3, 2.0, "3", True)),
        {"round_price": -0.1},
        {"max_rounds": 0},
    ],
)
def test_options_that_make_no_sense(asked: dict[str, object]) -> None:
    (name,) = asked
    with pytest.raises(T2Error, match=f"Expected `{name}` as a"):
        AnswerOptions(**asked)  # type: ignore[arg-type]


def test_raw_outputs_are_asked_for_exactly_where_they_are_read() -> None:
    for policy in (PlanWithHead(7, 3.0), FixedN(3)):
        head, _ = served(policy)
        with pytest.raises(T2Error, match="Expected raw outputs of a head exactly where activations are read"):
            Planner(head).plan(None if reads_activations(policy) else torch.zeros(7))
    head, _ = served(PlanWithHead(7, 3.0))
    for raw_O in (torch.zeros(3), torch.full((7,), torch.nan)):
        with pytest.raises(T2Error, match="Expected 7 finite raw outputs a question of PriorHead"):
            Planner(head).plan(raw_O)


def test_utility_with_a_price_of_waiting_becomes_a_plan() -> None:
    head, pooled = served(Utility(3.0))
    plans = head.plans(pooled, 3.0, 0.2)
    for row, answers in zip(range(10), orders(), strict=False):
        plan = Planner(head).plan(head.raw(pooled[row]), AnswerOptions(round_price=0.2))
        assert [plan.extra(answers[:n], 0) for n in range(7)] == [plans[row].extra(answers[:n]) for n in range(7)]


def test_without_activations_a_head_s_plan_becomes_that_of_all_training_questions() -> None:
    head, pooled = served(PlanWithHead(7, 3.0, 0.5))
    alike, _ = served(PlanWithoutHead(7, 3.0, 0.5))
    planner, expected = Planner(head, has_activations=False), Planner(alike)
    assert not planner.needs_activations
    assert planner.policy == PlanWithoutHead(7, 3.0, 0.5)
    for options in (AnswerOptions(), AnswerOptions(price=20.0, max_samples=5), AnswerOptions(max_rounds=1)):
        plan, same = planner.plan(None, options), expected.plan(None, options)
        for answers in orders():
            assert walked(plan, answers) == walked(same, answers)
            assert plan.confidence(answers[:3]) == same.confidence(answers[:3])
    with pytest.raises(T2Error, match="raw outputs of a head exactly where activations are read"):
        planner.plan(head.raw(pooled[0]))


def test_without_activations_a_policy_that_knows_no_prices_draws_n_ref() -> None:
    once = Planner(served(Utility(3.0))[0], has_activations=False)
    assert once.policy == PlanWithoutHead(7, 3.0, ONE_ROUND_PRICE)
    assert all(len(walked(once.plan(None), answers)) == 1 for answers in orders())
    fixed = Planner(served(PredictedN(0.5))[0], has_activations=False)
    assert walked(fixed.plan(None), orders()[0]) == [fixed.n_ref]
    asc = Planner(served(StopByVotes(7, 0.9))[0], has_activations=False)
    assert asc.policy == StopByVotes(7, 0.9)
