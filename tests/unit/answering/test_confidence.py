"""Reliability of confidence: against scikit-learn and plain loops, and on the embedded LLM's held-out questions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers.own_group import ROOT
from helpers.serving_heads import GRID, TRAIN, VOTES
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from t2.answering.confidence import Answers, final_answers, joined_answers, reliability, stops, tempered_right
from t2.answering.plan import Posterior, QuestionPlan
from t2.policies.asc import ASC
from t2.policies.orders import Orders
from t2.policies.rules import ByTable
from t2.policies.stoppers import PlanWithoutHead, StopInputs
from t2.policies.stopping import DrawTable
from t2.policies.then_stop import priors_of_everyone


def made_up(num: int = 400, shift: float = 0.0, each: int = 3) -> tuple[Answers, torch.Tensor]:
    """Answers that are right as often as they say, up to a shift."""
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(num * each, generator=generator, dtype=torch.float64)
    right = (torch.rand(num * each, generator=generator, dtype=torch.float64) < confidence - shift).double()
    questions, alike = torch.arange(num).repeat(each), torch.full((num * each,), 4)
    return Answers(confidence, right, questions, alike, alike), torch.arange(num)


def test_figures_are_scikit_learns() -> None:
    answers, clusters = made_up()
    found = reliability(answers, clusters, 200)
    confidence, right = answers.confidence.numpy(), answers.right.numpy()
    assert found.brier.value == pytest.approx(brier_score_loss(right, confidence))
    assert found.auroc == pytest.approx(roc_auc_score(right, confidence))
    share, mean = calibration_curve(right, confidence, n_bins=10)
    assert [each.right.value for each in found.bins] == pytest.approx(share.tolist())
    assert [each.confidence for each in found.bins] == pytest.approx(mean.tolist())
    weights = np.array([each.share for each in found.bins])
    assert weights.sum() == pytest.approx(1)
    assert found.calibration_error == pytest.approx(float((weights * np.abs(share - mean)).sum()), abs=1e-5)
    assert found.base_brier == pytest.approx(right.mean() * (1 - right.mean()))


def test_calibrated_answers_are_found_so_and_others_are_not() -> None:
    answers, clusters = made_up(2000)
    found = reliability(answers, clusters, 400)
    assert found.gap.low < 0 < found.gap.high
    assert found.calibration_error < 0.03
    too_sure = reliability(*made_up(2000, shift=0.1), 400)
    assert too_sure.gap.low > 0.05
    assert too_sure.calibration_error > 0.05


def test_twins_make_intervals_wider() -> None:
    answers, clusters = made_up(400)
    alone = reliability(answers, clusters, 400).right
    doubled = joined_answers([answers, answers], [torch.arange(400), torch.arange(400, 800)])
    together = reliability(doubled, torch.arange(800) % 400, 400).right
    apart = reliability(doubled, torch.arange(800), 400).right
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert apart.high - apart.low < 0.85 * (together.high - together.low)


@pytest.mark.parametrize("policy", [PlanWithoutHead(7, 3.0, 0.5), PlanWithoutHead(7, 0.1, 0.0)])
def test_final_answers_are_those_of_a_server(policy: PlanWithoutHead) -> None:
    """One question and one order at a time, as the planner's plan goes."""
    priors = priors_of_everyone(VOTES, 7)
    table = policy.rule(StopInputs(VOTES)).table.without_greedy()
    orders = Orders.of(TRAIN, 3, 0)
    answers = final_answers(table, priors.model, orders, torch.zeros(len(TRAIN), dtype=torch.long), None)
    plan = QuestionPlan(ByTable(table), 7, Posterior(priors.model.states, priors.model.right_PS[0]))
    row = 0
    for order in range(3):
        for question in range(len(TRAIN)):
            classes = orders.vote_RQM[order, question].tolist()
            votes: Sequence[int | None] = [None if each < 0 else each for each in classes]
            drawn = 0
            while extra := plan.extra(votes[:drawn], 0):
                drawn += extra
            if (expected := plan.confidence(votes[:drawn])) is None:
                continue
            assert (int(answers.question[row]), int(answers.samples[row])) == (question, drawn)
            assert float(answers.confidence[row]) == expected
            assert bool(answers.right[row]) == bool(orders.leader_right_RQM[order, question, drawn - 1])
            row += 1
    assert row == len(answers.right)


def test_stops_are_those_of_the_replay() -> None:
    orders = Orders.of(TRAIN, 4, 1)
    rule = ASC(0.9, max(GRID))
    drawn_RQ = stops(rule.table, orders, torch.zeros(len(TRAIN), dtype=torch.long))
    assert torch.equal(drawn_RQ.double().mean(0), rule.replay(orders).samples)


def test_greedy_answers_count_with_their_own_confidence() -> None:
    priors = priors_of_everyone(VOTES, 7)
    sampled = PlanWithoutHead(7, 3.0, 0.0).rule(StopInputs(VOTES)).table
    table = DrawTable(sampled.states, sampled.batch_PS, torch.tensor([True]))
    orders = Orders.of(TRAIN, 2, 0)
    nobody = torch.zeros(len(TRAIN), dtype=torch.long)
    answers = final_answers(table, priors.model, orders, nobody, priors.greedy_right_P)
    assert priors.greedy_right_P is not None
    assert answers.confidence.tolist() == [float(priors.greedy_right_P[0])] * (2 * len(TRAIN))
    assert float(answers.right.mean()) == pytest.approx(float(TRAIN.greedy_right_Q.double().mean()))
    assert set(answers.samples.tolist()) == {1}


def test_a_vote_that_counts_as_one_gives_the_posterior_of_plans() -> None:
    priors = priors_of_everyone(VOTES, 7)
    states, everyone = priors.model.states, torch.full((1, len(VOTES)), 1 / len(VOTES), dtype=torch.float64)
    one = torch.ones(1, 1)
    assert torch.allclose(tempered_right(VOTES.atoms, everyone, one, states, 1.0), priors.model.right_PS)
    sharper = tempered_right(VOTES.atoms, everyone, one, states, 2.0)
    unanimous = int(states.index_NVV[5, 5, 0])
    assert float(sharper[0, unanimous]) > float(priors.model.right_PS[0, unanimous])


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["tiny-arith", "qwen2.5-coder-1.5b_math-steps"])
def test_confidence_is_calibrated_on_held_out_questions(pool: str) -> None:
    """Each question in the fold that holds it out, on the committed pools: docs/RESULTS.md has the bins."""
    from scripts.confidence_reliability import load, measured

    found, source = load(str(ROOT / "configs" / f"{pool}.yaml"), 0)
    for name, (served, posterior) in measured(found, source, 0, 4).items():
        assert served.gap.low < 0 < served.gap.high, name
        assert abs(served.gap.value) < 0.005, name
        assert served.calibration_error < 0.04, name
        assert served.brier.value < served.base_brier, name
        assert served.brier.value < posterior.brier.value + 0.002, name
        # The line is needed: without it answers are more often right than they say.
        assert posterior.gap.value < -0.005, name
