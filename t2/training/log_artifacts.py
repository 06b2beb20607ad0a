"""`LogArtifacts`: when `fit` ends, W&B is told which pool the head is from, and gets the head and what it is worth."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.loggers import WandbLogger
from rich.console import Console

from t2.errors import T2Error
from t2.tracking.contents import head_contents, pool_contents, report_contents
from t2.tracking.wandb_artifacts import log_lineage
from t2.training.data import needed_data
from t2.training.export_head import Exported, ExportHead
from t2.training.fit_summary import FitSummary
from t2.training.loggers import CONFIG_FILE, FIGURE_FILE, TABLE_FILE


class LogArtifacts(L.Callback):
    """The pool as input, exported head and report as outputs of the W&B run; nothing happens without a `WandbLogger`.

    Args:
        log: do it.
        pool_samples: upload the pool's samples and questions too, not only what it is.
    """

    def __init__(self, log: bool = True, pool_samples: bool = False) -> None:
        self.log, self.pool_samples = log, pool_samples

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log after the export; that W&B does not take it is said, and takes nothing away from the export."""
        loggers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger)]
        if not (self.log and loggers and trainer.is_global_zero) or trainer.fast_dev_run:  # type: ignore[attr-defined]  # a flag of Trainer
            return
        exported = next((each.exported for each in trainer.callbacks if isinstance(each, ExportHead)), None)  # type: ignore[attr-defined]  # a list of Trainer
        for logger in loggers:
            try:
                self._log_to(logger, trainer, exported)
            except (T2Error, OSError) as error:  # OSError: a labeller tidies up the pool's shards just now
                kept = f" The head is in {exported.folder} all the same." if exported else ""
                Console(soft_wrap=True, stderr=True).print(f"warning: {error}{kept}", highlight=False, markup=False)

    def _log_to(self, logger: WandbLogger, trainer: L.Trainer, exported: Exported | None) -> None:
        pool = pool_contents(Path(needed_data(trainer, self).job.path), self.pool_samples)
        outputs = []
        if exported is not None:
            worth = worth_of(exported.summary)
            files = [folder / name for folder in log_dirs(trainer) for name in (FIGURE_FILE, TABLE_FILE, CONFIG_FILE)]
            texts = {"summary.txt": exported.text}
            outputs = [
                head_contents(exported.folder, exported.record, pool, worth),
                report_contents(exported.folder, files, pool, worth, texts),
            ]
        log_lineage(logger.experiment, [pool], outputs)


def worth_of(summary: FitSummary) -> dict[str, object]:
    """What the end of `fit` says, as figures with their 95% intervals."""
    exported, saved = summary.exported, summary.exported.ratio
    return {
        "judged_on": {"split": summary.split, "questions": len(summary.fixed.correct)},
        "n_ref": summary.n_ref,
        "tokens_saved": {"value": 1 - saved.value, "low": 1 - saved.high, "high": 1 - saved.low},
        "accuracy_difference_points": vars(exported.difference),
        "rounds": exported.rounds,
        "verdict": summary.verdict,
    }


def log_dirs(trainer: L.Trainer) -> list[Path]:
    """Folders of the run, of those loggers that have one."""
    return [Path(folder) for logger in trainer.loggers if (folder := getattr(logger, "log_dir", None))]
