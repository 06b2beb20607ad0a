"""An exported head on questions that it has not learned from: as a source, and with its own policy as it serves. Pure.

Nothing is trained here, so what the head says of a question is the same in every fold. Everything that is fitted (bins,
atoms, settings, N_ref) is fitted by `compare`, out of fold on the questions at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.calibration.betting import observations
from t2.calibration.settings import choices, in_words
from t2.comparison.sources import OUTER_FOLDS, FoldKnown, Folds, Known, Source
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.heads.base import Head, Prediction
from t2.policies.base import OneRound, Replay, replay_one_round
from t2.stats.bootstrap import Interval, clusters_of, mean_interval
from t2.stats.resampled import Resampled


@dataclass(frozen=True)
class Promise:
    """What calibration promised, and what these questions show."""

    alpha: float
    """accuracy (a share) that the setting was promised to lose less than"""
    delta: float
    """probability with which the promise may fail"""
    rival: str
    """what it was promised against"""
    loss: Interval
    """observed mean loss, a share; questions that share a dedup key count once, as in the promise"""

    @property
    def within(self) -> bool:
        return self.loss.value < self.alpha

    @property
    def verdict(self) -> str:
        observed = f"{100 * self.loss.value:.2f} points [{100 * self.loss.low:.2f}, {100 * self.loss.high:.2f}]"
        if self.loss.high < self.alpha:
            verdict = "kept here"
        elif self.loss.low >= self.alpha:
            verdict = "broken here"
        else:
            verdict = f"{'kept' if self.within else 'broken'} on the mean, but the interval leaves it open"
        return (
            f"Promise: loses less than {100 * self.alpha:g} points against {self.rival}, except with probability "
            f"{self.delta:g}. Observed loss {observed}: {verdict}."
        )


@dataclass(frozen=True)
class AsExported:
    """The head's own policy at its exported setting. Intervals: 95% bootstrap over questions."""

    policy: str
    """as "Utility(price=3.0)" """
    accuracy: Interval
    """percent"""
    tokens: Interval
    """generated tokens a question"""
    difference: Interval
    """accuracy points against FixedN(N_ref)"""
    ratio: Interval
    """of generated tokens to FixedN(N_ref)'s"""
    total_tokens: float
    """with the prompt once"""
    samples: float
    """a question"""
    budget_shares: dict[int, float]
    """budget in samples -> share of the questions that get it"""
    promise: Promise | None


def chosen_budgets(policy: OneRound, prediction: Prediction, grid: tuple[int, ...]) -> Tensor:
    """Index into `grid` of what the policy asks for, (Q,); `grid` is the head's or its beginning."""
    return choices(policy, prediction.upto(len(grid)), grid)


def known_of(head: Head, prediction: Prediction, num_budgets: int) -> Known:
    """What a head says of questions, its score taken before the grid is cut."""
    return Known(head.score(prediction).double(), prediction.upto(num_budgets))


def head_source(name: str, known: Known, folds: Folds) -> Source:
    """A head that learned from none of these questions: in each fold it says what it always says."""
    rows = [(folds.train_rows(fold), folds.test_rows(fold)) for fold in range(OUTER_FOLDS)]
    return Source(name, "head", tuple(FoldKnown(known.take(train), known.take(test)) for train, test in rows))


def as_exported(
    policy: OneRound,
    index_Q: Tensor,
    pool: GradedPool,
    labels: BudgetLabels,
    reference: Replay,
    promise: Promise | None = None,
) -> AsExported:
    """Replay the exported policy, whose `chosen_budgets` are `index_Q`, and set it beside FixedN(N_ref)."""
    replay = replay_one_round(index_Q, labels, pool)
    resampled = Resampled([replay, reference], clusters_of(pool.dedup_keys))
    shares = torch.bincount(index_Q, minlength=len(labels.grid)).double() / len(index_Q)
    return AsExported(
        policy=in_words(policy),
        accuracy=resampled.accuracy(replay),
        tokens=resampled.tokens(replay),
        difference=resampled.difference(replay, reference),
        ratio=resampled.ratio(replay, reference),
        total_tokens=float(replay.total_tokens.mean()),
        samples=float(replay.samples.mean()),
        budget_shares=dict(zip(labels.grid, shares.tolist(), strict=True)),
        promise=promise,
    )


def observed_promise(
    index_Q: Tensor, pool: GradedPool, labels: BudgetLabels, n_ref: int | None, alpha: float, delta: float
) -> Promise:
    """What the `chosen_budgets` lose on these questions, as `calibrate` counts it.

    Without `n_ref` the promise was against every budget of the grid, so the hardest one counts.
    """
    chosen_Q1 = labels.served_QK.gather(1, index_Q[:, None])
    loss_UK = observations(labels.served_QK - chosen_Q1, pool.dedup_keys)  # U: questions with keys of their own
    # What could be lost against any of them: the largest mean alone may hide one of which less is known.
    columns = range(len(labels.grid)) if n_ref is None else [labels.grid.index(n_ref)]
    losses = {column: mean_interval(loss_UK[:, column]) for column in columns}
    column = max(losses, key=lambda k: losses[k].high)
    rival = f"FixedN({labels.grid[column]})"
    return Promise(
        alpha=alpha,
        delta=delta,
        rival=f"every FixedN, here {rival}" if n_ref is None else rival,
        loss=losses[column],
    )
