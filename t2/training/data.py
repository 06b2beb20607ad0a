"""`BudgetData`: what training asks of a DataModule. `BudgetDataModule` gives it; `t2` never imports `data_modules`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import lightning as L
from torch import Tensor

from t2.curves.labels import BudgetLabels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.head_record import DataRecord
from t2.heads.base import HeadShape, Targets
from t2.spec import LabelJob
from t2.splits import SplitFractions

Inputs = Tensor | Sequence[Sequence[int]]
"""Of questions: features (Q, L, D), or prompts as token ids where the LLM is a part of the LightningModule."""
ReadPrompts = Callable[[Sequence[Sequence[int]]], Tensor]
"""Prompts (token ids) to their features (Q, L, D), on the CPU."""


class BudgetData(Protocol):
    """Features (Q, L, D) and labels of a pool by split: "train", "validation", "calibration" or "test".

    The questions of a split are in labelling order. `head_shape` and what stands below it need `setup`.
    """

    @property
    def job(self) -> LabelJob: ...
    @property
    def eps(self) -> float:
        """Accuracy given up to call N enough."""

    @property
    def splits(self) -> SplitFractions: ...
    def prepare_data(self) -> None: ...
    def setup(self, stage: str) -> None: ...
    @property
    def head_shape(self) -> HeadShape: ...
    @property
    def export_info(self) -> DataRecord:
        """What an exported head records of its data."""

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """Tapped blocks of the LLM, rising."""

    def model_folder(self) -> Path:
        """Of the LLM that is read."""

    def read_with(self, read: ReadPrompts) -> None:
        """Where features are not cached, they are read so from now on: by the LLM that the LightningModule holds."""

    def train_set(self, epoch: int) -> tuple[Inputs, Targets]:
        """Features or prompts, and targets, of the questions that an epoch trains on; waits until they are labelled."""

    def is_stage_start(self, epoch: int) -> bool:
        """Whether the head takes its statistics anew in this epoch."""

    def split(self, name: str) -> tuple[GradedPool, BudgetLabels]:
        """Graded samples and labels of a split that is labelled."""

    def features_of(self, name: str) -> Tensor: ...
    def together(self, *names: str) -> tuple[GradedPool, BudgetLabels, Tensor]:
        """Samples, labels, features (Q, L, D) of several labelled splits, one after the other."""

    def labelled(self, *names: str) -> tuple[GradedPool, BudgetLabels]:
        """As `together`, without features, which may have to be read."""

    def dedup_keys(self, name: str) -> list[str]:
        """Keys of a split's questions; known before any label."""

    def wait_for(self, name: str) -> None:
        """Return when a split is labelled."""

    def all_labelled(self, name: str) -> bool: ...

    def labelled_part(self, name: str, fewest: int) -> tuple[GradedPool, BudgetLabels, Tensor] | None:
        """Samples, labels, features (Q, L, D) of what is labelled of a split by now; None: fewer than `fewest`."""

    def complete_questions(self, fold_seeds: Sequence[int]) -> tuple[GradedPool, BudgetLabels, Tensor, list[str]]:
        """Samples, labels, features and texts of every labelled question, whatever its split."""


MEMBERS = tuple(name for name in vars(BudgetData) if not name.startswith("_"))


def as_budget_data(datamodule: object) -> BudgetData:
    """A DataModule that has all members of `BudgetData`.

    Raises:
        T2Error: some are missing.
    """
    # No `isinstance` with a runtime protocol: before Python 3.12 that asks for the value of each property, and some
    # of them cannot be had before `setup`.
    if missing := [name for name in MEMBERS if not (hasattr(type(datamodule), name) or name in vars(datamodule))]:
        raise T2Error(
            f"Expected a BudgetDataModule, or one with all members of `BudgetData`, got {type(datamodule).__name__} "
            f"without {', '.join(missing)}."
        )
    return datamodule  # type: ignore[return-value]  # has just been looked at, member by member


def data_of(trainer: L.Trainer) -> BudgetData | None:
    """The trainer's DataModule; None: it has none, as where a head is trained on a plain loader.

    Raises:
        T2Error: it has another kind.
    """
    datamodule = getattr(trainer, "datamodule", None)  # set by `fit` and its like, not declared
    return None if datamodule is None else as_budget_data(datamodule)


def needed_data(trainer: L.Trainer, callback: L.Callback) -> BudgetData:
    """The trainer's DataModule, for a callback that cannot do without.

    Raises:
        T2Error: it has none, or another kind.
    """
    if (data := data_of(trainer)) is None:
        raise T2Error(f"Expected a BudgetDataModule for the callback {type(callback).__name__}, got none.")
    return data
