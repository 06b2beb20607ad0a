"""What a training run says on the way: a line now and then where no terminal shows a bar; and how an interrupt ends."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import lightning as L

from t2.endings import Interrupted
from t2.progress import progress


class EpochLines(L.Callback):
    """Epochs done, rate and time left as lines, with `val/area` and what a labeller has drawn meanwhile."""

    def __init__(self) -> None:
        self._open, self._area = ExitStack(), ""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else None
        self._advance = self._open.enter_context(progress("training", total, unit="epochs"))
        self._area = ""
        self._advance(trainer.current_epoch, note=lambda: self._note(trainer))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Lightning computes a metric when it is read: here, never in the thread that writes the lines.
        area = trainer.callback_metrics.get("val/area")
        self._area = "" if area is None else f"val/area {float(area):.4f}"
        self._advance(trainer.current_epoch + 1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._open.__exit__(type(exception), exception, exception.__traceback__)

    def _note(self, trainer: L.Trainer) -> str:
        data: Any = getattr(trainer, "datamodule", None)
        return ", ".join(note for note in (self._area, getattr(data, "drawn", "")) if note)


class NamesCheckpoint(L.Callback):
    """An interrupted `fit` goes on from its last checkpoint: it is named in the command."""

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        last = getattr(trainer.checkpoint_callback, "last_model_path", "")
        if isinstance(exception, Interrupted) and trainer.state.fn == "fit" and last and Path(last).is_file():
            exception.options["--ckpt_path"] = _short(last)


def callbacks() -> list[L.Callback]:
    """Of every run of `train.py`."""
    return [NamesCheckpoint()] if sys.stdout.isatty() else [NamesCheckpoint(), EpochLines()]


def _short(path: str) -> str:
    """Relative to the working folder where it lies inside."""
    here = Path.cwd()
    return str(Path(path).relative_to(here) if Path(path).is_relative_to(here) else path)
