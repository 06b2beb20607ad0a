"""Sources for the comparison: heads trained by `BudgetProbe` inside the folds, and the controls beside them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from t2.curves.labels import BudgetLabels
from t2.evaluation.controls import best_layer_ridge, generator_difficulty, prompt_length, tfidf_ridge
from t2.evaluation.sources import FitPredict, Folds, Known, Source, cross_fitted
from t2.grading.graded import GradedPool
from t2.heads.base import Head, HeadShape, Targets, targets_of
from t2.training.module import BudgetProbe

MakeHead = Callable[[HeadShape], Head]


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


def head_fit_predict(
    make_head: MakeHead, shape: HeadShape, pooled_QLD: Tensor, targets: Targets, how: TrainSettings
) -> FitPredict:
    """A head as a source: trained anew on each set of questions."""

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        head = fit_head(make_head, shape, pooled_QLD[learn], targets.take(learn), how)
        with torch.no_grad():
            prediction = head.predict(head(pooled_QLD[held]))
        return Known(head.score(prediction).double(), prediction)

    return fit_predict


def sources(
    heads: dict[str, MakeHead],
    pooled_QLD: Tensor,
    pool: GradedPool,
    labels: BudgetLabels,
    texts: Sequence[str],
    fold_seed: int,
    how: TrainSettings,
) -> Iterator[Source]:
    """Every head and control, fitted in the folds of `fold_seed`, one after the other.

    Args:
        heads: name -> constructor.
        pooled_QLD: features.
        pool: graded samples of the same questions.
        labels: of the pool.
        texts: the questions.
        fold_seed: of the folds.
        how: of the heads' training.
    """
    shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
    targets, folds = targets_of(labels, pool.dedup_keys), Folds.of(pool.dedup_keys, fold_seed)
    level_Q, length_Q = labels.acc_QK.mean(1), labels.log_tokens_Q
    for name, make_head in heads.items():
        fit_predict = head_fit_predict(make_head, shape, pooled_QLD, targets, how)
        yield Source(name, "head", cross_fitted(fit_predict, folds))
    ridge = best_layer_ridge(pooled_QLD, level_Q, length_Q)
    yield Source("best layer ridge", "activations", cross_fitted(ridge, folds))
    yield Source("TF-IDF ridge", "text", cross_fitted(tfidf_ridge(texts, level_Q, length_Q), folds))
    yield Source("prompt length", "text", cross_fitted(prompt_length(pool.prompt_tokens_Q, length_Q), folds))
    if any(pool.families):
        difficulty = generator_difficulty(pool.families, pool.sizes, level_Q, length_Q)
        yield Source("generator difficulty", "generator", cross_fitted(difficulty, folds))
    shuffle = torch.randperm(len(pooled_QLD), generator=torch.Generator().manual_seed(how.seed))
    name, make_head = next(iter(heads.items()))  # one head is enough to show what chance gives
    shuffled = head_fit_predict(make_head, shape, pooled_QLD[shuffle], targets, how)
    yield Source(f"shuffled features ({name})", "nothing", cross_fitted(shuffled, folds))
