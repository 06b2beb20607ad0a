"""`ExportHead`: the best checkpoint becomes an exported head when `fit` ends."""

from __future__ import annotations

import lightning as L
from rich.console import Console

from t2.export import export_checkpoint
from t2.training.accuracy_cost import best_checkpoint


class ExportHead(L.Callback):
    """Exports to `folder`; an empty folder name turns it off."""

    def __init__(self, folder: str = "") -> None:
        """Set where the head goes.

        Args:
            folder: of `config.json`, `model.safetensors` and the card; empty: no export.
        """
        self.folder = folder

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        checkpoint = best_checkpoint(trainer)
        if self.folder and checkpoint and trainer.is_global_zero:
            folder = export_checkpoint(checkpoint, self.folder)
            Console(soft_wrap=True).print(f"Exported the head to {folder}", highlight=False)
