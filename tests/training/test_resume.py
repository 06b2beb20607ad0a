"""A run that goes on for more epochs than it was begun with: what is trained on, and what is refused."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from data_modules import schedule
from t2.training.module import Batch, BudgetProbe
from train import main


@pytest.mark.parametrize("num_questions", [1, 64, 65, 130, 1000])
@pytest.mark.parametrize("max_epochs", [-1, 0, 1, 2, 3, 4, 9, 100])
def test_the_epochs_before_all_questions_are_in_use_are_counted(num_questions: int, max_epochs: int) -> None:
    sizes = [schedule.ready(epoch, num_questions, max_epochs) for epoch in range(120)]
    assert schedule.epochs_before_all(num_questions, max_epochs) == sum(size < num_questions for size in sizes)
    assert sizes == sorted(sizes)
    assert max(sizes) == num_questions


@pytest.mark.slow
def test_a_run_goes_on_beyond_its_epochs_at_the_pace_it_had(
    scripted_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any other `trainer.max_epochs` than the checkpoint's was refused as another data setting."""
    trained_on: dict[int, int] = {}
    training_step = BudgetProbe.training_step

    def watched(probe: BudgetProbe, batch: Batch, batch_index: int) -> Tensor:
        """An epoch is one batch."""
        assert batch_index == 0
        trained_on[probe.current_epoch] = len(batch[0])
        return training_step(probe, batch, batch_index)

    monkeypatch.setattr(BudgetProbe, "training_step", watched)
    path, runs = tmp_path / "config.yaml", tmp_path / "runs"
    path.write_text(yaml.safe_dump(scripted_config(num_questions=130)), encoding="utf-8")
    fit = ["fit", "--config", str(path), "--data.batch_size", "1000"]
    # Interrupted in the second epoch of four.
    main([*fit, "--trainer.max_epochs", "4", "--trainer.max_steps", "2"])
    everything = train_set_size(runs / "version_0")
    assert 64 < everything < 128
    assert trained_on == {0: 64, 1: 64}
    trained_on.clear()
    last = str(runs / "version_0" / "checkpoints" / "last.ckpt")
    resumed = [*fit, "--ckpt_path", last, "--trainer.max_epochs"]

    with pytest.raises(SystemExit, match="2"):
        main([*resumed, "2"])
    assert (
        "Expected `trainer.max_epochs` of at least 3 to go on from a checkpoint of 4 epochs, got 2: its first "
        "2 do not use all train questions."
    ) in capsys.readouterr().err
    main([*resumed, "8"])
    pace_of_four = dict.fromkeys(range(2, 8), everything)
    assert trained_on == pace_of_four, "eight epochs from the start have 64 questions until the fifth"
    with (runs / "version_2" / "metrics.csv").open() as file:
        assert {int(row["epoch"]) for row in csv.DictReader(file) if row.get("val/area")} == set(range(2, 8))
    trained_on.clear()
    main([*fit, "--ckpt_path", last.replace("version_0", "version_2"), "--trainer.max_epochs", "9"])
    assert trained_on == {8: everything}, "the pace is handed on"


def train_set_size(run: Path) -> int:
    content = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert "hyper_parameters" not in content
    return int(content["BudgetDataModule"]["train_questions"])
