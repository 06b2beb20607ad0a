"""`BudgetDataModule`: features and labels of a pool, finished or still being filled, in one class."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from data_modules import schedule
from data_modules.live_pool import FillingPool
from data_modules.record import data_record
from data_modules.resuming import check_pace, check_same_data
from data_modules.split_rows import check_calibration, rows_by_split
from t2.activations.cache import FeatureSpec
from t2.activations.features import pooled_features
from t2.activations.pooling import Padded, right_pad
from t2.comparison.sources import FOLD_SEEDS, check_enough
from t2.config import DataSettings
from t2.curves.labels import BudgetLabels, First, budget_labels, check_grid, cut_grid
from t2.endings import Interrupted
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.head_record import DataRecord
from t2.heads.base import HeadShape, Targets, targets_of
from t2.pools.prepare import prepare
from t2.pools.reading import Reading
from t2.pools.trial import try_features
from t2.spec import DEFAULT_GRID, LabelJob
from t2.training.data import BudgetData, Inputs, ReadPrompts


class BudgetDataModule(DataSettings, L.LightningDataModule):
    """Extracts features once, starts or joins a labeller if samples are missing, and serves batches as labels arrive.

    Batches are (pooled_BLD float32, `Targets`); where the LLM is a part of the LightningModule (`backbone` is not
    "cached"), they are (`Padded` prompts, `Targets`), and it reads features when somebody asks for them. `fit` begins
    when the whole validation set is labelled; epoch e trains on the first `ready(e)` train questions in labelling
    order. What can be configured are the fields of
    `DataSettings`; nothing is read before `prepare_data`.
    """

    def __post_init__(self) -> None:
        DataSettings.__post_init__(self)
        L.LightningDataModule.__init__(self)
        most = self.pool.samples_per_question
        self.budgets = check_grid(self.grid if self.grid is not None else cut_grid(DEFAULT_GRID, most), most)
        self._filling: FillingPool | None = None
        self._read: ReadPrompts | None = None

    @property
    def job(self) -> LabelJob:
        """What the key `data.pool` says; code here calls graded samples a pool."""
        return self.pool

    def prepare_data(self) -> None:
        """Render and check the questions; on a finished pool this needs no model."""
        prepare(self.job, self.allow_proxy)

    def setup(self, stage: str) -> None:
        """Features of all prompts first (the LLM is freed again), then the labeller if samples are missing."""
        if self._filling is None:
            self.prepared = prepare(self.job, self.allow_proxy).only_wanted()
            self._rows = rows_by_split(self.prepared.questions, self.splits)
            if stage == "fit":
                # Before the LLM is loaded and anything is labelled.
                check_calibration(self.dedup_keys("calibration"), self.min_calibration)
            self.reading = Reading.of(self.prepared, self)
            self.features_QLD = self._cached_features() if self.backbone == "cached" else None
            if self.backbone != "cached" and stage == "fit":
                try_features(self, partial(print, flush=True))
            self._labels: dict[str, tuple[GradedPool, BudgetLabels]] = {}
            self._filling = FillingPool(self.job, self.prepared, self.splits, self.stall_timeout_seconds)
        if stage != "cross_validate":  # which uses what is there
            self._filling.start_labeller_if_needed()
        if stage in ("fit", "validate"):
            self.filling.wait_for(self._rows["validation"])
        elif stage == "test":
            self.filling.wait_for(self._rows["test"])

    def teardown(self, stage: str) -> None:
        if self._filling is not None:
            self._filling.close()

    def on_exception(self, exception: BaseException) -> None:
        self.teardown("exception")  # which Lightning does not call where a run fails
        if isinstance(exception, Interrupted):
            before = f"labelling had not begun, what {self.job.path} holds is kept"
            exception.kept, exception.goes_on = self._filling.kept if self._filling else before, True

    @property
    def drawn(self) -> str:
        """What a labeller has drawn so far, in words; empty if none is at work."""
        return self._filling.drawn if self._filling else ""

    @property
    def filling(self) -> FillingPool:
        """The pool's samples, and the labeller that this run has started, if any; there after `setup`."""
        assert self._filling is not None, "`setup` comes first"
        return self._filling

    @property
    def feature_layers(self) -> tuple[int, ...]:
        return self.feature_spec.layers

    def read_with(self, read: ReadPrompts) -> None:
        """Where features are not cached, they are read so from now on."""
        self._read = read

    @property
    def head_shape(self) -> HeadShape:
        # A cache knows better than a model's config, which is not at hand everywhere.
        width = self.reading.width if self.features_QLD is None else self.features_QLD.shape[2]
        label_grid = cut_grid(self.budgets, max(1, self.job.samples_per_question // 2))
        return HeadShape(len(self.feature_spec.layers), width, self.budgets, label_grid)

    @property
    def export_info(self) -> DataRecord:
        train = self.split("train") if self.all_labelled("train") else None
        return data_record(
            self.job,
            self.prepared,
            self.reading,
            eps=self.eps,
            questions={name: len(rows) for name, rows in self._rows.items()},
            mean_tokens=float(train[0].mean_tokens_Q.mean()) if train else None,
            seen_keys=[*self.dedup_keys("train"), *self.dedup_keys("validation")],
        )

    def train_set(self, epoch: int) -> tuple[Inputs, Targets]:
        """Inputs and targets of the first `ready(epoch)` train questions; waits until they are labelled."""
        rows, targets = self._train_part(epoch)
        return self._prompts(rows) if self.features_QLD is None else self.features_QLD[rows], targets

    def _train_part(self, epoch: int) -> tuple[list[int], Targets]:
        """Rows and targets of an epoch's train questions; waits until they are labelled."""
        train = self._rows["train"]
        rows = train[: schedule.ready(epoch, len(train), self.max_epochs)]
        self.filling.wait_for(rows, in_training=True)
        self.filling.share_cores()
        return rows, self._targets(f"train[:{len(rows)}]", rows)

    def is_stage_start(self, epoch: int) -> bool:
        return schedule.is_stage_start(epoch, len(self._rows["train"]), self.max_epochs)

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches of the current epoch, in an order that depends on seed and epoch alone."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        partial = schedule.ready(0, len(self._rows["train"]), self.max_epochs) < len(self._rows["train"])
        every = getattr(self.trainer, "reload_dataloaders_every_n_epochs", 1)  # no trainer, no epoch but the first
        if partial and every != 1:
            raise T2Error("Expected `trainer.reload_dataloaders_every_n_epochs: 1`, since the train set grows. Set it.")
        rows, targets = self._train_part(epoch)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed * 100_003 + epoch))
        return self._loader([rows[index] for index in order.tolist()], targets.take(order))

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(rows := self._rows["validation"], self._targets("validation", rows))

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(rows := self._rows["test"], self._targets("test", rows))

    def predict_dataloader(self) -> DataLoader[Any]:
        """The test set; use it with `trainer.predict`."""
        self.wait_for("test")
        return self.test_dataloader()

    def split(self, name: str) -> tuple[GradedPool, BudgetLabels]:
        return self._labelled(name, self._rows[name])

    def features_of(self, name: str) -> Tensor:
        return self._features(self._rows[name])

    def together(self, *names: str) -> tuple[GradedPool, BudgetLabels, Tensor]:
        return *self.labelled(*names), self._features([row for name in names for row in self._rows[name]])

    def labelled(self, *names: str) -> tuple[GradedPool, BudgetLabels]:
        return self._labelled(" and ".join(names), [row for name in names for row in self._rows[name]])

    def dedup_keys(self, name: str) -> list[str]:
        return [self.prepared.questions[row].dedup_key for row in self._rows[name]]

    def wait_for(self, name: str) -> None:
        """Return when a split is labelled; starts a labeller if none runs.

        Raises:
            T2Error: the labeller died, or no sample came for too long.
        """
        self.filling.wait_for(self._rows[name], in_training=sys.stdout.isatty())  # where Lightning's bar still is

    def all_labelled(self, name: str) -> bool:
        return self.filling.all_labelled(self._rows[name])

    def labelled_part(self, name: str, fewest: int) -> tuple[GradedPool, BudgetLabels, Tensor] | None:
        """Samples, labels and features (Q, L, D) of a split's questions that are labelled by now, in labelling order.

        Args:
            name: of the split.
            fewest: questions below which there is nothing worth having: None.
        """
        self.filling.all_labelled(self._rows[name])  # takes in what has come since the last look
        complete = set(self.filling.complete())
        rows = [row for row in self._rows[name] if row in complete]
        if len(rows) < max(fewest, 1):
            return None
        return *self._labelled(f"{len(rows)} of {name}", rows), self._features(rows)

    def complete_questions(
        self, fold_seeds: Sequence[int] = FOLD_SEEDS
    ) -> tuple[GradedPool, BudgetLabels, Tensor, list[str]]:
        """Samples, labels, features and texts of every labelled question, for cross-validations with these seeds.

        Raises:
            T2Error: too few for cross-validation, or too many that share their dedup key.
        """
        rows = self.filling.complete()
        keys = [self.prepared.questions[row].dedup_key for row in rows]
        check_enough(keys, fold_seeds, f"questions with {self.job.samples_per_question} samples", self.job.path)
        pool, labels = self._labelled("complete", rows)
        return pool, labels, self._features(rows), [self.prepared.questions[row].text for row in rows]

    def state_dict(self) -> dict[str, Any]:
        """What a run with this checkpoint must have in common with the one that wrote it."""
        return {
            "grid": list(self.budgets),
            "eps": self.eps,
            "splits": asdict(self.splits),
            "samples_per_question": self.job.samples_per_question,
            "features": self.feature_spec.fingerprint,
            "seed": self.seed,
            "max_epochs": self.max_epochs,
            "train_questions": len(self._rows["train"]),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse other data than that of the checkpoint.

        A resumed run keeps the pace at which the train set of the run before grew, so that each epoch sees what it
        would have seen there; its own `trainer.max_epochs` only says when it ends.
        """
        resumes = self.trainer is None or self.trainer.state.fn == "fit"
        check_same_data(state_dict, self.state_dict(), resumes)
        if resumes:
            pace = state_dict["max_epochs"]
            check_pace(len(self._rows["train"]), pace, self.max_epochs)
            self.max_epochs = pace

    @property
    def feature_spec(self) -> FeatureSpec:
        """What is read of the prompts, and by which LLM."""
        return self.reading.spec

    def model_folder(self) -> Path:
        return self.reading.model_folder()

    def _cached_features(self) -> Tensor:
        """From the cache, or from the LLM, which is freed before a labeller starts."""
        names = [question.id for question in self.prepared.questions]
        spec, prompts = self.feature_spec, self.prepared.prompts
        try:
            return pooled_features(self.features_root, spec, prompts, self.model_folder, names)
        except T2Error as error:
            raise T2Error(f"{error} This run has drawn no sample yet.") from error

    def _prompts(self, rows: Sequence[int]) -> list[Sequence[int]]:
        return [self.prepared.prompts[row] for row in rows]

    def _features(self, rows: Sequence[int]) -> Tensor:
        """Features of questions, (Q, L, D): from the cache, or read now."""
        if self.features_QLD is not None:
            return self.features_QLD[list(rows)]
        if self._read is None:
            raise T2Error(
                f"Expected `model.backbone: cached` where no LightningModule reads prompts, got {self.backbone}. "
                "Choose cached for `cross_validate`."
            )
        return self._read(self._prompts(rows))

    def _labelled(self, key: str, rows: Sequence[int]) -> tuple[GradedPool, BudgetLabels]:
        if key not in self._labels:
            pool = self.filling.graded(rows)
            self._labels[key] = pool, budget_labels(pool, self.budgets, self.eps, self._first)
        return self._labels[key]

    @cached_property
    def _first(self) -> First:
        """Settled once for all splits: an imported pool may have the greedy answers of one split and not of another."""
        complete = self.filling.graded(self.filling.complete())
        return "auto" if bool(complete.greedy_present_Q.all()) else "sampled"

    def _targets(self, key: str, rows: Sequence[int]) -> Targets:
        pool, labels = self._labelled(key, rows)
        return targets_of(labels, pool)

    def _loader(self, rows: Sequence[int], targets: Targets) -> DataLoader[Any]:
        """Batches of these questions, in their order."""

        def batch(positions: list[int]) -> tuple[Tensor | Padded, Targets]:
            chosen = [rows[position] for position in positions]
            inputs = right_pad(self._prompts(chosen)) if self.features_QLD is None else self.features_QLD[chosen]
            return inputs, targets.take(torch.tensor(positions))

        return DataLoader(range(len(rows)), batch_size=self.batch_size, collate_fn=batch)  # type: ignore[arg-type]


if TYPE_CHECKING:  # the type checker sees to it that training finds here what it asks for
    _: type[BudgetData] = BudgetDataModule
