"""The claims that a comparison is made for, by letter, and the same claims repeated on some of its questions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.evaluation.bootstrap import Interval, interval
from t2.evaluation.comparison import Comparison, Outcome
from t2.evaluation.frontier import Frontier, area
from t2.evaluation.ladder import BY_AREA
from t2.evaluation.resampled import Resampled, difference_and_ratio
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
    other_seeds: tuple[tuple[float, float], ...]
    """difference and ratio at the other fold seeds; there the best of a field may be made of others"""


@dataclass(frozen=True)
class Gap:
    """The area of one contender minus another's, accuracy points."""

    value: Interval
    other_seeds: tuple[float, ...]
    """at the other fold seeds"""


@dataclass(frozen=True)
class Claims:
    """What is claimed on so many questions."""

    num_questions: int
    pairs: dict[str, Pair]
    """a to c, about sequential and one-round heads, by letter"""
    best_head: str
    """whose area d is about"""
    area_over_controls: dict[str, Gap]
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
class Rivals:
    """The two sides of every claim at one fold seed."""

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
    def of(comparison: Comparison, named: Mapping[str, Outcome], sources: Sequence[Source]) -> Rivals:
        """Of all questions.

        Args:
            comparison: of them.
            named: the best of each field, named out of fold.
            sources: what the contenders know.
        """
        controls, outcomes = [source.name for source in sources if source.kind != "head"], comparison.outcomes
        return Rivals(
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

    def take(self, rows: Tensor) -> Rivals:
        """On some of the questions; nothing is fitted or chosen anew."""
        return Rivals(
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

    def pairs(self) -> dict[str, tuple[_Side, _Side]]:
        """Claims a to c, in tokens at the tuned settings."""
        reference = _Side("FixedN(N_ref)", self.reference, self.fixed.frontier)
        return {
            "a": (self.then_stop, self.stopper),
            "b": (self.then_stop, self.no_head),
            "c": (self.one_round, reference),
        }

    def priors(self) -> dict[str, tuple[_Side, _Side]]:
        """Claim e, in tokens at the tuned settings, by the name of the control's rule."""
        return {side.name: (self.then_stop, side) for side in self.then_stops}

    def gap(self, control: str, n_ref: int) -> float:
        """Claim d: the best head's area minus that of a control, points."""
        fixed, utility = self.fixed.frontier, {side.name: side.frontier for side in self.utilities}[control]
        return 100 * (area(self.by_area.frontier, fixed, n_ref) - area(utility, fixed, n_ref))


def claims_of(rivals: Rivals, others: Sequence[Rivals], resampled: Resampled, n_ref: int) -> Claims:
    """The claims on the questions of `rivals`.

    Args:
        rivals: at the first fold seed, of which the intervals are.
        others: at the other fold seeds, of the same questions.
        resampled: with all replays of `rivals`.
        n_ref: samples at which areas end.
    """
    fixed, best = rivals.fixed.frontier, rivals.by_area.frontier
    best_R = resampled.areas_R(best, fixed, n_ref)

    def pair(sides: Callable[[Rivals], Mapping[str, tuple[_Side, _Side]]], key: str) -> Pair:
        (mine, theirs), elsewhere = sides(rivals)[key], [sides(other)[key] for other in others]
        return Pair(
            mine.name,
            theirs.name,
            resampled.difference(mine.tuned, theirs.tuned),
            resampled.ratio(mine.tuned, theirs.tuned),
            tuple(difference_and_ratio(first.tuned, second.tuned) for first, second in elsewhere),
        )

    def gap(utility: _Side) -> Gap:
        gap_R = best_R - resampled.areas_R(utility.frontier, fixed, n_ref)
        elsewhere = tuple(other.gap(utility.name, n_ref) for other in others)
        return Gap(interval(rivals.gap(utility.name, n_ref), gap_R), elsewhere)

    return Claims(
        num_questions=len(rivals.reference.correct),
        pairs={letter: pair(Rivals.pairs, letter) for letter in rivals.pairs()},
        best_head=rivals.by_area.name,
        area_over_controls={side.name: gap(side) for side in rivals.utilities},
        then_stop_over_controls={name: pair(Rivals.priors, name) for name in rivals.priors()},
    )
