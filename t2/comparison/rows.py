"""One contender as a row of a report: accuracy, tokens and area with intervals, and other fold seeds. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from t2.comparison.compare import Comparison, Outcome
from t2.comparison.identity import Key, Role
from t2.comparison.outer_fold import ALLOWANCES
from t2.policies.base import Replay
from t2.stats.bootstrap import Interval
from t2.stats.frontier import Frontier, Setting, area, tokens_reaching
from t2.stats.resampled import Resampled, difference_and_ratio


@dataclass(frozen=True)
class Row:
    """A contender, its settings chosen out of fold to lose at most 1 point against FixedN(N_ref)."""

    name: str
    """for people alone: code compares the fields below"""
    kind: str
    source: str
    """as in `Outcome.frontier`, as are the next two"""
    policy: str
    in_bins: bool
    role: str
    """of `Role`, as "reference"; "" for a contender of its own"""
    accuracy: Interval
    """percent"""
    difference: Interval
    """accuracy points against FixedN(N_ref)"""
    tokens: Interval
    """generated tokens a question"""
    ratio: Interval
    """of generated tokens to FixedN(N_ref)'s"""
    same_accuracy: Interval
    """ratio of generated tokens to those with which FixedN is as accurate"""
    prompt_tokens: float
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
    crossing: float | None
    """ratio of tokens to FixedN(N_ref)'s at which the line of all settings first loses no more than 1 point against it:
    described on the very questions it is scored on, no setting to choose; None: nowhere, or no line"""
    other_seeds: tuple[tuple[float, float, float | None], ...]
    """difference, ratio and area at the other fold seeds"""
    chosen: tuple[Setting, ...]
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
    """A contender, or the best of a field.

    Intervals are of `first`, and `resampled` holds the replays of outcome and reference; `others` are the other fold
    seeds, each with its own outcome of that key. Areas end at `n_ref` samples.
    """
    mine, half = outcome.tuned[-1], outcome.tuned[ALLOWANCES.index(0.005)]
    fixed = first.outcomes[Key("FixedN")].frontier
    return Row(
        name=outcome.name,
        kind=outcome.kind,
        source=outcome.frontier.source,
        policy=outcome.frontier.policy,
        in_bins=outcome.frontier.in_bins,
        role=outcome.key if isinstance(outcome.key, Role) else "",
        accuracy=resampled.accuracy(mine),
        difference=resampled.difference(mine, first.reference),
        tokens=resampled.tokens(mine),
        ratio=resampled.ratio(mine, first.reference),
        same_accuracy=resampled.ratio_at_same_accuracy(mine, fixed),
        prompt_tokens=float(mine.prompt_tokens.mean()),
        total_tokens=float(mine.total_tokens.mean()),
        total_tokens_reprefilled=float(mine.total_tokens_reprefilled.mean()),
        samples=float(mine.samples.mean()),
        rounds=float(mine.rounds.mean()),
        peak=float(mine.peak.mean()),
        order_error=100 * mine.order_error,
        half_point=(resampled.difference(half, first.reference), resampled.ratio(half, first.reference)),
        area=resampled.area(outcome.frontier, fixed, n_ref) if outcome.frontier.is_swept else None,
        crossing=crossing(outcome.frontier, first.reference) if outcome.frontier.is_swept else None,
        other_seeds=tuple(_at_seed(c, o, n_ref) for c, o in others),
        chosen=tuple(setting for setting in outcome.chosen if setting == setting),  # NaN: no knob
        folds_without=0 if outcome.kind == "reference" else sum(not fold.within for fold in outcome.folds),
    )


def crossing(frontier: Frontier, reference: Replay) -> float | None:
    """See `Row.crossing`."""
    allowed = reference.correct.mean() - ALLOWANCES[-1]
    tokens = tokens_reaching(frontier.tokens_P[None], frontier.accuracy_P[None], allowed[None])
    ratio = float(tokens / reference.generated_tokens.mean())
    return ratio if math.isfinite(ratio) else None


def _at_seed(comparison: Comparison, outcome: Outcome, n_ref: int) -> tuple[float, float, float | None]:
    points, ratio = difference_and_ratio(outcome.tuned[-1], comparison.reference)
    if not outcome.frontier.is_swept:
        return points, ratio, None
    return points, ratio, 100 * area(outcome.frontier, comparison.outcomes[Key("FixedN")].frontier, n_ref)


def reference_row(first: Comparison, resampled: Resampled) -> Row:
    """FixedN(N_ref) against itself."""
    reference = first.reference
    frontier = Frontier(Role.REFERENCE.display_name, (float("nan"),), (reference,), "FixedN")
    outcome = Outcome(Role.REFERENCE, "reference", (), (reference,) * len(ALLOWANCES), frontier)
    row = row_of(outcome, first, (), resampled, max(first.n_ref))
    # FixedN at its own accuracy is itself: 1. Read off the line of FixedN it came out up to a third dearer: N_ref
    # differs between folds, so this row lies a hair beside that line, and where it is flat a hair is many tokens.
    return replace(row, same_accuracy=row.ratio, chosen=tuple(map(float, first.n_ref)))
