"""Checks of a whole config: that every key is one of `train.py`'s, and that `fit` would end with a head."""

from __future__ import annotations

from jsonargparse import ArgumentError, Namespace

from t2.config import DataSettings, complaint, known_keys, read_config, read_data
from t2.errors import T2Error
from t2.export import check_export_folder
from t2.heads import HEADS
from t2.training.module import BudgetProbe
from t2.training.parser import OneLineParser, add_callbacks
from t2.training.trainer import T2Trainer

NOTHING_IS_TRAINED = ("max_epochs", "max_steps", "limit_train_batches")
"""Settings of the trainer that must not be 0 where a head is to be trained."""


def check_config(config: str) -> None:
    """Make sure that every key of a config, below `data:` or not, is one that `train.py` takes.

    A config that nobody trains with needs no head.

    Raises:
        T2Error: names the first that is not, or whose value is of another type.
    """
    read_data(config)  # says best what is wrong with a file that is no config
    parser = OneLineParser()
    parser.add_argument("--seed_everything", type=bool | int, default=0)
    parser.add_lightning_class_args(T2Trainer, "trainer")
    parser.add_lightning_class_args(BudgetProbe, "model")
    parser.add_class_arguments(DataSettings, "data")
    add_callbacks(parser)
    parser.add_argument("--ckpt_path", type=str | None, default=None)
    parser.add_method_arguments(T2Trainer, "cross_validate", skip={"model", "datamodule"})
    content = read_config(config)
    content["model"] = {"head": next(iter(HEADS)), **(content.get("model") or {})}
    try:
        parser.parse_object(content)
    except ArgumentError as error:
        raise T2Error(complaint(str(error), config, known_keys(parser))) from error


def check_that_a_head_comes_of_it(config: Namespace) -> None:
    """Refuse settings of `fit` with which it would end without a head, hours later, and exports that destroy a model.

    Raises:
        T2Error: names the first such setting.
    """
    for key in NOTHING_IS_TRAINED:
        if (value := config.get(f"trainer.{key}")) is not None and value == 0:
            raise T2Error(
                f"Expected `trainer.{key}` other than 0, got {value}: nothing would be trained. Leave it out, or use "
                "`validate` with a checkpoint."
            )
    for key, keeps_none in (("checkpoint.save_top_k", 0), ("trainer.enable_checkpointing", False)):
        if (value := config.get(key)) is not None and value == keeps_none:
            raise T2Error(
                f"Expected a best checkpoint to be kept, which the exported head comes from, got `{key}: {value}`. "
                "Leave it out."
            )
    if folder := config.get("export.folder"):
        check_export_folder(folder)
