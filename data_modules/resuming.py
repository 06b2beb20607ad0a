"""What a run that begins with a checkpoint must have in common with the run that wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from data_modules import schedule
from t2.errors import T2Error


def check_same_data(then: Mapping[str, Any], now: Mapping[str, Any], resumes: bool) -> None:
    """Refuse other labels or splits (test questions could have been trained on); to resume, also another order.

    Args:
        then: state of the DataModule in the checkpoint.
        now: state of the one that would use it.
        resumes: training goes on; else the checkpoint is only validated, tested or asked for predictions.

    Raises:
        T2Error: names what differs.
    """
    # Seed and number of train questions decide the order of training, which does not matter to test or predict.
    ignored = {"max_epochs"} if resumes else {"max_epochs", "seed", "train_questions"}
    if changed := [
        f"{key}: {then.get(key)} then, {value} now"
        for key, value in now.items()
        if key not in ignored and then.get(key) != value
    ]:
        raise T2Error(f"Expected the data settings of the checkpoint, got {'; '.join(changed)}.")


def check_pace(num_train: int, pace: int, max_epochs: int) -> None:
    """Refuse to end a resumed run, whose train set grows at the pace of the run before, while it still grows.

    Args:
        num_train: train questions.
        pace: `trainer.max_epochs` of the run that wrote the checkpoint.
        max_epochs: of the run that goes on; -1: without end.

    Raises:
        T2Error: it would end before all train questions were used.
    """
    partial = schedule.epochs_before_all(num_train, pace)
    if 0 <= max_epochs <= partial:
        raise T2Error(
            f"Expected `trainer.max_epochs` of at least {partial + 1} to go on from a checkpoint of {pace} epochs, "
            f"got {max_epochs}: its first {partial} do not use all train questions. Raise it, or "
            "train anew."
        )
