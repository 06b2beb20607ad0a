"""The claims that a comparison is made for, by letter, and the same claims repeated on some of its questions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
class _Rivals:
    """The two sides of every claim."""

    then_stop: Outcome
    one_round: Outcome
    by_area: Outcome
    no_head: Outcome
    stopper: Outcome
    utilities: dict[str, Outcome]
    """controls by name of the policy"""
    then_stops: dict[str, Outcome]
    """the same as priors"""
    fixed: Frontier
    reference: Replay

    @staticmethod
    def of(comparison: Comparison, named: Mapping[str, Outcome], sources: Sequence[Source]) -> _Rivals:
        """Read them off."""
        controls, outcomes = [source.name for source in sources if source.kind != "head"], comparison.outcomes
        return _Rivals(
            then_stop=named["best HeadThenStop"],
            one_round=named["best one-round head"],
            by_area=named[BY_AREA],
            no_head=outcomes["NoHeadThenStop"],
            stopper=named["best stopper"],
            utilities={name: outcomes[name] for name in (f"{control} + bins + Utility" for control in controls)},
            then_stops={name: outcomes[name] for name in (f"{control} + HeadThenStop" for control in controls)},
            fixed=outcomes["FixedN"].frontier,
            reference=comparison.reference,
        )

    def take(self, rows: Tensor) -> _Rivals:
        """On some of the questions; nothing is fitted or chosen anew."""
        return _Rivals(
            then_stop=_taken(self.then_stop, rows),
            one_round=_taken(self.one_round, rows),
            by_area=_taken(self.by_area, rows),
            no_head=_taken(self.no_head, rows),
            stopper=_taken(self.stopper, rows),
            utilities={name: _taken(outcome, rows) for name, outcome in self.utilities.items()},
            then_stops={name: _taken(outcome, rows) for name, outcome in self.then_stops.items()},
            fixed=self.fixed.take(rows),
            reference=self.reference.take(rows),
        )

    def replays(self) -> list[Replay]:
        """All that any claim looks at."""
        tuned = (self.then_stop, self.one_round, self.no_head, self.stopper, *self.then_stops.values())
        swept = (self.by_area.frontier, self.fixed, *(outcome.frontier for outcome in self.utilities.values()))
        return [self.reference, *(o.tuned[-1] for o in tuned), *(r for frontier in swept for r in frontier.replays)]


def _taken(outcome: Outcome, rows: Tensor) -> Outcome:
    tuned = tuple(replay.take(rows) for replay in outcome.tuned)
    return replace(outcome, tuned=tuned, frontier=outcome.frontier.take(rows))


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


def repeated(
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
    def pair(mine: Outcome, name: str, theirs: Replay) -> Pair:
        tuned = mine.tuned[-1]
        return Pair(mine.name, name, resampled.difference(tuned, theirs), resampled.ratio(tuned, theirs))

    best, best_R = rivals.by_area.frontier, resampled.areas_R(rivals.by_area.frontier, rivals.fixed, n_ref)

    def over(theirs: Frontier) -> Interval:
        gap = 100 * (area(best, rivals.fixed, n_ref) - area(theirs, rivals.fixed, n_ref))
        return interval(gap, best_R - resampled.areas_R(theirs, rivals.fixed, n_ref))

    then_stop = rivals.then_stop
    return Claims(
        num_questions=len(rivals.reference.correct),
        pairs={
            "a": pair(then_stop, rivals.stopper.name, rivals.stopper.tuned[-1]),
            "b": pair(then_stop, rivals.no_head.name, rivals.no_head.tuned[-1]),
            "c": pair(rivals.one_round, "FixedN(N_ref)", rivals.reference),
        },
        best_head=rivals.by_area.name,
        area_over_controls={name: over(outcome.frontier) for name, outcome in rivals.utilities.items()},
        then_stop_over_controls={name: pair(then_stop, name, o.tuned[-1]) for name, o in rivals.then_stops.items()},
    )
