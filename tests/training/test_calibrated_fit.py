"""`train.py fit` with calibration: what is waited for, chosen, exported, logged, printed and refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.budget_data import NoBudgetData

import t2
from data_modules import BudgetDataModule
from t2.calibration.betting import questions_needed
from t2.cli import main as t2_main
from t2.errors import T2Error
from t2.export import save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, HeadShape
from t2.policies import BatchBudget, PredictedN, Utility
from t2.policies.record import PolicyRecord
from t2.spec import Question
from t2.splits import SplitFractions, split_of
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths
from t2.training.calibrate import CalibrateHead
from train import main

Make = Callable[..., dict[str, Any]]
LOOSE = {"alpha": 0.5, "delta": 0.3}
"""Levels that the 10 calibration questions of a small pool can carry."""


def write(config: dict[str, Any], tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


def by_split(tmp_path: Path) -> dict[str, list[Question]]:
    questions, _ = read_questions(PoolPaths(tmp_path / "pool"))
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(split_of(question.dedup_key, SplitFractions()), []).append(question)
    return found


def test_fit_labels_calibrates_exports_and_can_be_undone(
    scripted_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    split = BudgetDataModule.split
    monkeypatch.setattr(BudgetDataModule, "split", lambda data, name: (asked.append(name), split(data, name))[1])
    config = {**scripted_config(), "calibration": LOOSE}
    path = write(config, tmp_path)
    main(["fit", "--config", path])
    printed = capsys.readouterr().out
    assert "test" not in asked, "the setting depends on test questions"
    assert asked.index("calibration") > asked.index("train"), "N_ref comes before calibration labels"

    questions = by_split(tmp_path)
    head = t2.BudgetHead.from_pretrained(tmp_path / "head")
    record = head.calibration
    assert record is not None
    assert record.status == "calibrated"
    assert (record.alpha, record.delta, record.form) == (0.5, 0.3, "reference")
    assert record.num_questions == len(questions["calibration"]) >= record.needed == questions_needed(0.5, 0.3)
    assert record.configured_policy == PolicyRecord.of(Utility(1.0))
    assert len(record.settings) == len(record.p_values) <= 15
    assert record.n_ref in head.grid
    assert max(record.p_values[: record.chosen + 1]) <= 0.3
    assert head.record.policy == record.settings[record.chosen]
    assert PolicyRecord.of(head.policy) == head.record.policy
    assert record.promise in (tmp_path / "head" / "README.md").read_text()
    assert f"Calibration: {record.promise}" in printed
    assert printed.index("Verdict") < printed.index("Calibration:") < printed.index("What the export is worth")

    assert head.records_seen
    assert all(head.has_seen(q.dedup_key) for name in ("train", "validation", "calibration") for q in questions[name])
    assert not any(head.has_seen(q.dedup_key) for q in questions["test"])

    run = tmp_path / "runs" / "version_0"
    with (run / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row.get("calibration/p_value")]
    assert float(row["calibration/p_value"]) == pytest.approx(record.p_values[record.chosen])
    assert float(row["calibration/n_ref"]) == record.n_ref
    assert float(row["calibration/price"]) == head.record.policy.arguments["price"]
    assert float(row["calibration/chosen"]) == record.chosen

    best = run / "checkpoints" / "best.ckpt"
    t2_main(["export", str(best), "--folder", str(tmp_path / "again")])
    for name in ("config.json", "model.safetensors", "README.md", "seen_questions.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "head" / name).read_bytes(), name
    main(["validate", "--config", path, "--ckpt_path", str(best)])

    data = BudgetDataModule(job_of(path), layers="all", grid=config["data"]["grid"], max_epochs=4)
    data.setup("validate")
    data.teardown("validate")
    drawn = head.budgets(data.features_of("validation")).double().mean()
    assert head.record.metrics.samples.value == pytest.approx(float(drawn)), "the card is of another setting"

    last = run / "checkpoints" / "last.ckpt"
    main(["fit", "--config", path, "--ckpt_path", str(last), "--calibration.mode", "skip"])
    undone = t2.BudgetHead.from_pretrained(tmp_path / "head")
    assert undone.calibration is None
    assert vars(undone.policy) == {"price": 1.0}
    assert "no accuracy is promised" in (tmp_path / "head" / "README.md").read_text()


def job_of(path: str) -> Any:
    from t2.config import read_data

    return read_data(path).pool


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("alpha", 0.0, "Expected `alpha` between 0 and 1, both excluded, got 0.0"),
        ("alpha", 1.5, "Expected `alpha` between 0 and 1, both excluded, got 1.5"),
        ("delta", 1.0, "Expected `delta` between 0 and 1, both excluded, got 1.0"),
        ("form", "best", "form"),
        ("mode", "maybe", "mode"),
        ("mode", "required", "Expected at least 114 calibration questions with keys of their own for "),
    ],
)
def test_bad_calibration_ends_with_one_line_before_anything_is_drawn(
    scripted_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any, message: str
) -> None:
    config = {**scripted_config(num_questions=64), "calibration": {key: value}}
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", write(config, tmp_path)])
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list((tmp_path / "pool").glob("shards/*"))
    assert not (tmp_path / "pool" / "features").exists(), "the LLM was loaded before the mistake was found"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"class_path": "FixedN"}, "got FixedN: it has no knob to calibrate. Choose Utility or PredictedN"),
        (
            {"class_path": "BatchBudget", "init_args": {"tokens_per_question": 20.0}},
            "got BatchBudget: it shares one total out over a batch",
        ),
    ],
    ids=["FixedN", "BatchBudget"],
)
def test_required_of_a_policy_that_cannot_be_calibrated(
    scripted_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: dict[str, Any], reason: str
) -> None:
    config = {**scripted_config(), "calibration": {"mode": "required"}, "accuracy_cost": {"policy": policy}}
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", write(config, tmp_path)])
    assert f"Expected a policy that can be calibrated for `calibration.mode: required`, {reason}" in (
        capsys.readouterr().err
    )


class SomeKeys(NoBudgetData):
    """The part of a DataModule that is asked before any label."""

    splits = SplitFractions()

    def __init__(self, *keys: str) -> None:
        self.keys = list(keys)

    def dedup_keys(self, name: str) -> list[str]:
        assert name == "calibration"
        return self.keys


def test_a_policy_over_batches_is_exported_without_a_promise() -> None:
    outcome = CalibrateHead()._without(BatchBudget(20.0), SomeKeys(*map(str, range(500))))
    assert outcome is not None
    assert outcome.record.status == "not_possible"
    assert outcome.line.startswith("Not calibrated, no accuracy is promised: BatchBudget shares one total out over")
    assert vars(outcome.policy) == {"tokens_per_question": 20.0}
    json.dumps(outcome.record.as_json())


def test_copies_of_questions_do_not_count() -> None:
    calibration = CalibrateHead()
    assert calibration._without(Utility(1.0), SomeKeys(*map(str, range(114)))) is None
    copies = SomeKeys(*map(str, range(113)), *map(str, range(50)))
    outcome = calibration._without(PredictedN(0.5), copies)
    assert outcome is not None
    assert "there are 113. The head keeps PredictedN(shift=0.5)." in outcome.line
    with pytest.raises(T2Error, match=r"at least 114 calibration questions .* got 113"):
        CalibrateHead(mode="required")._without(Utility(1.0), copies)


def test_an_uncalibrated_record_is_no_obstacle_to_export(tmp_path: Path) -> None:
    """What `_without` records is enough for card and config."""
    outcome = CalibrateHead()._without(Utility(1.0), SomeKeys("a"))
    assert outcome is not None
    head = CurveHead(HeadShape(2, 8, (1, 3), (1,)), num_atoms=4)
    record = replace(HeadRecord.of(head), policy=PolicyRecord.of(Utility(1.0)), calibration=outcome.record)
    loaded = t2.BudgetHead.from_pretrained(save_head(head, record, tmp_path))
    assert loaded.calibration == outcome.record
    assert loaded.budgets(torch.zeros(3, 2, 8)).shape == (3,)
