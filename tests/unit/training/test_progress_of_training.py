"""Epochs and fits as lines where no terminal shows a bar."""

from __future__ import annotations

import re
import sys

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from t2.comparison.sources import Known, Unfitted
from t2.heads.base import Prediction
from t2.progress import Counts
from t2.training.cli import trainer_defaults
from t2.training.cross_validation import FITS_A_SOURCE, FitCount, FitsOnCores
from t2.training.endings import EpochLines, NamesCheckpoint, callbacks


class Probe(L.LightningModule):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        self.log("val/area", 0.25)
        return self.layer(batch[0]).sum()  # type: ignore[no-any-return]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_epochs_are_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Lightning's bar writes nothing where there is no terminal."""
    for name in ("FIRST_SECONDS", "EVERY_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(f"t2.progress.{name}", 0.002)
    trainer = L.Trainer(
        max_epochs=40, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[EpochLines()],
    )  # fmt: skip
    trainer.fit(Probe(), DataLoader(TensorDataset(torch.ones(4, 1)), batch_size=1))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("training: ")]
    assert len(lines) > 2
    assert re.fullmatch(r"training: \d+ of 40 epochs, [\d.]+ epochs/(s|min), \d+ s left, val/area 0\.2500", lines[-2])
    assert re.fullmatch(r"training: 40 of 40 epochs, [\d.]+ epochs/s, in \d+ s, val/area 0\.2500", lines[-1])


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_lightnings_bar_and_a_pipe_has_lines(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert trainer_defaults()["enable_progress_bar"] == terminal
    assert {type(callback) for callback in callbacks()} == (
        {NamesCheckpoint} if terminal else {NamesCheckpoint, EpochLines}
    )


def known(learn: torch.Tensor, held: torch.Tensor) -> Known:
    return Known(held.double(), Prediction(log_tokens_B=held.float()))


def test_each_fit_is_counted() -> None:
    run_fits, fits = FitsOnCores(1), []
    run_fits.on_fit = lambda: fits.append(len(fits))
    run_fits(known, [(torch.arange(3), torch.arange(2))] * 5)
    assert len(fits) == 5


def test_the_share_of_the_work_knows_that_controls_take_no_time() -> None:
    told: list[tuple[int, float]] = []

    class Recorded(Counts):
        def __call__(self, done: int, *_: object, share: float | None = None, **__: object) -> None:
            told.append((done, share or 0.0))

    sources = [Unfitted("head", "head", known), Unfitted("ridge", "text", known), Unfitted("chance", "nothing", known)]
    count = FitCount(sources, Recorded("fits", None, "fits"))
    for _ in sources:
        for _ in range(FITS_A_SOURCE - 1):  # an inner fold without questions
            count.fit()
        count.source()
    assert told[0] == (0, 0.0)
    assert told[-1] == (3 * FITS_A_SOURCE, pytest.approx(1.0))
    shares = dict(told)
    assert shares[FITS_A_SOURCE] == pytest.approx(1 / 2.05)
    assert shares[2 * FITS_A_SOURCE] == pytest.approx(1.05 / 2.05)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
