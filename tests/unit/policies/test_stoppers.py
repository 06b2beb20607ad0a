"""Stopping rules as settings: they are the rules that replays know, at the same setting, and survive a file."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.graded_pools import mixed_pool, random_pool

from t2.comparison.as_served import replay_as_served, rules_as_served
from t2.comparison.slices import Slice
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.heads import PriorHead
from t2.heads.answer_atoms import answer_atoms
from t2.heads.base import HeadShape, targets_of
from t2.heads.training_votes import TrainingVotes
from t2.policies import FixedN, HeadThenStop, Orders, Utility
from t2.policies.record import Policy, PolicyRecord, in_words, reads_activations
from t2.policies.rules import GreedyAnswer
from t2.policies.stoppers import (
    ONE_ROUND_PRICE,
    PlanWithHead,
    PlanWithoutHead,
    StopByVotes,
    StopInputs,
    Stopper,
)
from t2.policies.then_stop import Prices, Priors, no_head

GRID = (1, 3, 5, 7)
TRAIN = mixed_pool(num=50, samples=12, seed=3)
LABELS = budget_labels(TRAIN, GRID, 0.02)
VOTES = TrainingVotes.of(TRAIN, LABELS)
ORDERS = Orders.of(random_pool(num=30, samples=12), 8, seed=0)
ALL: list[Policy] = [
    FixedN(4),
    Utility(3.0),
    StopByVotes(7, 0.9),
    PlanWithoutHead(7, 3.0, 0.5),
    PlanWithHead(7, 3.0, ONE_ROUND_PRICE),
]


def prior_head() -> tuple[PriorHead, torch.Tensor]:
    pooled = torch.randn(50, 1, 6, generator=torch.Generator().manual_seed(0))
    head = PriorHead(HeadShape(1, 6, GRID, (1, 3)), num_atoms=6, components=4, hidden=8)
    head.start_stage(pooled, targets_of(LABELS, TRAIN))
    return head.eval(), pooled


def test_asc_stops_when_the_leader_is_ahead_with_its_threshold() -> None:
    """Beta(3, 1) has 7/8 of its mass above one half, Beta(4, 1) has 15/16: at 0.9 three answers must agree, not two."""
    table = StopByVotes(7, 0.9).rule(StopInputs()).table
    assert [table.extra(0, n, n, 0) for n in (0, 2, 3, 7)] == [3, 1, 0, 0]


@pytest.mark.parametrize("prices", [Prices(2.0), Prices(4.0, 0.5), Prices(8.0, ONE_ROUND_PRICE)])
def test_a_plan_without_a_head_is_that_of_all_training_questions(prices: Prices) -> None:
    rule = PlanWithoutHead(7, prices.price, prices.round_price).rule(StopInputs(votes=VOTES))
    assert LABELS.greedy_right_Q is not None
    greedy_P = LABELS.greedy_right_Q.double().mean()[None]
    priors = Priors(no_head(answer_atoms(TRAIN), 7), TRAIN.mean_tokens_Q.mean()[None], greedy_P)
    mine, theirs = rule.replay(ORDERS), HeadThenStop(priors, prices).replay(ORDERS)
    assert all(torch.equal(getattr(mine, name), value) for name, value in vars(theirs).items())


def test_without_greedy_answers_no_plan_takes_one() -> None:
    without = TrainingVotes.of(TRAIN, budget_labels(TRAIN, GRID, 0.02, first="sampled"))
    assert without.greedy_right_Q is None
    assert PlanWithoutHead(7, 900.0).rule(StopInputs(votes=without)).table.greedy_P is None


def test_the_price_of_a_single_round_is_as_good_as_infinite() -> None:
    head, pooled = prior_head()
    with torch.no_grad():
        given = StopInputs(VOTES, head, head.predict(head(pooled)))
    for kind in (PlanWithHead, PlanWithoutHead):
        finite, infinite = (kind(7, 5.0, each).rule(given).table for each in (ONE_ROUND_PRICE, math.inf))
        assert torch.equal(finite.batch_PS, infinite.batch_PS)
    replay = PlanWithoutHead(7, 5.0, ONE_ROUND_PRICE).rule(given).replay(ORDERS)
    assert bool((replay.rounds == 1).all())


@pytest.mark.parametrize("policy", ALL, ids=in_words)
def test_records_bring_policies_back(policy: Policy) -> None:
    record = PolicyRecord.of(policy)
    again = PolicyRecord.from_json(record.as_json(), "the test").policy()
    assert PolicyRecord.of(again) == record
    assert type(again) is type(policy)


def test_who_needs_a_head() -> None:
    assert [reads_activations(policy) for policy in ALL] == [False, True, False, False, True]
    assert in_words(StopByVotes(7, 0.9)) == "ASC(cap=7, threshold=0.9)"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ASC", {"cap": 7, "threshold": 1.0}, "Expected a threshold of ASC between 0.5 and 1, got 1.0"),
        (
            "ASC",
            {"cap": 0, "threshold": 0.9},
            r"Expected a `cap` of ASC .* whole number from 1 to 512, got 0",
        ),
        ("ASC", {"cap": True, "threshold": 0.9}, "Expected a `cap` of ASC"),
        ("ASC", {"cap": 1_000_000, "threshold": 0.9}, "Expected a `cap` of ASC"),
        ("ASC", {"cap": 7}, "Expected arguments of policy ASC, got .*threshold"),
        ("HeadThenStop", {"cap": 7, "price": -1.0}, "Expected a finite `price` >= 0"),
        ("HeadThenStop", {"cap": 7, "price": math.nan}, "Expected a finite `price` >= 0"),
        ("NoHeadThenStop", {"cap": 7, "price": 1.0, "round_price": math.nan}, "Expected a `round_price` >= 0"),
        ("NoHeadThenStop", {"cap": 7, "price": "dear"}, "Expected arguments of policy NoHeadThenStop"),
    ],
)
def test_settings_that_make_no_sense(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        PolicyRecord(name, arguments).policy()


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (PlanWithoutHead(7, 1.0), "Expected the votes of training questions for NoHeadThenStop, got none"),
        (PlanWithHead(7, 1.0), "Expected a PriorHead to plan rounds with, got none"),
    ],
)
def test_what_is_not_given(policy: Stopper, message: str) -> None:
    with pytest.raises(T2Error, match=message):
        policy.rule(StopInputs())


def test_votes_survive_a_file_and_no_others_do() -> None:
    again = TrainingVotes.from_tensors(VOTES.tensors(), "the test")
    assert all(torch.equal(getattr(again, name), value) for name, value in vars(VOTES).items())
    wrong: list[dict[str, torch.Tensor]] = [
        {"count_Q3": VOTES.count_Q3[:3]},
        {"count_Q3": VOTES.count_Q3.float()},
        {"tokens_Q": -VOTES.tokens_Q},
        {"tokens_Q": VOTES.tokens_Q * math.inf},
        {"right_Q": VOTES.right_Q[:, None]},
        {"right_Q": VOTES.right_Q + 3},
        {"greedy_Q": VOTES.greedy_Q + 1e9},
    ]
    for change in wrong:
        with pytest.raises(T2Error, match="Expected votes of questions in the test, got"):
            TrainingVotes.from_tensors({**VOTES.tensors(), **change}, "the test")
    with pytest.raises(T2Error, match=r"Expected the tensors \['count_Q3', .*\] in the test, got \['more'\]"):
        TrainingVotes.from_tensors({"more": VOTES.tokens_Q}, "the test")


def test_where_nobody_has_a_greedy_answer_none_is_served_or_replayed() -> None:
    """Such a question was replayed as wrong, at no tokens."""
    prior = StopInputs(votes=TrainingVotes.of(TRAIN, replace(LABELS, greedy_right_Q=torch.ones(50, dtype=torch.bool))))
    policy = PlanWithoutHead(7, 900.0)
    assert policy.rule(prior).table.is_greedy(0), "at this price one answer must do"
    none = torch.zeros(50, dtype=torch.bool)
    pool = replace(TRAIN, greedy_right_Q=none, greedy_tokens_Q=none.long(), greedy_present_Q=none)
    on = Slice.of(pool, budget_labels(pool, GRID, 0.02), seed=0, num_orders=4)
    replay = replay_as_served(policy, on, prior)
    assert float(replay.generated_tokens.min()) > 0
    assert float(replay.correct.mean()) == pytest.approx(float(on.labels.acc_QK[:, 0].mean()), abs=0.2)
    served = rules_as_served(policy, 2, prior, GRID, greedy=False)
    assert not any(isinstance(rule, GreedyAnswer) for rule in served)
    assert [rule.extra([]) for rule in served] == [1, 1]
    assert isinstance(rules_as_served(policy, 1, prior, GRID, greedy=True)[0], GreedyAnswer)
