"""What the parser of `train.py` has besides Lightning's options: our callbacks, links, errors in one line."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

import t2.policies  # noqa: F401  # its classes must be imported to be named in a config without a module path
from t2.calibration.betting import questions_needed
from t2.config import LINKED
from t2.training.accuracy_cost import AccuracyCost
from t2.training.best_checkpoint import BestCheckpoint
from t2.training.calibrate import CalibrateHead
from t2.training.decide import Decide
from t2.training.export_head import ExportHead
from t2.training.log_artifacts import LogArtifacts


class OneLineParser(LightningArgumentParser):
    """Raises `ArgumentError` instead of printing the usage of 800 options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "exit_on_error": False})


def add_callbacks(parser: LightningArgumentParser) -> None:
    """Add our callbacks, each under its own key, and link what they share with the data."""
    # They run in this order when `fit` ends: verdict, decision, calibration, export, artifacts of what was exported.
    parser.add_lightning_class_args(AccuracyCost, "accuracy_cost")
    parser.add_lightning_class_args(Decide, "decision")
    parser.add_lightning_class_args(CalibrateHead, "calibration")
    parser.add_lightning_class_args(ExportHead, "export")
    parser.add_lightning_class_args(LogArtifacts, "artifacts")
    parser.add_lightning_class_args(BestCheckpoint, "checkpoint")
    parser.set_defaults(
        {
            "checkpoint.monitor": "val/area",
            "checkpoint.mode": "max",
            "checkpoint.filename": "best",
            "checkpoint.save_last": True,
            "checkpoint.auto_insert_metric_name": False,
        }
    )
    for shared in LINKED:
        parser.link_arguments(f"model.{shared}", f"data.{shared}")
    parser.link_arguments("trainer.max_epochs", "data.max_epochs")
    sources = ("calibration.mode", "calibration.alpha", "calibration.delta")
    parser.link_arguments(sources, "data.min_calibration", compute_fn=min_calibration)


def min_calibration(mode: str, alpha: float, delta: float) -> int:
    """Calibration questions without which `fit` ends before it begins."""
    in_range = 0 < alpha < 1 and 0 < delta < 1  # what is not is rejected with better words than a link has
    return questions_needed(alpha, delta) if mode == "required" and in_range else 0
