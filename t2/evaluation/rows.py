"""One contender as a row of a report: accuracy, tokens and area with intervals, and other fold seeds. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from t2.evaluation.bootstrap import Interval
from t2.evaluation.comparison import ALLOWANCES, Comparison, Outcome
from t2.evaluation.frontier import area
from t2.evaluation.resampled import Resampled, difference_and_ratio


@dataclass(frozen=True)
class Row:
    """A contender, its settings chosen out of fold to lose at most 1 point against FixedN(N_ref)."""

    name: str
    kind: str
    source: str
    accuracy: Interval
    """percent"""
    difference: Interval
    """accuracy points against FixedN(N_ref)"""
    tokens: Interval
    """generated tokens a question"""
    ratio: Interval
    """of generated tokens to FixedN(N_ref)'s"""
    total_tokens: float
    """with the prompt once"""
    total_tokens_reprefilled: float
    """with the prompt in every round"""
    samples: float
    rounds: float
    peak: float
    order_error: float
    """standard error of the accuracy that the random orders leave, points"""
    half_point: tuple[Interval, Interval]
    """difference and ratio of the setting chosen to lose at most half a point"""
    area: Interval | None
    """against FixedN, points; None where there is no frontier"""
    other_seeds: tuple[tuple[float, float, float | None], ...]
    """difference, ratio and area at the other fold seeds"""
    chosen: tuple[float, ...]
    """the setting of each fold; none where there is no knob"""
    folds_without: int
    """folds whose training questions had no setting within 1 point, so that the most accurate one was taken"""


def row_of(
    outcome: Outcome,
    first: Comparison,
    others: Sequence[tuple[Comparison, Outcome]],
    resampled: Resampled,
    n_ref: int,
) -> Row:
    """A contender.

    Args:
        outcome: of the first comparison, or made of its outcomes.
        first: at the fold seed of which the intervals are.
        others: each other fold seed with its outcome of that name.
        resampled: the outcome's replays and the reference among others.
        n_ref: samples at which the area ends.
    """
    mine, half = outcome.tuned[-1], outcome.tuned[ALLOWANCES.index(0.005)]
    fixed = first.outcomes["FixedN"].frontier
    has_frontier = len(outcome.frontier.replays) > 1
    return Row(
        name=outcome.name,
        kind=outcome.kind,
        source=outcome.source,
        accuracy=resampled.accuracy(mine),
        difference=resampled.difference(mine, first.reference),
        tokens=resampled.tokens(mine),
        ratio=resampled.ratio(mine, first.reference),
        total_tokens=float(mine.total_tokens.mean()),
        total_tokens_reprefilled=float(mine.total_tokens_reprefilled.mean()),
        samples=float(mine.samples.mean()),
        rounds=float(mine.rounds.mean()),
        peak=float(mine.peak.mean()),
        order_error=100 * mine.order_error,
        half_point=(resampled.difference(half, first.reference), resampled.ratio(half, first.reference)),
        area=resampled.area(outcome.frontier, fixed, n_ref) if has_frontier else None,
        other_seeds=tuple(_at_seed(c, o, n_ref) for c, o in others),
        chosen=tuple(setting for setting in outcome.chosen if setting == setting),  # NaN: no knob
        folds_without=0 if outcome.kind == "reference" else sum(not fold.within for fold in outcome.folds),
    )


def _at_seed(comparison: Comparison, outcome: Outcome, n_ref: int) -> tuple[float, float, float | None]:
    has_frontier = len(outcome.frontier.replays) > 1
    gained = area(outcome.frontier, comparison.outcomes["FixedN"].frontier, n_ref) if has_frontier else None
    points, ratio = difference_and_ratio(outcome.tuned[-1], comparison.reference)
    return points, ratio, None if gained is None else 100 * gained


def reference_row(first: Comparison, resampled: Resampled) -> Row:
    """FixedN(N_ref) against itself."""
    reference = first.reference
    same = resampled.difference(reference, reference), resampled.ratio(reference, reference)
    return Row(
        name="FixedN(N_ref)",
        kind="reference",
        source="",
        accuracy=resampled.accuracy(reference),
        difference=same[0],
        tokens=resampled.tokens(reference),
        ratio=same[1],
        total_tokens=float(reference.total_tokens.mean()),
        total_tokens_reprefilled=float(reference.total_tokens_reprefilled.mean()),
        samples=float(reference.samples.mean()),
        rounds=1.0,
        peak=float(reference.peak.mean()),
        order_error=0.0,
        half_point=same,
        area=None,
        other_seeds=(),
        chosen=tuple(map(float, first.n_ref)),
        folds_without=0,
    )
