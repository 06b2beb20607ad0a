"""Sources for the comparison: heads trained by `BudgetProbe` inside the folds, and the controls beside them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil

import lightning as L
import torch
from joblib import Parallel, cpu_count, delayed
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from t2.comparison.controls import controls_of
from t2.comparison.growth import AMOUNTS, Amount, learning_folds, learning_part
from t2.comparison.identity import LAST_LAYER, SHUFFLED
from t2.comparison.sources import INNER_FOLDS, OUTER_FOLDS, FitPredict, Folds, Known, Unfitted, enough_for_folds
from t2.curves.labels import BudgetLabels
from t2.endings import SIGNALS, no_signals_in_children
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.hardware import one_thread
from t2.heads.base import Head, HeadShape, Targets, targets_of
from t2.progress import Counts
from t2.training.module import Batch, BudgetProbe

MakeHead = Callable[[HeadShape], Head]
FITS_A_SOURCE = OUTER_FOLDS * (1 + INNER_FOLDS)
"""of one fold seed"""
TRAINED = ("head", "nothing")
"""Kinds of sources that are heads, one of them on shuffled features."""
CONTROL_SECONDS = 0.05
"""Time of a control's fit where that of a head is 1: 0.1 s beside 1 to 4 s (800 questions, 40 epochs)."""


@dataclass(frozen=True)
class TrainSettings:
    """How a head is trained in cross-validation."""

    max_epochs: int = 40
    batch_size: int = 64
    seed: int = 0


def fit_head(make_head: MakeHead, shape: HeadShape, pooled_QLD: Tensor, targets: Targets, how: TrainSettings) -> Head:
    """Train a head with `BudgetProbe`: all questions from the first epoch on, no validation, the last weights."""
    torch.manual_seed(how.seed)
    probe = BudgetProbe(make_head)
    head = probe.build(shape)
    probe.train_inputs, probe.train_targets = pooled_QLD, targets
    probe.start_stage()

    def batch(rows: list[tuple[Tensor]]) -> Batch:
        index_B = torch.stack([row for (row,) in rows])
        return pooled_QLD[index_B], targets.take(index_B)

    loader = DataLoader(
        TensorDataset(torch.arange(len(pooled_QLD))),
        batch_size=how.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(how.seed),
        collate_fn=batch,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        trainer = L.Trainer(
            max_epochs=how.max_epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(probe, loader)
    return head.eval()


def head_fit_predict(
    make_head: MakeHead, shape: HeadShape, pooled_QLD: Tensor, targets: Targets, how: TrainSettings
) -> FitPredict:
    """A head as a source: trained anew on each set of questions."""

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        head = fit_head(make_head, shape, pooled_QLD[learn], targets.take(learn), how)
        return Known.of_head(head, pooled_QLD[held])

    return fit_predict


def unfitted_sources(
    heads: Mapping[str, MakeHead],
    pooled_QLD: Tensor,
    pool: GradedPool,
    labels: BudgetLabels,
    texts: Sequence[str],
    how: TrainSettings,
) -> tuple[Unfitted, ...]:
    """Every head, every control, and the first head on the last layer alone and on shuffled features; untrained."""
    shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
    targets = targets_of(labels, pool)
    # Features of other questions: what a head predicts from them, it has from the labels' distribution alone.
    shuffle = torch.randperm(len(pooled_QLD), generator=torch.Generator().manual_seed(how.seed))
    name, make_head = next(iter(heads.items()))  # one head is enough to show what chance gives
    chance = head_fit_predict(make_head, shape, pooled_QLD[shuffle], targets, how)
    # What an engine can give that returns the last hidden state alone.
    last_shape = replace(shape, num_layers=1)
    last = head_fit_predict(make_head, last_shape, pooled_QLD[:, -1:], targets, how)
    return (
        *(
            Unfitted(name, "head", head_fit_predict(make_head, shape, pooled_QLD, targets, how))
            for name, make_head in heads.items()
        ),
        *controls_of(pool, labels, texts, pooled_QLD),
        Unfitted(f"{LAST_LAYER} ({name})", "activations", last),
        Unfitted(f"{SHUFFLED} ({name})", "nothing", chance),
    )


def sources_of_amounts(
    heads: Mapping[str, MakeHead],
    pooled_QLD: Tensor,
    pool: GradedPool,
    grid: tuple[int, ...],
    eps: float,
    how: TrainSettings,
    fold_seed: int,
) -> tuple[Unfitted, ...]:
    """The first head at every amount of a learning curve, untrained, by the name of the amount."""
    make_head, found = next(iter(heads.values())), list[Unfitted]()
    for amount in AMOUNTS:
        part, labels = learning_part(pool, grid, eps, amount)
        shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
        fit_predict = head_fit_predict(make_head, shape, pooled_QLD, targets_of(labels, part), how)
        folds = learning_folds(pool.dedup_keys, fold_seed, amount)
        check_can_learn(folds, amount)
        found.append(Unfitted(amount.name, "head", fit_predict, folds))
    return tuple(found)


def check_can_learn(folds: Folds, amount: Amount) -> None:
    """Make sure that a part of the questions fills the inner folds of every outer fold.

    Raises:
        T2Error: it does not.
    """
    if not enough_for_folds(folds):
        raise T2Error(
            f"Expected questions in every inner fold of {amount.name}, for a learning curve, got none in some. Label "
            "more questions."
        )


class FitsOnCores:
    """A `RunFits` with a process for each core. A fit has one thread: results do not depend on the number of cores."""

    def __init__(self, num_processes: int | None = None) -> None:
        # As many as this process may use cores, which a container may have fewer of than the machine.
        self.num_processes = cpu_count() if num_processes is None else num_processes
        self.on_fit: Callable[[], None] = lambda: None
        """called after each fit"""

    def __call__(self, fit_predict: FitPredict, fits: Sequence[tuple[Tensor, Tensor]]) -> list[Known]:
        jobs = (delayed(_on_one_thread)(fit_predict, learn, held) for learn, held in fits)
        with no_signals_in_children(*SIGNALS):  # Ctrl-C is for this process; its workers would print tracebacks
            results = Parallel(n_jobs=min(self.num_processes, len(fits)), return_as="generator")(jobs)
        fitted: list[Known] = []
        for known in results:  # a generator: each comes as soon as it and those before it are done
            fitted.append(known)
            self.on_fit()
        return fitted


class FitCount:
    """Counts fits for `progress`; the time left knows that controls are fitted in a moment."""

    def __init__(self, missing: Sequence[Unfitted], advance: Counts) -> None:
        """`missing` are sources in the order in which they are fitted, once for each fold seed."""
        seconds = (1.0 if source.kind in TRAINED else CONTROL_SECONDS for source in missing)
        each_fit = (each for each in seconds for _ in range(FITS_A_SOURCE))
        self._seconds_before = list(accumulate(each_fit, initial=0.0))
        self._advance, self._fits = advance, 0
        self._tell()

    def fit(self) -> None:
        self._fits += 1
        self._tell()

    def source(self) -> None:
        """All fits of a source are done, of which there are fewer where an inner fold has no questions."""
        self._fits = ceil(self._fits / FITS_A_SOURCE) * FITS_A_SOURCE
        self._tell()

    def _tell(self) -> None:
        self._advance(self._fits, share=self._seconds_before[self._fits] / max(self._seconds_before[-1], 1.0))


def _on_one_thread(fit_predict: FitPredict, learn: Tensor, held: Tensor) -> Known:
    with one_thread():
        return fit_predict(learn, held)
