"""`LoggedConfig`: the configuration of a run, beside it and in the runs of its loggers."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import lightning as L
import yaml
from lightning.pytorch.cli import SaveConfigCallback

from t2.training.loggers import log_configuration


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
