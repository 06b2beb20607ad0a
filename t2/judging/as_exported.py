"""An exported head on questions that it has not learned from: as a source, and with its own policy as it serves. Pure.

Nothing is trained here, so what the head says of a question is the same in every fold. Everything that is fitted (bins,
atoms, settings, N_ref) is fitted by `compare`, out of fold on the questions at hand.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from t2.calibration.betting import observations
from t2.comparison.sources import OUTER_FOLDS, FoldKnown, Folds, Known, Source
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.policies.base import OneRound, Replay
from t2.policies.record import Policy, in_words
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
    rounds: float
    """a question"""
    path_ratio: Interval
    """of critical paths to FixedN(N_ref)'s: what a question waits for"""
    memory_ratio: Interval
    """of KV tokens held at once"""
    budget_shares: dict[int, float] | None
    """budget in samples -> share of the questions that get it; None: the policy looks at answers"""
    promise: Promise | None


def head_source(name: str, known: Known, folds: Folds) -> Source:
    """A head that learned from none of these questions: in each fold it says what it always says."""
    rows = [(folds.train_rows(fold), folds.test_rows(fold)) for fold in range(OUTER_FOLDS)]
    return Source(name, "head", tuple(FoldKnown(known.take(train), known.take(test)) for train, test in rows))


def as_exported(
    policy: Policy,
    replay: Replay,
    reference: Replay,
    pool: GradedPool,
    budget_shares: dict[int, float] | None = None,
    promise: Promise | None = None,
) -> AsExported:
    """Set the exported policy, replayed, beside FixedN(N_ref) on the questions of `pool`."""
    pair = (replay, reference)
    resampled = Resampled(pair, clusters_of(pool.dedup_keys), with_axes=pair)
    return AsExported(
        policy=in_words(policy),
        accuracy=resampled.accuracy(replay),
        tokens=resampled.tokens(replay),
        difference=resampled.difference(*pair),
        ratio=resampled.ratio(*pair),
        path_ratio=resampled.path_ratio(*pair),
        memory_ratio=resampled.memory_ratio(*pair),
        total_tokens=float(replay.total_tokens.mean()),
        samples=float(replay.samples.mean()),
        rounds=float(replay.rounds.mean()),
        budget_shares=budget_shares,
        promise=promise,
    )


def shares_of(policy: Policy, replay: Replay, grid: tuple[int, ...]) -> dict[int, float] | None:
    """Share of the questions that get each budget; None: the policy looks at answers."""
    if not isinstance(policy, OneRound):
        return None
    return {n: float((replay.samples == n).double().mean()) for n in grid}


def observed_promise(
    correct_Q: Tensor, pool: GradedPool, labels: BudgetLabels, n_ref: int | None, alpha: float, delta: float
) -> Promise:
    """What the policy, right with probability `correct_Q`, loses on these questions, as `calibrate` counts it.

    Without `n_ref` the promise was against every budget of the grid, so the hardest one counts.
    """
    loss_UK = observations(labels.served_QK - correct_Q[:, None], pool.dedup_keys)  # U: questions with own keys
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
