"""`Decide`: what `fit` exports is what held-out questions recommend, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.ended_fit import SHAPE, UTILITY, Run, Splits, trained
from helpers.graded_pools import mixed_pool

import t2
from t2.budget_head import BudgetHead
from t2.calibration.betting import calibrate
from t2.checkpoint import Checkpoint, export_checkpoint
from t2.comparison.as_served import replay_as_served
from t2.comparison.recommend import Candidate, Recommendation, Weighed
from t2.comparison.slices import Slice
from t2.comparison.tuning import Target
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.head_record import HeadRecord
from t2.heads import PriorHead
from t2.heads.base import Head
from t2.heads.training_votes import TrainingVotes
from t2.policies import Orders
from t2.policies.one_round import FixedN, Utility
from t2.policies.record import PolicyRecord, in_words, reads_activations
from t2.policies.stoppers import PlanWithHead, PlanWithoutHead, StopByVotes, StopInputs, Stopper
from t2.stats.bootstrap import Interval
from t2.training.calibrate import CalibrateHead
from t2.training.decide import Decide, decided
from t2.training.module import BudgetProbe
from train import main

Make = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {"num_atoms": 8, "components": 8, "hidden": 8, "members": 1}
HEAD = {"class_path": "PriorHead", "init_args": SMALL}


def write(config: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def config_of(config: dict[str, Any], **changes: Any) -> dict[str, Any]:
    config = {**config, "decision": {"allowance": 0.05}, **changes}
    config["model"]["head"] = HEAD
    return config


@pytest.fixture(scope="module")
def prior_head() -> Head:
    return trained(PriorHead(SHAPE, **SMALL))


def probe() -> BudgetProbe:
    return BudgetProbe(lambda shape: PriorHead(shape, **SMALL))


def test_what_held_out_questions_recommend_is_in_the_checkpoint(prior_head: Head, tmp_path: Path) -> None:
    """Questions of which many gain by voting; the export is what the checkpoint says, and replays as its card says."""
    run = Run(tmp_path, prior_head, Splits())
    decide = Decide(allowance=0.05)
    record = HeadRecord.from_json(run.end(decide, probe=probe()), "the test")
    decision = record.decision
    assert decision is not None
    assert (decision.basis, decision.num_questions, decision.max_rounds) == ("out_of_fold", 100, 2.0)
    best = decision.candidates[0]
    assert best.within
    assert record.policy == best.policy
    good = [each for each in decision.candidates if each.within]
    assert best.ratio.value == min(each.ratio.value for each in good) < 1
    assert all(each.rounds <= 2 + 1e-9 for each in decision.candidates)
    assert decision.loses is not None
    assert (decision.warning is None) is (decision.loses.difference.low >= -5)
    assert record.labels.first == "sampled", "these questions have no greedy answers that count"
    assert record.confidence is not None
    assert record.confidence.num_questions == 100
    said_X, right_X = torch.tensor(
        [answer for fold in decide._folds for answer in fold.answers(record)], dtype=torch.float64
    ).T
    mended_X = torch.tensor([record.confidence.line.of(said) for said in said_X.tolist()], dtype=torch.float64)
    assert float((mended_X - right_X).mean()) == pytest.approx(0, abs=1e-3)
    assert abs(float((said_X - right_X).mean())) > 0.01
    assert "split calibration" not in run.data.asked
    export = BudgetHead.from_pretrained(export_checkpoint(run.path, tmp_path / "head"))
    pool, labels = run.data.split("validation")
    pooled_QLD = run.data.features_of("validation")
    given = export.inputs(export.predict(pooled_QLD) if export.has_weights else None)
    replay = replay_as_served(export.policy, Slice.of(pool, labels, seed=0), given)
    assert record.metrics is not None
    assert record.metrics.samples is not None
    assert record.metrics.samples.value == pytest.approx(float(replay.samples.mean()))
    assert decision.why in (tmp_path / "head" / "README.md").read_text()


def test_it_is_calibrated_with_its_own_settings(prior_head: Head, tmp_path: Path) -> None:
    run = Run(tmp_path, prior_head, Splits())
    decide = Decide(allowance=0.05)
    found = run.end(decide, CalibrateHead(alpha=0.1), probe=probe())
    record = HeadRecord.from_json(found, "the test")
    decision, calibration = record.decision, record.calibration
    assert decision is not None
    assert calibration is not None
    assert calibration.status == "calibrated"
    assert decision.basis == "calibration"
    assert decision.why.endswith(" Calibration chose its setting.")
    assert calibration.settings == tuple(each.policy for each in decision.settings)
    assert calibration.settings[-1] == decision.candidates[0].policy, "nothing cheaper is calibrated"
    assert calibration.chosen is not None
    assert record.policy == calibration.settings[calibration.chosen]
    assert record.confidence == decide.confidence_of(record)
    assert decision.loses is not None
    assert decision.loses.policy == record.policy
    assert all(each.difference.value >= -5 - 1e-9 for each in decision.settings)


def test_without_a_promise_what_is_likely_enough_is_exported(prior_head: Head, tmp_path: Path) -> None:
    """At an alpha that 150 questions cannot show: held-out questions' word counts, unless a promise is required."""
    records = {}
    for mode in ("auto", "required"):
        (tmp_path / mode).mkdir()
        run = Run(tmp_path / mode, prior_head, Splits())
        decide = Decide(allowance=0.01)
        callbacks = decide, CalibrateHead(alpha=0.06, delta=1e-4, mode=mode)
        records[mode] = HeadRecord.from_json(run.end(*callbacks, probe=probe()), "the test")
        assert records[mode].confidence == decide.confidence_of(records[mode])
    for record in records.values():
        assert record.calibration is not None
        assert record.calibration.status == "no_setting_passed"
        assert record.calibration.chosen is None
    auto, required = records["auto"], records["required"]
    assert required.policy is not None
    assert required.policy.name == "FixedN"
    assert required.confidence != auto.confidence, "the line is that of the policy that is exported"
    assert auto.decision is not None
    assert auto.decision.loses is not None
    if auto.decision.loses.difference.low < -6:
        pytest.fail("these questions are to leave no doubt of alpha")
    assert auto.policy == auto.decision.candidates[0].policy
    assert auto.decision.basis == "out_of_fold"
    assert auto.decision.why.endswith("No setting of it passed calibration, so nothing is promised.")
    assert auto.calibration is not None
    assert "no accuracy is promised; " in auto.calibration.promise


@pytest.mark.parametrize(
    "policy", [StopByVotes(16, 0.85), PlanWithoutHead(16, 4.0, 0.5), PlanWithHead(16, 4.0, 0.5)], ids=in_words
)
def test_stopping_rules_are_calibrated_on_their_means_over_orders(
    prior_head: Head, tmp_path: Path, policy: Stopper
) -> None:
    run = Run(tmp_path, prior_head, Splits(), policy=PolicyRecord.of(policy).as_json())
    checkpoint = Checkpoint.read(run.path)
    checkpoint.rewrite(checkpoint.record, TrainingVotes.of(*run.data.split("train")))
    found = HeadRecord.from_json(run.end(CalibrateHead(alpha=0.3)), "the test").calibration
    assert found is not None
    assert found.settings == (PolicyRecord.of(policy),)
    pool, labels = run.data.split("calibration")
    with torch.no_grad():
        prediction = prior_head.predict(prior_head(run.data.features_of("calibration")))
    given = StopInputs(TrainingVotes.of(*run.data.split("train")), prior_head, prediction)
    replay = policy.rule(given).without_greedy().replay(Orders.of(pool, 32, seed=0))
    at_ref = labels.served_QK[:, SHAPE.grid.index(found.n_ref or 0)]
    expected = calibrate(replay.correct[:, None], at_ref, pool.dedup_keys, alpha=0.3)
    assert found.p_values == pytest.approx(expected.p_values)


def test_the_mode_can_be_changed_and_changed_back(prior_head: Head, tmp_path: Path) -> None:
    run = Run(tmp_path, prior_head, Splits())
    first = run.end(Decide(allowance=0.05), probe=probe())
    own = run.end(Decide("configured"), probe=probe())
    assert own["policy"] == UTILITY
    assert own["decision"]["basis"] == "configured"
    assert run.end(Decide(allowance=0.05), probe=probe()) == first


def test_a_promise_is_not_required_of_one_n_for_all(prior_head: Head, tmp_path: Path) -> None:
    """`fit` was over, and ended with an error that asked for the policy that was configured."""
    run = Run(tmp_path, prior_head, Splits())
    record = run.end(Decide(allowance=0.0, max_rounds=1.0), CalibrateHead(alpha=0.1, mode="required"), probe=probe())
    if record["policy"]["name"] != "FixedN":
        pytest.fail("the questions were chosen so that nothing saves without a loss")
    assert "calibration" not in record


def test_fit_exports_what_the_evidence_recommends(
    labelled_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(config_of(labelled_config()), tmp_path)
    main(["fit", "--config", path])
    printed, export = capsys.readouterr().out, t2.BudgetHead.from_pretrained(tmp_path / "head")
    decision = export.record.decision
    assert decision is not None
    assert decision.basis == "out_of_fold"
    assert decision.candidates
    assert decision.configured == PolicyRecord.of(Utility(1.0))
    assert export.has_weights is (reads_activations(export.policy) or not isinstance(export.policy, Stopper))
    card = (tmp_path / "head" / "README.md").read_text()
    assert decision.why in card
    assert f"Decision {decision.why}" in printed
    assert in_words(export.policy) in printed
    assert isinstance(export.policy, FixedN), "voting gains nothing over greedy here"
    assert "loses too much or saves nothing" in printed
    again = tmp_path / "runs" / "version_0" / "checkpoints" / "best.ckpt"
    export_checkpoint(again, tmp_path / "again")
    for file in (tmp_path / "head").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name

    last = again.with_name("last.ckpt")
    main(["fit", "--config", path, "--ckpt_path", str(last), "--decision.mode", "configured"])
    undone = t2.BudgetHead.from_pretrained(tmp_path / "head")
    assert undone.record.policy == PolicyRecord.of(Utility(1.0))
    assert undone.record.decision is not None
    assert undone.record.decision.basis == "configured"


def weighed(loss: float, ratio: float, within: bool) -> Candidate:
    around = Interval(ratio, ratio - 0.1, ratio + 0.1)
    rule = Weighed(StopByVotes(7, 0.9), Interval(-loss, -loss - 1, -loss + 1), around, around, around, 1.5)
    return Candidate(rule, within, (rule,))


def test_where_nothing_keeps_to_the_allowance_one_n_for_all_is_exported() -> None:
    labels = budget_labels(mixed_pool(), (1, 3, 5, 7), 0.02)
    found = Recommendation(7, 60, Target(0.005, math.inf), (weighed(2.0, 0.4, within=False),), None)
    decision, policy = decided(found, found.target, PolicyRecord.of(Utility(1.0)), labels, num_keys=60)
    assert policy == PolicyRecord.of(FixedN(7))
    assert decision.why == (
        "No rule was seen to save tokens and lose at most 0.5 points, out of fold on 60 train and validation "
        "questions: one N for all is exported."
    )
    assert (decision.loses, decision.settings, decision.max_rounds) == (None, (), None)
    assert not decision.candidates[0].within


@pytest.mark.parametrize(("loss", "warns"), [(0.5, True), (-0.2, False)])
def test_it_warns_where_the_interval_allows_more_than_the_allowance(loss: float, warns: bool) -> None:
    labels, one = budget_labels(mixed_pool(), (1, 3, 5, 7), 0.02), weighed(loss, 0.4, within=True)
    found = Recommendation(7, 60, Target(0.01, 2.0), (one,), one.weighed)
    decision, policy = decided(found, found.target, PolicyRecord.of(Utility(1.0)), labels, num_keys=60)
    assert policy == PolicyRecord.of(one.weighed.policy)
    assert "of the rules that lose at most 1 point in at most 2 rounds a question, out of fold on 60" in decision.why
    assert (decision.warning is not None) is warns
    if decision.warning:
        assert decision.warning.startswith("It may lose up to 1.5 points (95%), which is more than the 1 that")


def test_too_few_questions_export_one_n_for_all(labelled_config: Make, tmp_path: Path) -> None:
    config = config_of(labelled_config(num_questions=48))
    main(["fit", "--config", write(config, tmp_path)])
    export = t2.BudgetHead.from_pretrained(tmp_path / "head")
    assert isinstance(export.policy, FixedN)
    decision = export.record.decision
    assert decision is not None
    assert decision.basis == "no_evidence"
    assert export.policy.n == decision.n_ref
    assert decision.why.startswith("Nothing was weighed: that takes 40 train and validation questions")
    assert export.rules(torch.zeros(2, 4, 128))[0].extra([]) == decision.n_ref


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_rounds": 0.5}, "Expected `decision.max_rounds` of at least 1, got 0.5"),
        ({"max_rounds": float("nan")}, "Expected `decision.max_rounds` of at least 1, got nan"),
        ({"allowance": 1.0}, r"Expected `decision.allowance`, a share of accuracy, in \[0, 1\), got 1.0"),
        ({"allowance": float("nan")}, "Expected `decision.allowance`"),
    ],
)
def test_aims_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        Decide(**arguments)
