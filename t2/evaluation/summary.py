"""From comparisons to statements: rows with intervals, claims, the waste ladder, what could be predicted at all. Pure.

Every interval is a percentile bootstrap over questions (those that share a dedup key together), and everything that is
compared shares its resamples. Fold seeds are shown apart: they are not questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.evaluation.bootstrap import Interval, interval
from t2.evaluation.comparison import Comparison, Outcome
from t2.evaluation.frontier import area
from t2.evaluation.ladder import BY_AREA, Rung, named_out_of_fold, rungs
from t2.evaluation.reliability import TargetRow, target_rows
from t2.evaluation.resampled import Resampled
from t2.evaluation.rows import Row, reference_row, row_of
from t2.evaluation.sources import Source
from t2.heads.base import Prediction, concatenated
from t2.policies.base import Replay


@dataclass(frozen=True)
class Pair:
    """One contender against another, paired over questions."""

    first: str
    second: str
    difference: Interval
    """accuracy points"""
    ratio: Interval
    """of generated tokens"""


@dataclass(frozen=True)
class Summary:
    """All that a report says of a comparison."""

    n_ref: int
    """the N_ref that most training folds have"""
    label_top: int
    """the largest budget up to M/2, in samples: where `targets` end"""
    rows: tuple[Row, ...]
    ladder: tuple[Rung, ...]
    """tokens at equal accuracy (-1 point), from what nobody needs to know to what nobody can know"""
    pairs: dict[str, Pair]
    """the claims about sequential and one-round heads, by letter"""
    area_over_controls: dict[str, Interval]
    """best head's area minus each control's, points"""
    then_stop_over_controls: dict[str, Pair]
    """the best HeadThenStop against the same rule with each control as its prior"""
    best_head: str
    targets: tuple[TargetRow, ...]
    """how far each target can be known and how far heads know it; none if a question has only one sample"""


def summarise(
    comparisons: Sequence[Comparison], sources: Sequence[Source], clusters_Q: Tensor, eps: float = 0.02
) -> Summary:
    """Rows, ladder, claims and targets.

    Args:
        comparisons: one for each fold seed; intervals are of the first.
        sources: of the first.
        clusters_Q: the same number for questions that share a dedup key.
        eps: tolerance of N* that the labels were made with.
    """
    first = comparisons[0]
    n_ref = int(torch.tensor([n for c in comparisons for n in c.n_ref]).mode().values)
    named = named_out_of_fold(first, sources)
    outcomes = [*first.outcomes.values(), *named.values()]
    replays = [r for o in outcomes for r in (*o.tuned, *o.frontier.replays)]
    resampled = Resampled([first.reference, *replays], clusters_Q)
    reference = reference_row(first, resampled)
    rows = {reference.name: reference, **{o.name: row_of(o, comparisons, resampled, n_ref) for o in outcomes}}
    return Summary(
        n_ref=n_ref,
        label_top=first.labels.label_grid[-1],
        rows=(reference, *(rows[name] for name in first.outcomes)),
        ladder=tuple(rungs(rows, named)),
        pairs=_pairs(first, named, resampled),
        area_over_controls=_over_controls(first, named[BY_AREA], sources, resampled, n_ref),
        then_stop_over_controls=_then_stop_over_controls(first, named["best HeadThenStop"], sources, resampled),
        best_head=named[BY_AREA].name,
        targets=_targets(first, sources, clusters_Q, eps),
    )


def _pairs(first: Comparison, named: Mapping[str, Outcome], resampled: Resampled) -> dict[str, Pair]:
    """Claims a to c."""
    then_stop, stopper, no_head = named["best HeadThenStop"], named["best stopper"], first.outcomes["NoHeadThenStop"]
    return {
        "a": _pair(then_stop, stopper.name, stopper.tuned[-1], resampled),
        "b": _pair(then_stop, no_head.name, no_head.tuned[-1], resampled),
        "c": _pair(named["best one-round head"], "FixedN(N_ref)", first.reference, resampled),
    }


def _pair(outcome: Outcome, name: str, other: Replay, resampled: Resampled) -> Pair:
    mine = outcome.tuned[-1]
    return Pair(outcome.name, name, resampled.difference(mine, other), resampled.ratio(mine, other))


def _over_controls(
    first: Comparison, best: Outcome, sources: Sequence[Source], resampled: Resampled, n_ref: int
) -> dict[str, Interval]:
    """Claim d: area of the best head minus that of each control, all through `Utility`."""
    fixed = first.outcomes["FixedN"].frontier
    best_area, best_R = area(best.frontier, fixed, n_ref), resampled.areas_R(best.frontier, fixed, n_ref)
    found = {}
    for name in (f"{s.name} + bins + Utility" for s in sources if s.kind != "head"):
        theirs = first.outcomes[name].frontier
        gap = 100 * (best_area - area(theirs, fixed, n_ref))
        found[name] = interval(gap, best_R - resampled.areas_R(theirs, fixed, n_ref))
    return found


def _then_stop_over_controls(
    first: Comparison, best: Outcome, sources: Sequence[Source], resampled: Resampled
) -> dict[str, Pair]:
    """Claim e: whether a prior from activations is worth more than one from anything else."""
    names = [f"{source.name} + HeadThenStop" for source in sources if source.kind != "head"]
    return {name: _pair(best, name, first.outcomes[name].tuned[-1], resampled) for name in names}


def _targets(first: Comparison, sources: Sequence[Source], clusters_Q: Tensor, eps: float) -> tuple[TargetRow, ...]:
    """Reliability of what heads learn, and how far their out-of-fold predictions agree with it."""
    if first.halves is None:
        return ()
    said: dict[str, Prediction] = {
        source.name: concatenated([fold.test.prediction for fold in source.folds]).take(first.test_order)
        for source in sources
        if source.kind == "head"
    }
    return target_rows(first.halves, first.labels, said, clusters_Q, eps)
