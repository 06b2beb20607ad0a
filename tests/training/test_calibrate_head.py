"""`CalibrateHead` alone: on splits with known answers and a checkpoint on disk, without a fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.ended_fit import SEEN, SHAPE, UTILITY, Run, Splits, pool_of, trained

from t2.budget_head import BudgetHead
from t2.calibration.betting import questions_needed
from t2.checkpoint import export_checkpoint
from t2.curves.labels import dataset_optimum
from t2.errors import T2Error
from t2.export import key_digest
from t2.heads import CurveHead, OrdinalHead
from t2.heads.base import Head
from t2.training.calibrate import CalibrateHead


@pytest.fixture(scope="module")
def curve_head() -> Head:
    return trained(CurveHead(SHAPE, num_atoms=6, dropout=0.0))


def test_a_setting_passes(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, curve_head, Splits())
    before = torch.load(run.path, weights_only=True)
    record = run.calibrate(alpha=0.1)
    found = record["calibration"]
    assert found["status"] == "calibrated"
    assert record["policy"] == found["settings"][found["chosen"]] != UTILITY
    assert found["configured_policy"] == UTILITY
    assert (found["num_questions"], found["needed"]) == (150, questions_needed(0.1, 0.1))
    both = torch.cat([run.data.split(name)[1].acc_QK for name in ("train", "validation")])
    assert found["n_ref"] == SHAPE.grid[dataset_optimum(both)]
    json.dumps(record, allow_nan=False)

    order = run.data.asked
    assert order.index("wait train") < order.index("split train") < order.index("wait calibration")
    assert order.index("split validation") < order.index("wait calibration") < order.index("split calibration")

    after = torch.load(run.path, weights_only=True)
    assert after["epoch"] == 3
    assert after["optimizer_states"] == [{}]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in after["state_dict"].items())
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert record["seen_questions"] == sorted({*SEEN, *map(key_digest, run.data.dedup_keys("calibration"))})

    head = BudgetHead.from_pretrained(export_checkpoint(run.path, tmp_path / "head"))
    drawn = head.budgets(run.data.features_of("validation")).double()
    assert record["metrics"]["samples"]["value"] == pytest.approx(float(drawn.mean()))
    there = head.budgets(run.data.features_of("calibration")).double()
    tokens_Q = run.data.pools["calibration"].mean_tokens_Q
    ratio = float((there * tokens_Q).mean() / (found["n_ref"] * tokens_Q).mean())
    assert ratio <= 1
    printed = capsys.readouterr().out
    assert found["promise"] in printed
    assert f"draws {float(there.mean()):.1f} samples a question there and spends {ratio:.2f} x the tokens" in printed
    assert run.logger.logged == {
        "calibration/num_questions": 150.0,
        "calibration/needed": float(found["needed"]),
        "calibration/n_ref": float(found["n_ref"]),
        "calibration/chosen": float(found["chosen"]),
        "calibration/p_value": found["p_values"][found["chosen"]],
        "calibration/token_ratio": pytest.approx(ratio),
        "calibration/price": record["policy"]["arguments"]["price"],
    }


def test_the_reference_is_that_of_train_and_validation_together(curve_head: Head, tmp_path: Path) -> None:
    """600 train questions that are always right need 1 sample, 40 validation questions 16, and together it is 9."""
    data = Splits()
    train = pool_of("train", 600, 0)
    data.pools["train"] = replace(
        train, vote_QM=torch.zeros_like(train.vote_QM), right_QM=torch.ones_like(train.right_QM)
    )
    found = Run(tmp_path, curve_head, data).calibrate(alpha=0.1)["calibration"]
    curves = {name: data.split(name)[1].acc_QK for name in ("train", "validation")}
    together = SHAPE.grid[dataset_optimum(torch.cat(list(curves.values())))]
    assert dataset_optimum(curves["train"]) == 0
    assert SHAPE.grid[dataset_optimum(curves["validation"])] == 16
    assert found["n_ref"] == together == 9


def test_calibrating_again_is_the_same_and_skip_undoes_it(curve_head: Head, tmp_path: Path) -> None:
    """A resumed run ends on the best checkpoint of the run before, which is calibrated already."""
    run = Run(tmp_path, curve_head, Splits())
    once = run.calibrate(alpha=0.1)
    assert run.calibrate(alpha=0.1) == once
    undone = run.calibrate(mode="skip")
    assert "calibration" not in undone
    assert {**undone, "seen_questions": SEEN} == run.record, "labels that were read stay recorded, all else is back"
    few = run.calibrate(alpha=0.001)
    assert (few["calibration"]["status"], few["policy"]) == ("too_few_questions", UTILITY)


def test_no_setting_passes(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head takes easy questions for hard ones, so that even its dearest setting loses."""
    run = Run(tmp_path, curve_head, Splits(120, misleading=True))
    record = run.calibrate()
    found = record["calibration"]
    assert (found["status"], found["chosen"]) == ("no_setting_passed", None)
    assert found["p_values"][0] > 0.1
    assert record["policy"] == {"name": "FixedN", "arguments": {"n": found["n_ref"]}}
    assert record["metrics"]["samples"]["value"] == found["n_ref"]
    assert record["metrics"]["area"]["value"] == 0
    printed = capsys.readouterr().out
    assert "To keep Utility(price=1.0) without a promise: `calibration.mode: skip`." in printed
    assert run.logger.logged["calibration/chosen"] == -1
    card = (export_checkpoint(run.path, tmp_path / "head") / "README.md").read_text()
    assert f"so the policy is FixedN(n={found['n_ref']})" in card
    assert {*map(key_digest, run.data.dedup_keys("calibration"))} <= {*record["seen_questions"]}


def test_too_few_questions(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, curve_head, Splits(113))
    record = run.calibrate()
    said = (
        "Not calibrated, no accuracy is promised: that takes 114 calibration questions (alpha 0.02, delta 0.1), and "
        "there are 113. The head keeps Utility(price=1.0)."
    )
    advice = " About 1,140 questions, or a larger `data.splits.calibration` (now 0.1) would do."
    assert said + advice in capsys.readouterr().out
    assert (record["calibration"]["status"], record["calibration"]["promise"]) == ("too_few_questions", said)
    assert (record["policy"], record["metrics"], record["seen_questions"]) == (UTILITY, run.record["metrics"], SEEN)
    assert run.data.asked == [], "no label was needed to know that"
    assert run.logger.logged == {"calibration/num_questions": 113.0, "calibration/needed": 114.0}
    assert said in (export_checkpoint(run.path, tmp_path / "head") / "README.md").read_text()
    with pytest.raises(T2Error, match=r"at least 114 calibration questions .* `calibration.mode: required`, got 113"):
        run.calibrate(mode="required")


def test_the_stronger_form_takes_dearer_settings_too(curve_head: Head, tmp_path: Path) -> None:
    found = Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1, form="every_fixed")["calibration"]
    weak = Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1)["calibration"]
    assert (found["form"], weak["form"]) == ("every_fixed", "reference")
    assert found["settings"][0]["arguments"]["price"] <= weak["settings"][0]["arguments"]["price"]
    assert found["n_ref"] == weak["n_ref"]


def test_a_head_without_a_curve(tmp_path: Path) -> None:
    shift = {"name": "PredictedN", "arguments": {"shift": 0.5}}
    record = Run(tmp_path, trained(OrdinalHead(SHAPE, dropout=0.0)), Splits(), shift).calibrate(alpha=0.2)
    shifts = [each["arguments"]["shift"] for each in record["calibration"]["settings"]]
    assert shifts == sorted(shifts, reverse=True)
    assert record["calibration"]["status"] == "calibrated"
    assert record["policy"]["name"] == "PredictedN"


def test_token_counts_of_calibration_questions_change_no_decision(curve_head: Head, tmp_path: Path) -> None:
    data = Splits()
    pool = data.pools["calibration"]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    data.pools["calibration"] = replace(
        pool, tokens_QM=pool.tokens_QM[order], prompt_tokens_Q=torch.arange(len(pool)), greedy_tokens_Q=order
    )
    shuffled = Run(tmp_path, curve_head, data).calibrate(alpha=0.1)
    assert shuffled == Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1)


def test_fixed_n_and_a_dry_run_are_left_alone(curve_head: Head, tmp_path: Path) -> None:
    run = Run(tmp_path, curve_head, Splits(), {"name": "FixedN", "arguments": {"n": 5}})
    assert run.calibrate() == run.record
    run = Run(tmp_path, curve_head, Splits())
    assert run.calibrate(fast_dev_run=True) == run.record
    assert run.data.asked == []


def test_the_wait_is_announced(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path, curve_head, Splits(labelled=False)).calibrate(alpha=0.1)
    printed = capsys.readouterr().out
    assert "Waiting for the labels of 150 calibration questions." in printed
    assert printed.index("Waiting") < printed.index("Calibration: ")


def test_required_without_a_checkpoint() -> None:
    trainer = SimpleNamespace(checkpoint_callbacks=[], fast_dev_run=False, is_global_zero=True)
    CalibrateHead().on_fit_end(trainer, None)  # type: ignore[arg-type]  # nothing was validated, nothing is exported
    with pytest.raises(T2Error, match="Expected a best checkpoint by `val/area` to calibrate, got none"):
        CalibrateHead(mode="required").on_fit_end(trainer, None)  # type: ignore[arg-type]
