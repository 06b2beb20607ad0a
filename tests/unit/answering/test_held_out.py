"""Stored answers of plans: what a server would say and whether it is so, and a line that makes it true."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.serving_heads import TRAIN, VOTES, served

from t2.answering.confidence import Answers, final_answers, reliability
from t2.answering.held_out import stored_answers
from t2.answering.options import AnswerOptions
from t2.answering.planner import Planner
from t2.budget_head import BudgetHead
from t2.head_record import Confidence
from t2.policies.one_round import FixedN
from t2.policies.orders import Orders
from t2.policies.stoppers import PlanWithHead, PlanWithoutHead, StopInputs
from t2.policies.then_stop import priors_of_everyone
from t2.stats.bootstrap import clusters_of
from t2.stats.log_odds import LogOddsLine, fitted_line


def of_everyone(policy: PlanWithoutHead | FixedN) -> Planner:
    return Planner(served(policy, greedy=False)[0])


def test_they_are_those_of_the_replay() -> None:
    """Means over many orders, against tables that are walked for all questions at once."""
    policy = PlanWithoutHead(7, 1.0, 0.2)
    plans = of_everyone(policy).plans(None) * len(TRAIN)
    confidence, right = torch.tensor(stored_answers(plans, TRAIN, 200), dtype=torch.float64).T
    priors = priors_of_everyone(VOTES, 7)
    table = policy.rule(StopInputs(VOTES)).table.without_greedy()
    rows_Q = torch.zeros(len(TRAIN), dtype=torch.long)
    replayed = final_answers(table, priors.model, Orders.of(TRAIN, 200, 1), rows_Q, None)
    assert float(confidence.mean()) == pytest.approx(float(replayed.confidence.mean()), abs=0.01)
    assert float(right.mean()) == pytest.approx(float(replayed.right.mean()), abs=0.01)
    assert confidence.std() > 0.05  # answers differ, so this could have failed


def test_a_greedy_plan_answers_the_same_in_every_order() -> None:
    head, pooled = served(PlanWithHead(7, 300.0, 0.0))
    plans = Planner(head).plans(head.raws(pooled))
    rows = [row for row, plan in enumerate(plans) if plan.is_greedy and bool(TRAIN.greedy_present_Q[row])]
    assert len(rows) > 5
    answers = stored_answers([plans[row] for row in rows], TRAIN.take(rows), 3)
    expected = [(plans[row].confidence(["a"]), bool(TRAIN.greedy_right_Q[row])) for row in rows for _ in range(3)]
    assert answers == expected
    assert len({right for _, right in answers}) == 2


def test_a_question_counts_as_much_whatever_its_plan_is() -> None:
    head, pooled = served(PlanWithHead(7, 30.0, 0.0))
    plans = Planner(head).plans(head.raws(pooled))
    assert len({plan.is_greedy for plan in plans}) == 2
    for row, plan in enumerate(plans):
        answers = stored_answers([plan], TRAIN.take([row]), 6)
        assert len(answers) <= 6
        if plan.is_greedy and bool(TRAIN.greedy_present_Q[row]):
            assert len(answers) == 6


def test_the_line_is_what_a_server_says() -> None:
    head, pooled = served(PlanWithHead(7, 1.0, 0.2))
    line = LogOddsLine(0.8, 1.5)
    record = replace(head.record, confidence=Confidence(0.8, 1.5, 100))
    mended = Planner(BudgetHead(record, head.head, head.votes))
    votes = ["a", "a", "b"]
    for row in range(10):
        raw_O = head.raw(pooled[row])
        plain, own = Planner(head).plan(raw_O), mended.plan(raw_O)
        assert plain.first == own.first
        said = plain.confidence(votes)
        assert said is not None
        assert own.confidence(votes) == pytest.approx(line.of(said))
    dear, raw_BO = AnswerOptions(price=300.0), head.raws(pooled)
    pairs = zip(mended.plans(raw_BO, dear), Planner(head).plans(raw_BO, dear), strict=True)
    greedy = [(own, plain) for own, plain in pairs if own.is_greedy]
    assert len(greedy) > 5
    for own, plain in greedy:
        said = plain.confidence(["a"])
        assert said is not None
        assert own.confidence(["a"]) == pytest.approx(line.of(said))
    # A question that fell back has another prior: the line was not fitted to it.
    assert mended.fixed(3).confidence(votes) == Planner(head).fixed(3).confidence(votes)
    unread = Planner(mended.head, has_activations=False)
    assert unread.plan(None).confidence(votes) == Planner(head, has_activations=False).plan(None).confidence(votes)


def test_a_fitted_line_closes_the_gap() -> None:
    """On the answers that it was fitted to; what it does on others, scripts/confidence_reliability.py measures."""
    plans = of_everyone(FixedN(3)).plans(None) * len(TRAIN)
    said_X, right_X = torch.tensor(stored_answers(plans, TRAIN, 20), dtype=torch.float64).T
    said_X = said_X.pow(3)  # much too modest
    line = fitted_line(said_X, right_X)
    assert line is not None
    clusters_Q = clusters_of(TRAIN.dedup_keys)

    def gap(confidence_X: torch.Tensor) -> float:
        zeros = torch.zeros(len(confidence_X), dtype=torch.long)
        return reliability(Answers(confidence_X, right_X, zeros, zeros, zeros), clusters_Q, 10).gap.value

    mended_X = torch.tensor([line.of(said) for said in said_X.tolist()], dtype=torch.float64)
    assert abs(gap(mended_X)) < 0.01 < abs(gap(said_X))
