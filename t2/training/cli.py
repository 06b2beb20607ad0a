"""`train.py`'s command line: LightningCLI with T2's callbacks, links and one-line errors."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from itertools import pairwise
from typing import Any, ClassVar

import lightning as L
import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from rich.console import Console

from t2.config import complaint, known_keys, name_classes, read_config, task_file
from t2.endings import one_line_endings
from t2.errors import T2Error, in_a_line
from t2.heads import HEADS
from t2.policies import POLICIES
from t2.training.calibrate import check_policy
from t2.training.config_checks import check_that_a_head_comes_of_it
from t2.training.endings import callbacks
from t2.training.logged_config import LoggedConfig
from t2.training.missing_packages import missing_module, package_of
from t2.training.parser import OneLineParser, add_callbacks
from t2.training.run_folder import give_folder_of_its_own
from t2.training.trainer import T2Trainer
from t2.yaml_files import is_yaml, read_yaml

TRUE_HALF = ("bf16-true", "16-true")


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
        for logger in trainer.loggers:
            give_folder_of_its_own(logger)
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


def usage_of_cross_validate() -> str:
    """Its own options first: the help lists them after some 800 lines of those that all subcommands share."""
    own = list(inspect.signature(T2Trainer.cross_validate).parameters)[3:]  # after self, model and datamodule
    options = " ".join(f"[--{name} ...]" for name in own)
    return f"train.py cross_validate --config FILE\n       {options}\n       [the options of every subcommand ...]"


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
