"""What more questions, more samples a question and a larger cap are worth: four rules at each amount. Pure.

At each amount every rule is fitted and tuned on what that amount leaves of the training questions, out of fold, and
scored on all samples of the test questions:

    questions         a share of the training questions, the same for heads, priors and settings; a larger share holds a
                      smaller one
    samples           the first m samples of each training question; whoever has no more draws no more, so the grid ends
                      there, and FixedN(N_ref) of all samples stays what the rule is compared with
    cap               the largest budget: FixedN(N_ref) grows with it
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from t2.comparison.contenders import Contender, fixed_frontier, of_head, references
from t2.comparison.identity import PLANNED, Key
from t2.comparison.outer_fold import OuterFold, limited, outcomes_of, swept
from t2.comparison.slices import Slice
from t2.comparison.sources import OUTER_FOLDS, Folds, Source
from t2.comparison.sweeps import Sweeps
from t2.comparison.tuning import ALLOWANCE, Target, in_order
from t2.curves.labels import BudgetLabels, budget_labels, cut_grid, reference_budget
from t2.grading.graded import GradedPool
from t2.hashing import unit_interval
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.resampled import Resampled

GROWTH = Sweeps(plan_prices=(0.8, 2.2, 4.5, 9.5), round_prices=(0.0, 0.25, 0.9, 2.8, math.inf))
"""What is tried at each cap: fewer plans than in a report, since at large caps planning takes nearly all the time."""


@dataclass(frozen=True)
class Amount:
    """How much the training questions give."""

    name: str
    share: float
    """of the training questions"""
    part: int
    """of the samples: M / part of each question"""


ALL = Amount("all questions", 1.0, 1)
QUESTIONS = (
    Amount("1/8 of the questions", 0.125, 1),
    Amount("1/4 of the questions", 0.25, 1),
    Amount("1/2 of the questions", 0.5, 1),
    ALL,
)
SAMPLES = (Amount("1/4 of the samples", 1.0, 4), Amount("1/2 of the samples", 1.0, 2), ALL)
AMOUNTS = (*QUESTIONS[:-1], *SAMPLES)
"""Those of a learning curve, each once."""


@dataclass(frozen=True)
class GrowthPoint:
    """A rule at an amount."""

    amount: str
    x: float
    """training questions of a fold (mean), samples of a question, or cap: what the amount is about"""
    n_ref: int
    """samples: that most training folds have"""
    rule: str
    source: str
    policy: str
    max_rounds: float | None
    """mean rounds that it was tuned to wait at most; None: any"""
    rounds: float
    difference: Interval
    """accuracy points against FixedN(N_ref) of all samples up to the cap"""
    ratio: Interval
    """of generated tokens"""
    area: Interval | None
    """points, over all settings; None: it has more than one knob"""


def learning_folds(dedup_keys: Sequence[str], fold_seed: int, amount: Amount) -> Folds:
    """The folds at an amount: of questions that share a key all may be learned from, or none."""
    folds = Folds.of(dedup_keys, fold_seed)
    if amount.share >= 1:
        return folds
    keep = torch.tensor([unit_interval("t2-learning-curve", key) < amount.share for key in dedup_keys])
    return Folds(folds.outer_Q, folds.inner_Q, keep)


def learning_part(
    pool: GradedPool, grid: tuple[int, ...], eps: float, amount: Amount
) -> tuple[GradedPool, BudgetLabels]:
    """The samples that are learned from, and labels on the part of the grid that they reach."""
    most = int(pool.present_QM.sum(1).min()) // amount.part
    if amount.part > 1:
        pool = pool.only((torch.arange(pool.vote_QM.shape[1]) < most).expand(pool.vote_QM.shape))
    return pool, budget_labels(pool, cut_grid(grid, most), eps)


def learning_curve(
    pool: GradedPool, labels: BudgetLabels, eps: float, sources: Mapping[str, Source], fold_seed: int, sweeps: Sweeps
) -> list[GrowthPoint]:
    """Every rule at every amount; `sources` by the name of the amount that they have learned from."""
    whole = Slice.of(pool, labels, fold_seed, sweeps.num_orders)
    points: list[GrowthPoint] = []
    for amount in AMOUNTS:
        folds = learning_folds(pool.dedup_keys, fold_seed, amount)
        part, own = learning_part(pool, labels.grid, eps, amount)
        learn = whole if amount.part == 1 else Slice.of(part, own, fold_seed, sweeps.num_orders)
        train = [len(folds.train_rows(fold)) for fold in range(OUTER_FOLDS)]
        x = float(part.vote_QM.shape[1] if amount.part > 1 else round(sum(train) / OUTER_FOLDS))
        points += _points(amount.name, x, learn, whole, folds, sources[amount.name], sweeps)
    return points


def by_cap(
    pool: GradedPool,
    grid: tuple[int, ...],
    eps: float,
    source: Source,
    fold_seed: int,
    caps: Sequence[int],
    sweeps: Sweeps,
) -> Iterator[GrowthPoint]:
    """Every rule at each cap, which must not be below the first budget."""
    folds = Folds.of(pool.dedup_keys, fold_seed)
    for cap in caps:
        labels = budget_labels(pool, cut_grid(grid, cap), eps)
        whole = Slice.of(pool, labels, fold_seed, sweeps.num_orders)
        yield from _points(f"cap {cap}", float(cap), whole, whole, folds, source.upto(len(labels.grid)), sweeps)


def _points(
    amount: str, x: float, learn: Slice, score: Slice, folds: Folds, source: Source, sweeps: Sweeps
) -> Iterator[GrowthPoint]:
    """The rules, learned from one slice of all questions and scored on another: the same, or one of more samples."""
    # What is compared with, N_ref of all that is scored, must not move with what is learned from.
    everyone = replace(folds, learn_Q=None)
    rivals = [reference_budget(score.labels.take(everyone.train_rows(fold))) for fold in range(OUTER_FOLDS)]
    n_ref = rivals  # of few questions N_ref is a matter of luck, and a fair comparison has one cap
    if learn is not score:  # of few samples it is their own, if that is smaller
        theirs = [reference_budget(learn.labels.take(folds.train_rows(fold))) for fold in range(OUTER_FOLDS)]
        n_ref = list(map(min, theirs, rivals))
    sides = [OuterFold.of(learn, score, folds, fold, n_ref[fold]) for fold in range(OUTER_FOLDS)]
    order, line = folds.test_order, fixed_frontier(score)
    at_ref = [line.replays[score.labels.grid.index(n)].take(folds.test_rows(fold)) for fold, n in enumerate(rivals)]
    fixed = in_order(at_ref, order)
    jobs = [_contenders(source, learn.labels.grid, sweeps.priced_for(side.train.pool)) for side in sides]
    clusters_Q, most = clusters_of(score.pool.dedup_keys), int(torch.tensor(rivals).mode().values)
    for same in zip(*jobs, strict=True):
        contender, limit = same[0]
        results = outcomes_of(sides, [own for own, _ in same], source if contender.key.source else None)
        tuned = limited([results], order).get(Target(ALLOWANCE, limit))
        if tuned is None:  # in some fold no setting waits so little
            continue
        frontier = contender.frontier(swept(results, order))
        resampled = Resampled([tuned, fixed, *frontier.replays, *line.replays], clusters_Q, sweeps.num_resamples)
        yield GrowthPoint(
            amount=amount,
            x=x,
            n_ref=most,
            rule=contender.key.display_name,
            source=contender.key.source,
            policy=contender.key.policy,
            max_rounds=None if math.isinf(limit) else limit,
            rounds=float(tuned.rounds.mean()),
            difference=resampled.difference(tuned, fixed),
            ratio=resampled.ratio(tuned, fixed),
            area=resampled.area(frontier, line, most) if frontier.is_swept else None,
        )


def _contenders(source: Source, grid: tuple[int, ...], sweeps: Sweeps) -> list[tuple[Contender, float]]:
    """The four rules, each with the rounds that it may take: any for ASC, which else could do little.

    A head without a curve has `PredictedN` in the place of `Utility`, and no planned rounds.
    """
    of_nobody = {contender.key: contender for contender in references(grid, sweeps)}
    own = {contender.key: contender for contender in of_head(source.name, source.folds[0].train, grid, sweeps)}
    wanted = (
        (own, Key("Utility", source.name), 1.0),
        (own if Key("Utility", source.name) not in own else {}, Key("PredictedN", source.name), 1.0),
        (own, Key(PLANNED, source.name), 2.0),
        (of_nobody, Key(PLANNED), 2.0),
        (of_nobody, Key("ASC"), math.inf),
    )
    return [(where[key], limit) for where, key, limit in wanted if key in where]
