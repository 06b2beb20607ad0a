"""Outer cross-validation over questions: each is predicted once, by a head that never saw it, trained by `BudgetProbe`.

For each outer fold, heads trained inside the other folds give out-of-fold predictions of the training questions too:
they fit the common decision layer and choose settings, so nothing of the test fold decides anything.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from t2.heads.base import Head, HeadShape, Prediction, Targets
from t2.splits import fold_of
from t2.training.module import BudgetProbe

OUTER_FOLDS, INNER_FOLDS = 5, 3


@dataclass(frozen=True)
class TrainSettings:
    """How a head is trained in cross-validation."""

    max_epochs: int = 40
    batch_size: int = 64
    seed: int = 0


@dataclass(frozen=True)
class FoldPrediction:
    """One outer fold."""

    test_rows: Tensor
    """indices of the questions that are tested"""
    train_rows: Tensor
    """indices of all others"""
    test: Prediction
    """of the test questions, by a head trained on all others"""
    train: Prediction
    """of the training questions, out of fold inside them"""
    test_score: Tensor
    train_score: Tensor


def fit_head(
    make_head: Callable[[HeadShape], Head], shape: HeadShape, pooled_QLD: Tensor, targets: Targets, how: TrainSettings
) -> Head:
    """Train a head with `BudgetProbe`: all questions from the first epoch on, no validation, the last weights."""
    torch.manual_seed(how.seed)
    probe = BudgetProbe(make_head)
    head = probe.build(shape)
    probe.train_pooled_QLD, probe.train_targets = pooled_QLD, targets
    probe.start_stage()
    generator = torch.Generator().manual_seed(how.seed)
    loader = DataLoader(
        TensorDataset(torch.arange(len(pooled_QLD))),
        batch_size=how.batch_size,
        shuffle=True,
        generator=generator,
        collate_fn=lambda rows: _batch(torch.stack([row[0] for row in rows]), pooled_QLD, targets),
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


def _batch(rows: Tensor, pooled_QLD: Tensor, targets: Targets) -> tuple[Tensor, Targets]:
    return pooled_QLD[rows], targets.take(rows)


def predict_rows(head: Head, pooled_BLD: Tensor) -> Prediction:
    """Predictions without gradients."""
    with torch.no_grad():
        return head.predict(head(pooled_BLD))


def cross_validate(
    make_head: Callable[[HeadShape], Head],
    shape: HeadShape,
    pooled_QLD: Tensor,
    targets: Targets,
    dedup_keys: Sequence[str],
    fold_seed: int,
    how: TrainSettings,
) -> list[FoldPrediction]:
    """All outer folds; questions with the same dedup key share a fold, outside and inside."""
    outer_Q = torch.tensor([fold_of(key, OUTER_FOLDS, fold_seed) for key in dedup_keys])
    inner_Q = torch.tensor([fold_of(key, INNER_FOLDS, 1000 + fold_seed) for key in dedup_keys])
    folds = []
    for fold in range(OUTER_FOLDS):
        test_rows = torch.nonzero(outer_Q == fold).squeeze(1)
        train_rows = torch.nonzero(outer_Q != fold).squeeze(1)
        head = fit_head(make_head, shape, pooled_QLD[train_rows], targets.take(train_rows), how)
        test = predict_rows(head, pooled_QLD[test_rows])
        parts, order = [], []
        for inner in range(INNER_FOLDS):
            held, learn = train_rows[inner_Q[train_rows] == inner], train_rows[inner_Q[train_rows] != inner]
            inner_head = fit_head(make_head, shape, pooled_QLD[learn], targets.take(learn), how)
            parts.append(predict_rows(inner_head, pooled_QLD[held]))
            order.append(held)
        train = concatenated(parts).take(torch.cat(order).argsort())
        folds.append(
            FoldPrediction(test_rows, train_rows, test, train, head.score(test).double(), head.score(train).double())
        )
    return folds


def concatenated(parts: Sequence[Prediction]) -> Prediction:
    """Predictions of several sets of questions, one after the other."""
    names = [name for name, value in vars(parts[0]).items() if value is not None]
    return Prediction(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
