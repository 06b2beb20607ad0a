"""`Decide`: what `fit` exports is what held-out questions recommend, and says so."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.graded_pools import mixed_pool

import t2
from t2.comparison.recommend import Candidate, Recommendation, Weighed
from t2.comparison.tuning import Target
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.policies.one_round import FixedN, Utility
from t2.policies.record import PolicyRecord, in_words, reads_activations
from t2.policies.stoppers import StopByVotes, Stopper
from t2.stats.bootstrap import Interval
from t2.training.decide import Decide, decided
from train import main

Make = Callable[..., dict[str, Any]]
HEAD = {"class_path": "PriorHead", "init_args": {"num_atoms": 8, "components": 8, "hidden": 8, "members": 1}}


def write(config: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def config_of(make: Make, **changes: Any) -> dict[str, Any]:
    config = {**make(), "decision": {"allowance": 0.05}, **changes}
    config["model"]["head"] = HEAD
    return config


def test_fit_exports_what_the_evidence_recommends(
    labelled_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(config_of(labelled_config), tmp_path)
    main(["fit", "--config", path])
    printed, export = capsys.readouterr().out, t2.BudgetHead.from_pretrained(tmp_path / "head")
    decision = export.record.decision
    assert decision is not None
    assert decision.basis == "out_of_fold"
    assert decision.candidates
    best = decision.candidates[0]
    assert best.within
    assert export.record.policy == best.policy == PolicyRecord.of(export.policy)
    assert best.ratio.value == min(each.ratio.value for each in decision.candidates if each.within)
    assert best.rounds <= 2
    assert decision.configured == PolicyRecord.of(Utility(1.0))
    assert export.has_weights is (reads_activations(export.policy) or not isinstance(export.policy, Stopper))
    card = (tmp_path / "head" / "README.md").read_text()
    assert decision.why in card
    assert f"Decision {decision.why}" in printed
    assert in_words(export.policy) in printed
    assert (decision.warning is None) is (decision.loses is not None and decision.loses.difference.low >= -5)
    again = tmp_path / "runs" / "version_0" / "checkpoints" / "best.ckpt"
    from t2.export import export_checkpoint

    export_checkpoint(again, tmp_path / "again")
    for file in (tmp_path / "head").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name

    last = again.with_name("last.ckpt")
    main(["fit", "--config", path, "--ckpt_path", str(last), "--decision.mode", "configured"])
    undone = t2.BudgetHead.from_pretrained(tmp_path / "head")
    assert undone.record.policy == PolicyRecord.of(Utility(1.0))
    assert undone.record.decision is not None
    assert undone.record.decision.basis == "configured"


def test_a_stopping_rule_is_calibrated_with_its_own_settings(
    labelled_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten calibration questions are enough at loose levels; the list is that of the recommended kind."""
    config = config_of(labelled_config, calibration={"alpha": 0.5, "delta": 0.3})
    main(["fit", "--config", write(config, tmp_path)])
    export = t2.BudgetHead.from_pretrained(tmp_path / "head")
    record, decision = export.record.calibration, export.record.decision
    assert record is not None
    assert decision is not None
    assert record.status == "calibrated"
    assert decision.basis == "calibration"
    assert decision.why.endswith(" Calibration chose its setting.")
    assert record.chosen is not None
    assert export.record.policy == record.settings[record.chosen]
    if isinstance(export.policy, Stopper):
        assert record.settings == tuple(each.policy for each in decision.settings)
        assert decision.loses is not None
        assert decision.loses.policy == export.record.policy
    assert record.promise in capsys.readouterr().out


def weighed(loss: float, ratio: float, within: bool) -> Candidate:
    rule = Weighed(
        StopByVotes(7, 0.9), Interval(-loss, -loss - 1, -loss + 1), Interval(ratio, ratio - 0.1, ratio + 0.1), 1.5
    )
    return Candidate(rule, within, (rule,))


def test_where_nothing_keeps_to_the_allowance_one_n_for_all_is_exported() -> None:
    labels = budget_labels(mixed_pool(), (1, 3, 5, 7), 0.02)
    found = Recommendation(7, 60, Target(0.005, math.inf), (weighed(2.0, 0.4, within=False),), None)
    decision, policy = decided(found, found.target, PolicyRecord.of(Utility(1.0)), labels)
    assert policy == PolicyRecord.of(FixedN(7))
    assert decision.why == (
        "No rule was seen to lose at most 0.5 points, out of fold on 60 train and validation questions: one N for all "
        "is exported."
    )
    assert (decision.loses, decision.settings, decision.max_rounds) == (None, (), None)
    assert not decision.candidates[0].within


@pytest.mark.parametrize(("loss", "warns"), [(0.5, True), (-0.2, False)])
def test_it_warns_where_the_interval_allows_more_than_the_allowance(loss: float, warns: bool) -> None:
    labels, one = budget_labels(mixed_pool(), (1, 3, 5, 7), 0.02), weighed(loss, 0.4, within=True)
    found = Recommendation(7, 60, Target(0.01, 2.0), (one,), one.weighed)
    decision, policy = decided(found, found.target, PolicyRecord.of(Utility(1.0)), labels)
    assert policy == PolicyRecord.of(one.weighed.policy)
    assert "of the rules that lose at most 1 point in at most 2 rounds a question, out of fold on 60" in decision.why
    assert (decision.warning is not None) is warns
    if decision.warning:
        assert decision.warning.startswith("It may lose up to 1.5 points (95%), which is more than the 1 that")


def test_too_few_questions_export_one_n_for_all(labelled_config: Make, tmp_path: Path) -> None:
    config = config_of(lambda: labelled_config(num_questions=48))
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
