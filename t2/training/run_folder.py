"""The folder of a run is its own: of two that begin together one would else write over the other's checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only


def give_folder_of_its_own(logger: Logger) -> None:
    """Let a logger that counts its runs make the folder of the next one in the moment in which it counts.

    Lightning looks which `version_N` there are, takes the next number, and makes the folder later, whether or not
    another run has made it meanwhile. Loggers with a service behind them have ids of their own, and who has named a
    version wants that one: it is never counted.
    """
    if isinstance(logger, CSVLogger | TensorBoardLogger):
        logger._get_next_version = partial(_made_version, logger)  # type: ignore[method-assign]


def _made_version(logger: CSVLogger | TensorBoardLogger) -> int:
    """The next number whose folder was not there. To make a folder is one step, so of two runs one makes it."""
    lightnings: Callable[..., int] = type(logger)._get_next_version
    version = lightnings(logger)
    if getattr(rank_zero_only, "rank", 0) != 0 or "://" in logger.root_dir:
        return version  # Lightning tells other ranks where the run is; elsewhere, as on S3, there are no folders
    root = logger.root_dir
    if isinstance(logger, TensorBoardLogger):  # which writes below the expanded path
        root = os.path.expanduser(os.path.expandvars(root))
    while True:
        try:
            (Path(root) / f"version_{version}").mkdir(parents=True)
            return version
        except FileExistsError:
            version += 1
        except OSError:
            return version  # Lightning says what is wrong when it writes there
