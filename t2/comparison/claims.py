"""The claims that a comparison is made for, by letter, and the same claims repeated on some of its questions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.comparison.compare import Comparison, Outcome
from t2.comparison.identity import Key, Role
from t2.policies.base import Replay
from t2.stats.bootstrap import Interval, interval
from t2.stats.frontier import Frontier, area
from t2.stats.resampled import Resampled, difference_and_ratio


@dataclass(frozen=True)
class Claim:
    """One contender against another, paired over questions."""

    letter: str
    """which claim it is: a key of `tables.CLAIMS`"""
    first: str
    second: str
    difference: Interval
    """of accuracy, points, each at its tuned setting"""
    ratio: Interval
    """of generated tokens at the same settings"""
    area: Interval | None
    """area of the first minus that of the second over all settings, points; None: one of them is no single frontier"""
    other_seeds: tuple[tuple[float, float, float | None], ...]
    """difference, ratio and area at the other fold seeds; there the best of a field may be made of others"""


@dataclass(frozen=True)
class Claims:
    """What is claimed on so many questions."""

    num_questions: int
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class _Side:
    """One side of a claim, tuned and swept."""

    tuned: Replay
    frontier: Frontier

    def take(self, rows: Tensor) -> _Side:
        return _Side(self.tuned.take(rows), self.frontier.take(rows))


@dataclass(frozen=True)
class Rivals:
    """Both sides of every claim at one fold seed, and what areas are measured from."""

    sides: Mapping[Key | Role, _Side]
    versus: tuple[tuple[str, Key | Role, Key | Role], ...]
    """letter, first side, second side"""
    fixed: Frontier

    @staticmethod
    def of(comparison: Comparison, named: Mapping[Role, Outcome]) -> Rivals:
        """On all questions; `named` holds the best of each field, named out of fold."""
        fixed = comparison.outcomes[Key("FixedN")].frontier
        everyone = {outcome.key: outcome for outcome in (*comparison.outcomes.values(), *named.values())}
        there = {*everyone, Role.REFERENCE}  # without any head, as of an export that has none, little is claimed
        versus = tuple(claim for claim in _versus(named, comparison.controls) if there.issuperset(claim[1:]))
        keys = dict.fromkeys(key for _, *pair in versus for key in pair if key != Role.REFERENCE)
        sides: dict[Key | Role, _Side] = {key: _Side(everyone[key].tuned[-1], everyone[key].frontier) for key in keys}
        return Rivals({**sides, Role.REFERENCE: _Side(comparison.reference, fixed)}, versus, fixed)

    def take(self, rows: Tensor) -> Rivals:
        """On some of the questions; nothing is fitted or chosen anew."""
        sides = {key: side.take(rows) for key, side in self.sides.items()}
        return Rivals(sides, self.versus, sides[Role.REFERENCE].frontier)

    def replays(self) -> list[Replay]:
        """All that any claim looks at."""
        return [r for side in self.sides.values() for r in (side.tuned, *side.frontier.replays)]

    def in_numbers(self, index: int, n_ref: int) -> tuple[float, float, float | None]:
        """Difference, ratio and area difference of a claim, without intervals."""
        _, first, second = self.versus[index]
        mine, theirs = self.sides[first], self.sides[second]
        points, ratio = difference_and_ratio(mine.tuned, theirs.tuned)
        if not (mine.frontier.is_swept and theirs.frontier.is_swept):
            return points, ratio, None
        gap = area(mine.frontier, self.fixed, n_ref) - area(theirs.frontier, self.fixed, n_ref)
        return points, ratio, 100 * gap


def _versus(named: Mapping[Role, Outcome], controls: Sequence[str]) -> Iterator[tuple[str, Key | Role, Key | Role]]:
    yield from (("a", Role.THEN_STOP, Role.STOPPER), ("b", Role.THEN_STOP, Key("NoHeadThenStop")))
    yield ("c", Role.ONE_ROUND, Role.REFERENCE)
    utilities = [Key("Utility", control, in_bins=True) for control in controls]
    for letter, mine in (("d", Role.BY_AREA), ("d, in bins", Role.IN_BINS)):
        yield from ((letter, mine, theirs) for theirs in _with_best(named, Role.CONTROL_BY_AREA, utilities))
    rules = [Key("HeadThenStop", control) for control in controls]
    yield from (("e", Role.THEN_STOP, theirs) for theirs in _with_best(named, Role.CONTROL_THEN_STOP, rules))


def _with_best(named: Mapping[Role, Outcome], best: Role, field: Sequence[Key]) -> list[Key | Role]:
    return [best, *field] if best in named else [*field]


def claims_of(rivals: Rivals, others: Sequence[Rivals], resampled: Resampled, n_ref: int) -> Claims:
    """The claims on the questions of `rivals`, which are of the fold seed that the intervals are of.

    `others` are of the other fold seeds, `resampled` holds all replays of `rivals`, and areas end at `n_ref` samples.
    """
    # Each side is resampled once, then paired with every rival: the same resamples, so differences need no new draws.
    areas_R = {
        key: resampled.areas_R(side.frontier, rivals.fixed, n_ref)
        for key, side in rivals.sides.items()
        if side.frontier.is_swept
    }
    claims = []
    for index, (letter, mine, theirs) in enumerate(rivals.versus):
        first, second = rivals.sides[mine], rivals.sides[theirs]
        gap = rivals.in_numbers(index, n_ref)[2]
        claims.append(
            Claim(
                letter,
                mine.display_name,
                theirs.display_name,
                difference=resampled.difference(first.tuned, second.tuned),
                ratio=resampled.ratio(first.tuned, second.tuned),
                area=None if gap is None else interval(gap, areas_R[mine] - areas_R[theirs]),
                other_seeds=tuple(other.in_numbers(index, n_ref) for other in others),
            )
        )
    return Claims(len(rivals.sides[Role.REFERENCE].tuned.correct), tuple(claims))
