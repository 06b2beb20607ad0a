"""The best checkpoint of a run that was resumed in another folder is the best of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from t2.errors import T2Error
from t2.training.accuracy_cost import AccuracyCost
from t2.training.best_checkpoint import BestCheckpoint

AREAS = (0.1, 0.9, 0.3, 0.2)


class Scripted(L.LightningModule):
    """Its validation area depends on the epoch alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return self.layer(batch[0]).sum()

    def validation_step(self, _: Any, __: int) -> None:
        self.log("val/area", AREAS[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, epochs: int, resume: Path | None = None, **settings: Any) -> BestCheckpoint:
    best = BestCheckpoint(
        dirpath=folder, monitor="val/area", mode="max", filename="best", save_last=True, auto_insert_metric_name=False
    )
    data = DataLoader(TensorDataset(torch.ones(2, 1)), batch_size=2)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[best],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **settings,
    )
    trainer.fit(Scripted(), data, data, ckpt_path=resume)
    return best


@pytest.mark.parametrize("every", [0, -1])
def test_replays_are_an_epoch_apart_or_more(every: int) -> None:
    """0 was a ZeroDivisionError at the end of the first epoch."""
    with pytest.raises(T2Error, match=rf"Expected `accuracy_cost\.every_n_epochs` of at least 1, got {every}\. Set"):
        AccuracyCost(every_n_epochs=every)


def epoch_of(best: BestCheckpoint) -> int:
    return torch.load(best.best_model_path, weights_only=True)["epoch"]


def steps_of(best: BestCheckpoint) -> int:
    return torch.load(best.best_model_path, weights_only=True)["global_step"]


def test_a_resumed_run_keeps_the_best_of_before(tmp_path: Path) -> None:
    """The first resumed epoch was always saved as the best one, and exported."""
    whole = fit(tmp_path / "whole", 4)
    fit(tmp_path / "first", 2)
    resumed = fit(tmp_path / "second", 4, tmp_path / "first" / "last.ckpt")
    assert epoch_of(resumed) == epoch_of(whole) == 1
    assert float(resumed.best_model_score) == pytest.approx(0.9)
    assert Path(resumed.best_model_path).parent.name == "first"
    assert not (tmp_path / "second" / "best.ckpt").exists()


def test_a_better_epoch_of_the_resumed_run_counts(tmp_path: Path) -> None:
    fit(tmp_path / "first", 1)
    resumed = fit(tmp_path / "second", 4, tmp_path / "first" / "last.ckpt")
    assert (epoch_of(resumed), Path(resumed.best_model_path).parent.name) == (1, "second")
    assert (tmp_path / "first" / "best.ckpt").is_file(), "another run's checkpoint is not this run's to delete"


def test_a_best_checkpoint_that_was_left_behind_is_said_to_be_missing(tmp_path: Path) -> None:
    """`fit` ended in a traceback: the path was remembered, the file was on another machine."""
    fit(tmp_path / "first", 2)
    (tmp_path / "first" / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match=r"best checkpoint so far, .*best\.ckpt, is not there"):
        resumed = fit(tmp_path / "second", 4, tmp_path / "first" / "last.ckpt")
    assert (epoch_of(resumed), Path(resumed.best_model_path).parent.name) == (2, "second")


def test_the_last_checkpoint_is_that_of_the_last_epoch(tmp_path: Path) -> None:
    """It was that of the best epoch, here the second: Lightning writes both or none."""
    fit(tmp_path, epochs=4)
    last, best = (torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["epoch"] for name in ("last", "best"))
    assert (last, best) == (3, 1)


def test_the_last_weights_are_the_best_where_nothing_is_validated(tmp_path: Path) -> None:
    best = fit(tmp_path / "first", 2, limit_val_batches=0)
    assert (steps_of(best), best.best_model_score) == (2, None)
    # The weights of a run that goes on are newer, validated or not.
    still = fit(tmp_path / "second", 3, tmp_path / "first" / "last.ckpt", limit_val_batches=0)
    assert (steps_of(still), Path(still.best_model_path).parent.name) == (3, "second")
    validated = fit(tmp_path / "third", 4, tmp_path / "first" / "last.ckpt")
    assert (steps_of(validated), float(validated.best_model_score)) == (3, pytest.approx(AREAS[2]))
    assert (tmp_path / "first" / "best.ckpt").is_file()
