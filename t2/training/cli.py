"""`train.py`'s command line: LightningCLI with T2's callbacks, links and one-line errors."""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from itertools import count, pairwise
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console

import t2.policies  # noqa: F401  # its classes must be imported to be named in a config without a module path
from t2.calibration.betting import questions_needed
from t2.config import LINKED, DataSettings, complaint, known_keys, name_classes, read_config, read_data, task_file
from t2.endings import one_line_endings
from t2.errors import T2Error, in_a_line
from t2.export import check_export_folder
from t2.heads import HEADS
from t2.policies import POLICIES
from t2.training.accuracy_cost import AccuracyCost
from t2.training.calibrate import CalibrateHead, check_policy
from t2.training.decide import Decide
from t2.training.endings import callbacks
from t2.training.export_head import ExportHead
from t2.training.log_artifacts import LogArtifacts
from t2.training.loggers import log_configuration
from t2.training.module import BudgetProbe
from t2.training.trainer import T2Trainer
from t2.yaml_files import is_yaml, read_yaml

TRUE_HALF = ("bf16-true", "16-true")
NOTHING_IS_TRAINED = ("max_epochs", "max_steps", "limit_train_batches")
"""Settings of the trainer that must not be 0 where a head is to be trained."""


class BestCheckpoint(ModelCheckpoint):
    """The best checkpoint by `val/area`, and the last; a resumed run in another folder remembers the best so far.

    Where no epoch was validated, the last weights are the best there are.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning writes the last checkpoint where it has just written a better one, and only there.

        A run that was resumed from it began again after its best epoch, be that 50 epochs ago.
        """
        super().on_train_epoch_end(trainer, pl_module)
        if not self._should_skip_saving_checkpoint(trainer):  # it is skipped where this step has been saved
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Without a validated epoch Lightning keeps no best checkpoint: `fit` ended without a head and without a word.

        That is so where `max_steps` ends the first epoch early, and with `limit_val_batches: 0` or a
        `check_val_every_n_epoch` beyond the last epoch.
        """
        if trainer.fast_dev_run or not trainer.global_step:  # type: ignore[attr-defined]  # a flag of Trainer
            return
        super().on_train_end(trainer, pl_module)
        if self.best_model_score is not None or self.save_top_k == 0:
            return
        if self.monitor is None and self.best_model_path:  # the user wants the last one, and has it
            return
        candidates = self._monitor_candidates(trainer)
        self.best_model_path = self._get_metric_interpolated_filepath_name(candidates, trainer, self.best_model_path)
        self._save_checkpoint(trainer, self.best_model_path)
        Console(soft_wrap=True).print(
            f"No epoch was validated by `{self.monitor}` (see `trainer.max_steps`, `limit_val_batches` and "
            f"`check_val_every_n_epoch`): the head has the weights of step {trainer.global_step}, which nothing chose.",
            highlight=False,
        )

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


class OneLineParser(LightningArgumentParser):
    """Raises `ArgumentError` instead of printing the usage of 800 options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "exit_on_error": False})


class LoggedConfig(SaveConfigCallback):
    """Keeps the parsed configuration beside a run, and in the run of every logger: runs are compared by it.

    Nothing of it is in a checkpoint. No file is replaced: without a folder of the run's own (`logger: false`, W&B) it
    would be `config.yaml` in the working folder, which may be the very file that was read.
    """

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Write it as config.yaml, or config-2.yaml, config-3.yaml, ... where there is another of that name."""
        # Without a logger there is no run to be beside, and some, as MLflow's with a server, have no folder.
        self.save_to_log_dir = bool(trainer.loggers and trainer.log_dir)
        if not self.already_saved and trainer.log_dir and trainer.is_global_zero:
            self.config_filename = config_name(trainer.log_dir, self.parser.dump(self.config, skip_none=False))
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give each logger the whole configuration as plain values: head, data, policy, optimizer, trainer, seed."""
        config = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
        for logger in trainer.loggers:
            log_configuration(logger, config)


def config_name(folder: str, content: str) -> str:
    """The first of config.yaml, config-2.yaml, config-3.yaml, ... that is not in a folder or has just this content."""
    names = (f"config{f'-{number}' if number > 1 else ''}.yaml" for number in count(1))
    paths = (Path(folder) / name for name in names)
    return next(p.name for p in paths if not p.exists() or (p.is_file() and p.read_bytes() == content.encode()))


class T2CLI(LightningCLI):
    """Our callbacks are arguments of the parser: a user's own `trainer.callbacks` does not drop them."""

    chosen: ClassVar[str | None] = None
    """the subcommand that the command line begins with; None: another word, or an option"""

    @classmethod
    def subcommands(cls) -> dict[str, set[str]]:  # a static method of Lightning's, called as this one is
        """Lightning's, and `cross_validate`; the chosen one alone, since each takes most of a second to set up."""
        everything = {**LightningCLI.subcommands(), "cross_validate": {"model", "datamodule"}}
        return {cls.chosen: everything[cls.chosen]} if cls.chosen is not None else everything

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; what does not fit is one line.

        Raises:
            T2Error: an unknown or ill-typed key, in a config or on the command line, or a file that is no config.
        """
        words = args if isinstance(args, list) else sys.argv[1:]
        try:
            if args is not None and not isinstance(args, list):  # keys and values, which name no files
                super().parse_arguments(parser, args)
            else:
                self.config = parser.parse_args([_whole_config(word) for word in words])
        except ArgumentError as error:
            chosen = next((word for word in words if word in self.subcommands()), None)
            own = parser._subcommands_action._name_parser_map[chosen] if chosen else parser  # type: ignore[union-attr]
            raise T2Error(complaint(str(error), _source(words), known_keys(own))) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what `add_callbacks` adds."""
        add_callbacks(parser)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Add what every run has, whatever callbacks the config names.

        Raises:
            T2Error: settings of the trainer that do not go together; in Lightning's words.
        """
        precision = self._get(self.config_init, "trainer", default={}).get("precision")
        if precision in TRUE_HALF:
            kwargs["precision"] = "32-true"
            Console(soft_wrap=True).print(
                f"`trainer.precision: {precision}` leaves the head in float32: it is small, and its statistics and "
                "targets need it. The LLM computes in its own type in any case.",
                highlight=False,
            )
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise T2Error(f"Expected settings of `trainer` that go together, got: {in_a_line(error)}") from error
        trainer.callbacks += callbacks()  # type: ignore[attr-defined]  # a list that Lightning sets up itself
        return trainer

    def before_instantiate_classes(self) -> None:
        """Reject a policy that does not go with the head or with calibration, before anything is loaded."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        head, policy = _class_name(config.model.head), _class_name(config.accuracy_cost.policy) or "Utility"
        if head in HEADS:
            POLICIES.get(policy, POLICIES["Utility"]).check(HEADS[head].gives_curve, head)
        if config.calibration.mode == "required" and config.decision.mode == "configured":
            check_policy(policy)
        if self.subcommand == "fit":
            check_that_a_head_comes_of_it(config)

    def instantiate_classes(self) -> None:
        """Build what the configuration names.

        Raises:
            T2Error: a package that one of its classes needs, as that of a logger, is not installed.
        """
        try:
            super().instantiate_classes()
        except (ImportError, ValueError) as error:
            if (missing := missing_module(error)) is None:
                raise
            package, words = package_of(missing), str(missing).split("\n")[0].rstrip(".")
            raise T2Error(
                f"Expected the package {package}, which a class of the configuration needs, got none ({words}). "
                f"Install it (`pip install {package}`), or take the class out."
            ) from error


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


def missing_module(error: BaseException | None) -> ModuleNotFoundError | None:
    """What is behind an error: jsonargparse wraps those of a class where a list of them would do as well."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
    return error


def package_of(error: ModuleNotFoundError) -> str:
    """The package that is missing: named by Python, or by Lightning in the words "Requirement 'wandb>=0.12.10' ..."."""
    named = re.search(r"Requirement '([\w.-]+)", str(error))
    return named[1] if named else (error.name or "that it names").split(".")[0]


def usage_of_cross_validate() -> str:
    """Its own options first: the help lists them after some 800 lines of those that all subcommands share."""
    own = list(inspect.signature(T2Trainer.cross_validate).parameters)[3:]  # after self, model and datamodule
    options = " ".join(f"[--{name} ...]" for name in own)
    return f"train.py cross_validate --config FILE\n       {options}\n       [the options of every subcommand ...]"


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


def _whole_config(word: str) -> str:
    """A word of the command line; for a config whose task stands in another file the whole of both instead, as YAML.

    Lightning's parser would look for that file in the config's folder alone. It reads other configs by itself, but only
    after `read_config` has found nothing in them that would grow without end.
    """
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    if not (is_yaml(value) and os.path.isfile(value)):
        return word
    if task_file(read_yaml(value), value) is None:
        return word
    return f"{option}{equals}{yaml.safe_dump(read_config(value), default_flow_style=True)}"


def _source(words: list[str]) -> str:
    """What a run was configured by: its configs, if it names any."""
    configs = [word.partition("=")[2] for word in words if word.startswith(("--config=", "-c="))]
    configs += [after for word, after in pairwise(words) if word in ("--config", "-c")]
    return " + ".join(configs) or "the command line"


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
    name_classes()
    words = sys.argv[1:] if args is None else args
    chosen = words[0] if words and words[0] in T2CLI.subcommands() else None
    usage = {"cross_validate": {"usage": usage_of_cross_validate()}} if chosen in (None, "cross_validate") else {}
    # Lightning says that a SIGTERM came; the line at the end says it better.
    logging.getLogger("lightning.pytorch.trainer.connectors.signal_connector").setLevel(logging.WARNING)
    with one_line_endings("python", "train.py", *words):
        type("T2CLI", (T2CLI,), {"chosen": chosen})(
            model,
            data,
            trainer_class=T2Trainer,
            parser_class=OneLineParser,
            trainer_defaults=trainer_defaults(),
            seed_everything_default=0,
            save_config_callback=LoggedConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs=usage,
            auto_configure_optimizers=False,
            args=args,
        )
