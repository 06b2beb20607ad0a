"""The folder of a run is its own: of two that begin together one would else write over the other's checkpoints."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


def claim_folder(logger: Logger) -> None:
    """Make the folder `version_N` of a run that is to have the next free one, unless another run makes it first.

    Lightning looks for the next number when it is first asked, and makes the folder later whether or not somebody else
    has made it meanwhile. Making a folder is one step to the operating system: of two runs one is told that it exists,
    and looks again.
    """
    if not isinstance(logger, CSVLogger | TensorBoardLogger) or logger._version is not None:
        return  # other loggers have ids of their own, and who has named a version wants that one
    before = None
    while (folder := Path(logger.log_dir)) != before:
        if "://" in logger.log_dir:
            return  # a store elsewhere, whose folders need no making
        try:
            folder.mkdir(parents=True)
            return
        except FileExistsError:
            before, logger._version = folder, None
        except OSError:
            return  # Lightning says what is wrong when it writes there
