"""`ExportHead`: the best checkpoint becomes an exported head when `fit` ends, and its worth is said in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lightning as L
from rich.console import Console

from t2.budget_head import BudgetHead
from t2.checkpoint import export_checkpoint
from t2.curves.labels import reference_budget
from t2.head_record import HeadRecord
from t2.stats.warnings import pool_warnings
from t2.training.accuracy_cost import best_checkpoint, was_chosen
from t2.training.data import BudgetData, needed_data
from t2.training.fit_summary import MIN_TEST, FitSummary
from t2.training.loggers import FIGURE_FILE


@dataclass(frozen=True)
class Exported:
    """What `fit` has made, for those who keep it elsewhere too."""

    folder: Path
    record: HeadRecord
    summary: FitSummary
    text: str
    """what was said of it"""


class ExportHead(L.Callback):
    """Exports to `folder`; an empty folder name turns it off."""

    def __init__(self, folder: str = "") -> None:
        """Set where the head goes.

        Args:
            folder: of `config.json`, `model.safetensors` and the card; empty: no export.
        """
        self.folder = folder
        self.exported: Exported | None = None
        """there when `fit` has ended with an export"""

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Export the best checkpoint, read the export back, and say what it is worth and where everything lies."""
        checkpoint = best_checkpoint(trainer)
        if not (self.folder and trainer.is_global_zero):
            return
        if not checkpoint:
            reason = "`fast_dev_run` keeps none" if trainer.fast_dev_run else "no checkpoint was kept"  # type: ignore[attr-defined]  # a flag of Trainer
            Console(soft_wrap=True).print(f"No head was exported: {reason}.", highlight=False)
            return
        folder = export_checkpoint(checkpoint, self.folder)
        head = BudgetHead.from_pretrained(folder)
        summary = summary_of(head, needed_data(trainer, self), was_chosen(trainer))
        lines = ["", *summary.lines()]
        if head.calibration:
            lines += ["", f"Promise  {head.calibration.promise}"]
        self.exported = Exported(folder, head.record, summary, "\n".join(lines[1:]) + "\n")
        lines += places(folder, Path(trainer.log_dir) if trainer.log_dir else None)
        Console(soft_wrap=True).print("\n".join(lines), highlight=False, markup=False)


def summary_of(head: BudgetHead, data: BudgetData, chose_checkpoint: bool = True) -> FitSummary:
    """An exported head on test questions, as far as they are labelled; with too few of them on validation questions.

    `chose_checkpoint`: validation questions did.
    """
    if (part := data.labelled_part("test", MIN_TEST)) is not None:
        split, (pool, labels, pooled_QLD) = "test", part
    else:
        split, (pool, labels), pooled_QLD = "validation", data.split("validation"), data.features_of("validation")
    n_ref = head.calibration.n_ref if head.calibration else None
    if n_ref is None:
        n_ref = reference_budget(data.split("train")[1], data.split("validation")[1])
    given = head.inputs(head.predict(pooled_QLD) if head.has_weights else None)
    size, decision = len(data.dedup_keys(split)), head.record.decision
    return FitSummary.of(
        head.policy, given, pool, labels, n_ref, split, size, decision, chose_checkpoint, warnings_of(data)
    )


def warnings_of(data: BudgetData) -> Iterator[str]:
    """What train and validation questions say against any budget head; those of one split alone are too few to tell."""
    splits = ("train", "validation") if data.all_labelled("train") else ("validation",)
    pool, labels = data.labelled(*splits)
    yield from pool_warnings(pool, data.eps, labels.grid)


def places(folder: Path, log_dir: Path | None) -> list[str]:
    """Where the head, its card and the picture lie, and what to type next."""
    picture = log_dir / FIGURE_FILE if log_dir else None
    return [
        f"Head     {folder}, what it promises and where it holds: {folder / 'README.md'}",
        *([f"Picture  {picture}: accuracy against tokens, beside every rival"] if picture and picture.exists() else []),
        "Next     python train.py cross_validate --config FILE, then t2 report FILE: which rule is best, and how sure",
        "         your own model: copy configs/my-model.yaml; n for a question: README.md, Try it",
    ]
