"""The claims that a comparison is made for, by letter, and the same claims repeated on some of its questions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.comparison.compare import Comparison, Outcome
from t2.comparison.ladder import (
    BY_AREA,
    CONTROL_BY_AREA,
    CONTROL_THEN_STOP,
    IN_BINS,
    ONE_ROUND,
    REFERENCE,
    STOPPER,
    THEN_STOP,
)
from t2.policies.base import Replay
from t2.stats.bootstrap import Interval, interval
from t2.stats.frontier import Frontier, area
from t2.stats.resampled import Resampled, difference_and_ratio


@dataclass(frozen=True)
class Claim:
    """One contender against another, paired over questions."""

    letter: str
    """see `CLAIMS`"""
    first: str
    second: str
    difference: Interval
    """accuracy points, each at its tuned setting"""
    ratio: Interval
    """of generated tokens there"""
    area: Interval | None
    """area of the first minus that of the second over all settings, points; None: one of them is no single frontier"""
    other_seeds: tuple[tuple[float, float, float | None], ...]
    """difference, ratio and area at the other fold seeds; there the best of a field may be made of others"""


@dataclass(frozen=True)
class Claims:
    """What is claimed on so many questions."""

    num_questions: int
    claims: tuple[Claim, ...]

    def of(self, letter: str) -> tuple[Claim, ...]:
        """The claims with a letter: one against each rival."""
        return tuple(claim for claim in self.claims if claim.letter == letter)


@dataclass(frozen=True)
class _Side:
    """One side of a claim, tuned and swept."""

    name: str
    tuned: Replay
    frontier: Frontier

    @staticmethod
    def of(name: str, outcome: Outcome) -> _Side:
        return _Side(name, outcome.tuned[-1], outcome.frontier)

    @property
    def is_swept(self) -> bool:
        return len(self.frontier.replays) > 1

    def take(self, rows: Tensor) -> _Side:
        return _Side(self.name, self.tuned.take(rows), self.frontier.take(rows))


@dataclass(frozen=True)
class Rivals:
    """Both sides of every claim at one fold seed, and what areas are measured from."""

    sides: Mapping[str, _Side]
    versus: tuple[tuple[str, str, str], ...]
    """letter, name of the first side, name of the second"""
    fixed: Frontier

    @staticmethod
    def of(comparison: Comparison, everyone: Mapping[str, Outcome], controls: Sequence[str]) -> Rivals:
        """Of all questions.

        Args:
            comparison: of them.
            everyone: its contenders, and the best of each field, named out of fold.
            controls: sources that are no heads.
        """
        fixed = comparison.outcomes["FixedN"].frontier
        versus = tuple(_versus(everyone, controls))
        names = dict.fromkeys(name for _, *pair in versus for name in pair if name != REFERENCE)
        sides = {name: _Side.of(name, everyone[name]) for name in names}
        return Rivals({**sides, REFERENCE: _Side(REFERENCE, comparison.reference, fixed)}, versus, fixed)

    @property
    def num_questions(self) -> int:
        """That the claims are about."""
        return len(self.sides[REFERENCE].tuned.correct)

    def take(self, rows: Tensor) -> Rivals:
        """On some of the questions; nothing is fitted or chosen anew."""
        sides = {name: side.take(rows) for name, side in self.sides.items()}
        return Rivals(sides, self.versus, sides[REFERENCE].frontier)

    def replays(self) -> list[Replay]:
        """All that any claim looks at."""
        return [r for side in self.sides.values() for r in (side.tuned, *side.frontier.replays)]

    def pairs(self) -> Iterator[tuple[str, _Side, _Side]]:
        """Letter and sides of each claim."""
        return ((letter, self.sides[first], self.sides[second]) for letter, first, second in self.versus)

    def in_numbers(self, index: int, n_ref: int) -> tuple[float, float, float | None]:
        """Difference, ratio and area difference of a claim, without intervals."""
        _, first, second = self.versus[index]
        mine, theirs = self.sides[first], self.sides[second]
        points, ratio = difference_and_ratio(mine.tuned, theirs.tuned)
        if not (mine.is_swept and theirs.is_swept):
            return points, ratio, None
        gap = area(mine.frontier, self.fixed, n_ref) - area(theirs.frontier, self.fixed, n_ref)
        return points, ratio, 100 * gap


def _versus(everyone: Mapping[str, Outcome], controls: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    yield from (("a", THEN_STOP, STOPPER), ("b", THEN_STOP, "NoHeadThenStop"), ("c", ONE_ROUND, REFERENCE))
    best = [CONTROL_BY_AREA] if CONTROL_BY_AREA in everyone else []
    utilities = [*best, *(f"{control} + bins + Utility" for control in controls)]
    yield from (("d", BY_AREA, utility) for utility in utilities)
    yield from (("d, in bins", IN_BINS, utility) for utility in utilities)
    best = [CONTROL_THEN_STOP] if CONTROL_THEN_STOP in everyone else []
    yield from (("e", THEN_STOP, rule) for rule in (*best, *(f"{control} + HeadThenStop" for control in controls)))


def claims_of(rivals: Rivals, others: Sequence[Rivals], resampled: Resampled, n_ref: int) -> Claims:
    """The claims on the questions of `rivals`.

    Args:
        rivals: at the first fold seed, of which the intervals are.
        others: at the other fold seeds, of the same questions.
        resampled: with all replays of `rivals`.
        n_ref: samples at which areas end.
    """
    areas_R = {
        name: resampled.areas_R(side.frontier, rivals.fixed, n_ref)
        for name, side in rivals.sides.items()
        if side.is_swept
    }
    found = []
    for index, (letter, mine, theirs) in enumerate(rivals.pairs()):
        gap = rivals.in_numbers(index, n_ref)[2]
        found.append(
            Claim(
                letter,
                mine.name,
                theirs.name,
                difference=resampled.difference(mine.tuned, theirs.tuned),
                ratio=resampled.ratio(mine.tuned, theirs.tuned),
                area=None if gap is None else interval(gap, areas_R[mine.name] - areas_R[theirs.name]),
                other_seeds=tuple(other.in_numbers(index, n_ref) for other in others),
            )
        )
    return Claims(rivals.num_questions, tuple(found))
