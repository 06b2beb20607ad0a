"""The claims that a comparison is made for, by letter, and the same claims repeated on some of its questions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.evaluation.bootstrap import Interval, interval
from t2.evaluation.comparison import Comparison, Outcome
from t2.evaluation.frontier import Frontier, area
from t2.evaluation.ladder import BY_AREA
from t2.evaluation.resampled import Resampled
from t2.evaluation.sources import Source
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
class Claims:
    """What is claimed on so many questions."""

    num_questions: int
    pairs: dict[str, Pair]
    """a to c, about sequential and one-round heads, by letter"""
    best_head: str
    """whose area d is about"""
    area_over_controls: dict[str, Interval]
    """d: the best head's area minus each control's, all through `Utility`, points"""
    then_stop_over_controls: dict[str, Pair]
    """e: the best HeadThenStop against the same rule with each control as its prior"""


@dataclass(frozen=True)
class _Side:
    """One side of a claim, tuned and swept."""

    name: str
    tuned: Replay
    frontier: Frontier

    @staticmethod
    def of(outcome: Outcome) -> _Side:
        return _Side(outcome.name, outcome.tuned[-1], outcome.frontier)

    def take(self, rows: Tensor) -> _Side:
        return _Side(self.name, self.tuned.take(rows), self.frontier.take(rows))


@dataclass(frozen=True)
class _Rivals:
    """The two sides of every claim."""

    then_stop: _Side
    one_round: _Side
    by_area: _Side
    no_head: _Side
    stopper: _Side
    fixed: _Side
    reference: Replay
    utilities: tuple[_Side, ...]
    """controls"""
    then_stops: tuple[_Side, ...]
    """controls as priors"""

    @staticmethod
    def of(comparison: Comparison, named: Mapping[str, Outcome], sources: Sequence[Source]) -> _Rivals:
        controls, outcomes = [source.name for source in sources if source.kind != "head"], comparison.outcomes
        return _Rivals(
            then_stop=_Side.of(named["best HeadThenStop"]),
            one_round=_Side.of(named["best one-round head"]),
            by_area=_Side.of(named[BY_AREA]),
            no_head=_Side.of(outcomes["NoHeadThenStop"]),
            stopper=_Side.of(named["best stopper"]),
            fixed=_Side.of(outcomes["FixedN"]),
            reference=comparison.reference,
            utilities=tuple(_Side.of(outcomes[f"{control} + bins + Utility"]) for control in controls),
            then_stops=tuple(_Side.of(outcomes[f"{control} + HeadThenStop"]) for control in controls),
        )

    def take(self, rows: Tensor) -> _Rivals:
        """On some of the questions; nothing is fitted or chosen anew."""
        return _Rivals(
            then_stop=self.then_stop.take(rows),
            one_round=self.one_round.take(rows),
            by_area=self.by_area.take(rows),
            no_head=self.no_head.take(rows),
            stopper=self.stopper.take(rows),
            fixed=self.fixed.take(rows),
            reference=self.reference.take(rows),
            utilities=tuple(side.take(rows) for side in self.utilities),
            then_stops=tuple(side.take(rows) for side in self.then_stops),
        )

    def replays(self) -> list[Replay]:
        """All that any claim looks at."""
        tuned = (self.then_stop, self.one_round, self.no_head, self.stopper, *self.then_stops)
        swept = (self.by_area, self.fixed, *self.utilities)
        return [self.reference, *(side.tuned for side in tuned), *(r for side in swept for r in side.frontier.replays)]


def claims_of(
    comparison: Comparison, named: Mapping[str, Outcome], sources: Sequence[Source], resampled: Resampled, n_ref: int
) -> Claims:
    """The claims on all questions.

    Args:
        comparison: of them.
        named: the best of each field, named out of fold.
        sources: what the contenders know.
        resampled: with all their replays.
        n_ref: samples at which areas end.
    """
    return _claims(_Rivals.of(comparison, named, sources), resampled, n_ref)


def claims_on(
    comparison: Comparison,
    named: Mapping[str, Outcome],
    sources: Sequence[Source],
    rows: Tensor,
    clusters_Q: Tensor,
    n_ref: int,
) -> Claims:
    """The claims on some questions alone, each scored in the fold that decided nothing about it, as before.

    Args:
        comparison: of all questions.
        named: as for `claims_of`.
        sources: as for `claims_of`.
        rows: questions that count.
        clusters_Q: of all questions; the same number for those that are drawn together.
        n_ref: samples at which areas end.
    """
    rivals = _Rivals.of(comparison, named, sources).take(rows)
    return _claims(rivals, Resampled(rivals.replays(), clusters_Q[rows]), n_ref)


def _claims(rivals: _Rivals, resampled: Resampled, n_ref: int) -> Claims:
    fixed, best = rivals.fixed.frontier, rivals.by_area.frontier
    best_area, best_R = area(best, fixed, n_ref), resampled.areas_R(best, fixed, n_ref)

    def pair(mine: _Side, name: str, theirs: Replay) -> Pair:
        return Pair(mine.name, name, resampled.difference(mine.tuned, theirs), resampled.ratio(mine.tuned, theirs))

    def over(theirs: Frontier) -> Interval:
        gap = 100 * (best_area - area(theirs, fixed, n_ref))
        return interval(gap, best_R - resampled.areas_R(theirs, fixed, n_ref))

    return Claims(
        num_questions=len(rivals.reference.correct),
        pairs={
            "a": pair(rivals.then_stop, rivals.stopper.name, rivals.stopper.tuned),
            "b": pair(rivals.then_stop, rivals.no_head.name, rivals.no_head.tuned),
            "c": pair(rivals.one_round, "FixedN(N_ref)", rivals.reference),
        },
        best_head=rivals.by_area.name,
        area_over_controls={side.name: over(side.frontier) for side in rivals.utilities},
        then_stop_over_controls={s.name: pair(rivals.then_stop, s.name, s.tuned) for s in rivals.then_stops},
    )
