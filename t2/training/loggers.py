"""What each kind of logger takes of configuration, table and picture; Lightning gives the scalars to all alike."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from t2.pages.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_FILE, TABLE_FILE, CONFIG_FILE = "frontier.png", "frontier.csv", "config.yaml"
"""Beside the metrics of a run."""
TABLE_KEY, FIGURE_KEY = "val/policies", "val/frontier"


def log_configuration(logger: Logger, config: dict[str, Any]) -> None:
    """The whole configuration as plain values: runs are compared by it.

    MLflow takes file names as names of parameters and cuts their values, so it gets the configuration as a file too.
    """
    if isinstance(logger, MLFlowLogger):
        logger.log_hyperparams(_named_like_files(config))
        logger.experiment.log_dict(str(logger.run_id), config, CONFIG_FILE)
    else:
        logger.log_hyperparams(config)


def _named_like_files(values: dict[str, Any]) -> dict[str, Any]:
    """What has other keys than words holds data, as the answers of a scripted sampler: it is one value, as JSON."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            is_settings = all(re.fullmatch(r"\w[\w-]*", str(key)) for key in value)
            plain[name] = _named_like_files(value) if is_settings else json.dumps(value)
        else:
            plain[name] = value
    return plain


def log_table_and_figure(
    logger: Logger, columns: Sequence[str], rows: Sequence[Sequence[object]], figure: Figure
) -> None:
    """To W&B and TensorBoard as their own kinds, to MLflow and every logger with a folder as files."""
    if isinstance(logger, WandbLogger):
        from wandb import Image

        logger.log_table(TABLE_KEY, columns=list(columns), data=[list(row) for row in rows])
        logger.log_image(FIGURE_KEY, [Image(figure)])
    elif isinstance(logger, MLFlowLogger):
        run = str(logger.run_id)
        logger.experiment.log_figure(run, figure, FIGURE_FILE)
        logger.experiment.log_text(run, csv_text(columns, rows), TABLE_FILE)
    elif isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure(FIGURE_KEY, figure, close=False)  # other loggers draw it too
        logger.experiment.add_text(TABLE_KEY, markdown(columns, rows))
    if getattr(logger, "log_dir", None):
        folder = Path(str(logger.log_dir))
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / FIGURE_FILE)
        (folder / TABLE_FILE).write_text(csv_text(columns, rows), encoding="utf-8", newline="")


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table for a logger that shows Markdown: numbers to four digits."""
    cells = [tuple(f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row) for row in rows]
    return Table(tuple(columns), tuple(cells)).markdown()


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as CSV."""
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()
