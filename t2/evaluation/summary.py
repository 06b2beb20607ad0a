"""From comparisons to statements: rows with intervals, targets, the waste ladder. Pure.

Every interval is a percentile bootstrap over questions (those that share a dedup key together), and everything that is
compared shares its resamples. Fold seeds are shown apart: they are not questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.evaluation.bootstrap import Interval, interval
from t2.evaluation.comparison import ALLOWANCES, STOPPERS, Comparison, FoldOutcome, Outcome, best_of
from t2.evaluation.frontier import area
from t2.evaluation.resampled import Resampled
from t2.evaluation.sources import Source
from t2.policies.base import Replay


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
    other_seeds: tuple[tuple[float, float, float], ...]
    """difference, ratio and area at the other fold seeds"""
    chosen: tuple[float, ...]
    """the setting of each fold"""


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
    rows: tuple[Row, ...]
    ladder: tuple[Row, ...]
    """tokens at equal accuracy (-1 point), from what nobody knows to what nobody can know"""
    pairs: dict[str, Pair]
    """the claims about sequential and one-round heads, by letter"""
    area_over_controls: dict[str, Interval]
    """best head's area minus each control's, points"""
    best_head: str


def summarise(comparisons: Sequence[Comparison], sources: Sequence[Source], clusters_Q: Tensor) -> Summary:
    """Rows, ladder and claims.

    Args:
        comparisons: one for each fold seed; intervals are of the first.
        sources: of the first.
        clusters_Q: the same number for questions that share a dedup key.
    """
    first = comparisons[0]
    n_ref = int(torch.tensor([n for c in comparisons for n in c.n_ref]).mode().values)
    named = _named_out_of_fold(first, sources)
    outcomes = [*first.outcomes.values(), *named.values()]
    replays = [r for o in outcomes for r in (*o.tuned, *o.frontier.replays)]
    resampled = Resampled([first.reference, *replays], clusters_Q)
    rows = {o.name: _row(o, comparisons, resampled, n_ref) for o in outcomes}
    reference = _reference_row(first, resampled)
    ladder = [named[key] if key in named else first.outcomes[key] for key in _ladder(first, sources)]
    controls = [f"{s.name} + bins + Utility" for s in sources if s.kind != "head"]
    best = named["best one-round head by area"]
    best_R, fixed = (
        resampled.areas_R(best.frontier, first.outcomes["FixedN"].frontier, n_ref),
        first.outcomes["FixedN"].frontier,
    )
    best_area = rows[best.name].area
    assert best_area is not None
    over = {}
    for name in controls:
        theirs = rows[name].area
        assert theirs is not None
        gap_R = best_R - resampled.areas_R(first.outcomes[name].frontier, fixed, n_ref)
        over[name] = interval(best_area.value - theirs.value, gap_R)
    then_stop, stopper = named["best HeadThenStop"], named["best stopper"]
    one_round = named["best one-round head"]
    no_head = first.outcomes["NoHeadThenStop"]
    pairs = {
        "a": _pair(then_stop, stopper.name, stopper.tuned[-1], resampled),
        "b": _pair(then_stop, no_head.name, no_head.tuned[-1], resampled),
        "c": _pair(one_round, "FixedN(N_ref)", first.reference, resampled),
    }
    return Summary(
        n_ref=n_ref,
        rows=(reference, *(rows[o.name] for o in first.outcomes.values())),
        ladder=(reference, *(rows[o.name] for o in ladder)),
        pairs=pairs,
        area_over_controls=over,
        best_head=best.name,
    )


def _named_out_of_fold(first: Comparison, sources: Sequence[Source]) -> dict[str, Outcome]:
    """The best of a field, named by each fold's training questions."""
    heads = [s.name for s in sources if s.kind == "head"]
    known = first.outcomes
    one_round = [o.name for o in known.values() if o.kind == "one round" and o.source in heads]
    with_price = [name for name in one_round if not name.endswith("PredictedN")]
    fields: dict[str, tuple[list[str], bool]] = {
        "best stopper": ([*STOPPERS], False),
        "best HeadThenStop": ([f"{name} + HeadThenStop" for name in heads], False),
        "best one-round head": (one_round, False),
        "best one-round head by area": (with_price, True),
    }

    def fewest_tokens(fold: FoldOutcome) -> float:
        return fold.train_tokens

    def largest_area(fold: FoldOutcome) -> float:
        return -fold.train_area

    return {
        title: best_of(first, names, largest_area if by_area else fewest_tokens, title)
        for title, (names, by_area) in fields.items()
    }


def _ladder(first: Comparison, sources: Sequence[Source]) -> Iterable[str]:
    """Contenders by what they know: the generator, the text, the activations, only sampling, the answers themselves."""
    for wanted in ("generator difficulty + bins + Utility", "TF-IDF ridge + bins + Utility"):
        if wanted in first.outcomes:
            yield wanted
    yield from ("best one-round head", "NoHeadThenStop", "best HeadThenStop")
    for oracle in ("BayesOracle", "OwnOracle"):
        if oracle in first.outcomes:
            yield oracle


def _pair(outcome: Outcome, name: str, other: Replay, resampled: Resampled) -> Pair:
    mine = outcome.tuned[-1]
    return Pair(outcome.name, name, resampled.difference(mine, other), resampled.ratio(mine, other))


def _row(outcome: Outcome, comparisons: Sequence[Comparison], resampled: Resampled, n_ref: int) -> Row:
    first = comparisons[0]
    mine, half = outcome.tuned[-1], outcome.tuned[ALLOWANCES.index(0.005)]
    fixed = first.outcomes["FixedN"].frontier
    has_frontier = len(outcome.frontier.replays) > 1
    others = [(c, c.outcomes[outcome.name]) for c in comparisons[1:] if outcome.name in c.outcomes]
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
        chosen=outcome.chosen,
    )


def _at_seed(comparison: Comparison, outcome: Outcome, n_ref: int) -> tuple[float, float, float]:
    mine, reference = outcome.tuned[-1], comparison.reference
    gained = area(outcome.frontier, comparison.outcomes["FixedN"].frontier, n_ref)
    return (
        100 * float(mine.correct.mean() - reference.correct.mean()),
        float(mine.generated_tokens.mean() / reference.generated_tokens.mean()),
        100 * gained,
    )


def _reference_row(first: Comparison, resampled: Resampled) -> Row:
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
    )
