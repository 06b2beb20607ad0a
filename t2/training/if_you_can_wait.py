"""What planned rounds without any head would cost, beside the head that `fit` exports: perhaps a better choice. Pure.

Nothing of it needs a head: tuned on the train questions, each replayed by a fit that has not seen it, and replayed on
the questions that the exported head is judged on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from t2.comparison.contenders import Contender, nothing_known
from t2.comparison.fits import no_head_planned
from t2.comparison.identity import PLANNED, Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Folds
from t2.comparison.sweeps import FULL
from t2.comparison.tuning import ALLOWANCE, Target, held_out_frontier, inner_folds, pick_for
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.policies.base import Replay
from t2.policies.then_stop import Prices
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.resampled import Resampled

MAX_ROUNDS = 2.0
"""Mean rounds of a question that a user is thought to wait for."""
MIN_TRAIN = 40
"""Fewest train questions that a plan is made from and tuned on."""


@dataclass(frozen=True)
class IfYouCanWait:
    """Planned rounds without a head against one N for all."""

    prices: Prices
    rounds: float
    """mean of a question"""
    ratio: Interval
    """of generated tokens"""
    difference: Interval
    """of accuracy, points"""


def if_you_can_wait(
    train: tuple[GradedPool, BudgetLabels], on: tuple[GradedPool, BudgetLabels], fixed: Replay, n_ref: int
) -> IfYouCanWait | None:
    """Tune on train questions to lose at most 1 point in at most `MAX_ROUNDS`, replay on others.

    Args:
        train: samples and labels that the plan is made from.
        on: those that it is judged on, with the same grid.
        fixed: FixedN(n_ref) on the latter.
        n_ref: samples, also the cap.

    Returns:
        None where there are too few train questions, or a grid that is not theirs.
    """
    if on[1].greedy_right_Q is None:  # then nobody gets a greedy answer
        train = train[0], replace(train[1], greedy_right_Q=None)
    learn = Slice.of(*train, seed=0)
    inner_T = Folds.of(learn.pool.dedup_keys, fold_seed=0).inner_Q
    if len(learn.pool) < MIN_TRAIN or len(torch.unique(inner_T)) < 2 or n_ref not in learn.labels.grid:
        return None
    plans = FULL.priced_for(learn.pool).plans
    contender = Contender(Key(PLANNED), "sequential", plans, no_head_planned(plans))
    nothing = nothing_known(len(learn.pool))
    frontier = held_out_frontier(contender, inner_folds(learn, inner_T), nothing, n_ref)
    reference = float(learn.labels.served_QK[:, learn.labels.grid.index(n_ref)].mean())
    pick = pick_for(Target(ALLOWANCE, MAX_ROUNDS), frontier, reference)
    if pick is None:
        return None
    judged = Slice.of(*on, seed=0)
    replay = contender.fit(learn, nothing, n_ref)(judged, nothing_known(len(judged.pool)))(plans[pick.place])
    resampled = Resampled([replay, fixed], clusters_of(judged.pool.dedup_keys))
    return IfYouCanWait(
        plans[pick.place],
        float(replay.rounds.mean()),
        resampled.ratio(replay, fixed),
        resampled.difference(replay, fixed),
    )
