"""`BestCheckpoint`: which weights of a run are kept, and which the exported head comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from rich.console import Console


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
