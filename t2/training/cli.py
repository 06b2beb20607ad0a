"""`train.py`'s command line: LightningCLI with T2's callbacks, links and one-line errors."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_warn

import t2.policies
import t2.sampling
import t2.tasks  # noqa: F401  # their classes must be imported to be named in a config without a module path
from t2.calibration.betting import questions_needed
from t2.endings import one_line_endings
from t2.heads import HEADS
from t2.policies import POLICIES
from t2.training.accuracy_cost import AccuracyCost
from t2.training.calibrate import CalibrateHead, check_policy
from t2.training.endings import callbacks
from t2.training.export_head import ExportHead
from t2.training.trainer import T2Trainer


class BestCheckpoint(ModelCheckpoint):
    """The best checkpoint by `val/area`, and the last; a resumed run in another folder remembers the best so far."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best so far when the folder differs, as it does for every resumed run."""
        super().load_state_dict(state_dict)
        if Path(state_dict["best_model_path"]).is_file():
            for name in ("best_model_score", "best_model_path", "best_k_models", "kth_best_model_path", "kth_value"):
                setattr(self, name, state_dict[name])
        elif state_dict["best_model_path"]:
            self.best_model_path = ""
            rank_zero_warn(
                f"The best checkpoint so far, {state_dict['best_model_path']}, is not there: only epochs of this run "
                "are candidates for the exported head. Move it back to have it considered."
            )


class T2CLI(LightningCLI):
    """Our callbacks are arguments of the parser: a user's own `trainer.callbacks` does not drop them."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, and `cross_validate`."""
        return {**LightningCLI.subcommands(), "cross_validate": {"model", "datamodule"}}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add `accuracy_cost`, `calibration`, `export` and `checkpoint`, and link what they share with the data."""
        # They run in this order when `fit` ends: verdict, calibration, export.
        parser.add_lightning_class_args(AccuracyCost, "accuracy_cost")
        parser.add_lightning_class_args(CalibrateHead, "calibration")
        parser.add_lightning_class_args(ExportHead, "export")
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
        parser.link_arguments("model.layers", "data.layers")
        parser.link_arguments("trainer.max_epochs", "data.max_epochs")
        sources = ("calibration.mode", "calibration.alpha", "calibration.delta")
        parser.link_arguments(sources, "data.min_calibration", compute_fn=min_calibration)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Add what every run has, whatever callbacks the config names."""
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks += callbacks()  # type: ignore[attr-defined]  # a list that Lightning sets up itself
        return trainer

    def before_instantiate_classes(self) -> None:
        """Reject a policy that does not go with the head or with calibration, before anything is loaded."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        head, policy = _class_name(config.model.head), _class_name(config.accuracy_cost.policy) or "Utility"
        if head in HEADS:
            POLICIES.get(policy, POLICIES["Utility"]).check(HEADS[head].gives_curve, head)
        if config.calibration.mode == "required":
            check_policy(policy)


def min_calibration(mode: str, alpha: float, delta: float) -> int:
    """Calibration questions without which `fit` ends before it begins."""
    in_range = 0 < alpha < 1 and 0 < delta < 1  # what is not is rejected with better words than a link has
    return questions_needed(alpha, delta) if mode == "required" and in_range else 0


def _class_name(node: Any) -> str | None:
    path = getattr(node, "class_path", None)
    return path.rsplit(".", 1)[-1] if path else None


def trainer_defaults() -> dict[str, Any]:
    """Defaults of `trainer` that differ from Lightning's."""
    return {
        "max_epochs": 100,
        "devices": 1,  # heads train in seconds; each process of DDP would extract features and start a labeller
        "logger": {
            "class_path": "lightning.pytorch.loggers.CSVLogger",
            "init_args": {"save_dir": "runs", "name": None},
        },
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "reload_dataloaders_every_n_epochs": 1,
        "enable_model_summary": False,
        "enable_progress_bar": sys.stdout.isatty(),  # elsewhere it writes nothing, or a line for each batch
        "deterministic": True,
    }


def run_cli(model: type[L.LightningModule], data: type[L.LightningDataModule], args: list[str] | None = None) -> None:
    """Parse, build and run; a mistake of the user ends with one line and exit code 2."""
    # Lightning says that a SIGTERM came; the line at the end says it better.
    logging.getLogger("lightning.pytorch.trainer.connectors.signal_connector").setLevel(logging.WARNING)
    with one_line_endings("python", "train.py", *(sys.argv[1:] if args is None else args)):
        T2CLI(
            model,
            data,
            trainer_class=T2Trainer,
            trainer_defaults=trainer_defaults(),
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            auto_configure_optimizers=False,
            args=args,
        )
