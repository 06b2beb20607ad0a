"""The published comparison: every head x policy, cross-validated over questions, settings chosen out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.labels import BudgetLabels, dataset_optimum
from t2.evaluation.compare import PRICES as UTILITY_PRICES
from t2.evaluation.compare import Frontier, baselines, fixed_frontier, head_frontiers, one_round_frontier
from t2.evaluation.decision import fit_bins
from t2.evaluation.tuning import cheapest_within
from t2.grading.graded import GradedPool
from t2.heads.base import Head, HeadShape, targets_of
from t2.policies.base import Replay
from t2.policies.one_round import Utility
from t2.training.cross_validation import FoldPrediction, TrainSettings, cross_validate


@dataclass(frozen=True)
class Outcome:
    """A policy on all questions, each scored in the fold that did not choose anything about it."""

    name: str
    tuned: Replay
    """at the setting chosen in the other folds"""
    frontier: Frontier
    """at every setting"""
    chosen: tuple[float, ...]
    """the setting chosen for each fold"""


@dataclass(frozen=True)
class Comparison:
    """All policies at one fold seed."""

    fold_seed: int
    outcomes: tuple[Outcome, ...]
    n_ref: tuple[int, ...]
    """N_D of the training questions of each fold"""

    def outcome(self, name: str) -> Outcome:
        """By name."""
        return next(outcome for outcome in self.outcomes if outcome.name == name)


def compare(
    heads: dict[str, Callable[[HeadShape], Head]],
    pooled_QLD: Tensor,
    pool: GradedPool,
    labels: BudgetLabels,
    fold_seed: int,
    how: TrainSettings,
) -> Comparison:
    """Every head with every policy it can serve, beside the baselines.

    N_ref (the reference budget and the cap of sequential policies) is N_D of each fold's training questions.
    """
    shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
    targets = targets_of(labels, pool.dedup_keys)
    collected: dict[str, list[tuple[Frontier, int, FoldPrediction]]] = {}
    n_refs: list[int] = []
    for head_name, make_head in heads.items():
        folds = cross_validate(make_head, shape, pooled_QLD, targets, pool.dedup_keys, fold_seed, how)
        for fold in folds:
            for train, test in _head_pairs(head_name, fold, pool, labels):
                collected.setdefault(test.name, []).append((test, _choose(train, fold, pool, labels), fold))
    for fold in folds:  # the same questions for every head
        n_ref = _n_ref(labels, fold.train_rows)
        n_refs.append(n_ref)
        train_all, test_all = (
            baselines(labels.take(rows), pool.take(rows), n_ref, fold_seed)
            for rows in (fold.train_rows, fold.test_rows)
        )
        for train, test in zip(train_all, test_all, strict=True):
            setting = train.settings.index(n_ref) if train.name == "FixedN" else _choose(train, fold, pool, labels)
            collected.setdefault(test.name, []).append((test, setting, fold))
    outcomes = tuple(_assembled(name, parts, len(pool)) for name, parts in collected.items())
    return Comparison(fold_seed, outcomes, tuple(n_refs))


def _n_ref(labels: BudgetLabels, rows: Tensor) -> int:
    return labels.grid[dataset_optimum(labels.acc_QK[rows])]


def _head_pairs(
    head_name: str, fold: FoldPrediction, pool: GradedPool, labels: BudgetLabels
) -> list[tuple[Frontier, Frontier]]:
    """Frontiers on training (out of fold) and test questions, the head's own policies and the common decision layer."""
    train_pool, train_labels = pool.take(fold.train_rows), labels.take(fold.train_rows)
    test_pool, test_labels = pool.take(fold.test_rows), labels.take(fold.test_rows)
    pairs = list(
        zip(
            head_frontiers(head_name, fold.train, train_labels, train_pool),
            head_frontiers(head_name, fold.test, test_labels, test_pool),
            strict=True,
        )
    )
    bins = fit_bins(fold.train_score, train_labels.acc_QK)
    name = f"{head_name} + bins + Utility"
    binned = [
        one_round_frontier(name, Utility, UTILITY_PRICES, bins.predict(score, own.log_tokens_B), on_labels, on_pool)
        for score, own, on_labels, on_pool in (
            (fold.train_score, fold.train, train_labels, train_pool),
            (fold.test_score, fold.test, test_labels, test_pool),
        )
    ]
    return [*pairs, (binned[0], binned[1])]


def _choose(train: Frontier, fold: FoldPrediction, pool: GradedPool, labels: BudgetLabels) -> int:
    """The cheapest setting within one point of FixedN(N_ref) on the training questions."""
    rows = fold.train_rows
    fixed = fixed_frontier(labels.take(rows), pool.take(rows))
    reference = float(fixed.accuracy_P[fixed.settings.index(_n_ref(labels, rows))])
    return cheapest_within(train, reference)


def _assembled(name: str, parts: Sequence[tuple[Frontier, int, FoldPrediction]], num_questions: int) -> Outcome:
    """Put the folds' test questions back into the order of the pool."""
    order = torch.cat([fold.test_rows for _, _, fold in parts]).argsort()
    assert len(order) == num_questions

    def joined(replays: Sequence[Replay]) -> Replay:
        return Replay(**{field: torch.cat([getattr(r, field) for r in replays])[order] for field in vars(replays[0])})

    settings = parts[0][0].settings
    sweep = tuple(joined([test.replays[index] for test, _, _ in parts]) for index in range(len(settings)))
    tuned = joined([test.replays[chosen] for test, chosen, _ in parts])
    return Outcome(name, tuned, Frontier(name, settings, sweep), tuple(settings[chosen] for _, chosen, _ in parts))
