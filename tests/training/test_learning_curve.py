"""`cross_validate --learning_curve`, then `t2 report --learning_curve`: from a pool to table, picture and numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.sweeps import small_sweeps

from t2.cli import main as t2_main
from t2.comparison import growth, growth_command
from t2.comparison.growth import ALL, Amount
from t2.comparison.predictions import load_predictions
from t2.training import cross_validation
from train import main

SOME = (Amount("1/2 of the questions", 0.5, 1), Amount("1/2 of the samples", 1.0, 2), ALL)
"""Half of the amounts, in half of the time."""


def test_heads_learn_from_less_and_the_report_says_what_they_are_worth(
    labelled_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (growth, growth_command, cross_validation):
        monkeypatch.setattr(module, "AMOUNTS", SOME)
    small = partial(growth_command.write_learning_curve, sweeps=small_sweeps())
    monkeypatch.setattr(growth_command, "write_learning_curve", small)
    config = labelled_config()
    head = {"num_atoms": 8, "components": 4, "hidden": 4, "members": 1}
    config["model"]["head"] = {"class_path": "PriorHead", "init_args": head}
    path = str(tmp_path / "config.yaml")
    Path(path).write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["cross_validate", "--config", path, "--learning_curve", "true", "--epochs", "1", "--processes", "1"])
    stored = load_predictions(tmp_path / "pool" / "learning_curve.safetensors")
    assert not (tmp_path / "pool" / "predictions.safetensors").exists()
    (sources,) = stored.by_seed.values()
    assert [source.name for source in sources] == [amount.name for amount in SOME]
    half, samples, everything = sources
    for some, whole in zip(half.folds, everything.folds, strict=True):
        assert len(some.train.score_B) < 0.75 * len(whole.train.score_B)
        assert len(some.test.score_B) == len(whole.test.score_B), "all are tested alike"
    assert samples.folds[0].test.prediction.accuracy_BK is not None
    assert samples.folds[0].test.prediction.accuracy_BK.shape[1] == 2, "of 4 samples only the budgets 1 and 3 are known"

    capsys.readouterr()
    t2_main(["report", path, "--learning_curve", "true", "--out", str(tmp_path / "out")])
    files = [str(tmp_path / "out" / f"learning_curve.{kind}") for kind in ("md", "png", "json")]
    assert capsys.readouterr().out.split() == files
    points = json.loads(Path(files[2]).read_text(encoding="utf-8"))["points"]
    assert {point["amount"] for point in points} == {amount.name for amount in SOME}
    assert {point["rule"] for point in points} >= {"PriorHead + planned rounds", "no head, planned rounds", "ASC"}
    assert all(point["ratio"]["low"] <= point["ratio"]["value"] <= point["ratio"]["high"] for point in points)
