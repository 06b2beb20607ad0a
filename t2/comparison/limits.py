"""What each rule costs where waiting is limited: tokens, waits, critical path and memory beside each other. Pure.

Settings are tuned out of fold for a `Target`: the fewest tokens that lose at most 1 (or 1/2) point and wait at most so
many rounds on average.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2.comparison.compare import Comparison, Outcome
from t2.comparison.identity import PLANNED, Key, Role
from t2.comparison.outer_fold import TARGETS
from t2.comparison.tuning import ALLOWANCE, Target
from t2.policies.base import Replay
from t2.stats.bootstrap import Interval
from t2.stats.resampled import Resampled, difference_and_ratio


@dataclass(frozen=True)
class Place:
    """Where a rule lies among all axes, at a target; ratios are to FixedN(N_ref)."""

    name: str
    source: str
    policy: str
    in_bins: bool
    role: str
    """of `Role`; "" for a contender of its own"""
    allowance: float
    """accuracy that the setting was tuned to lose at most"""
    max_rounds: float | None
    """mean rounds that it was tuned to wait at most; None: any"""
    difference: Interval
    """accuracy points against FixedN(N_ref)"""
    ratio: Interval
    """of generated tokens"""
    path_ratio: Interval
    """of the critical path"""
    memory_ratio: Interval
    """of the KV tokens held at once"""
    rounds: float
    samples: float
    peak: float
    """sequences at once"""
    other_seeds: tuple[tuple[float, float, float], ...]
    """difference, ratio and rounds at the other fold seeds"""


@dataclass(frozen=True)
class Versus:
    """One rule at a target against another, paired over questions."""

    first: str
    first_rounds: float | None
    """mean rounds that it was tuned to wait at most; None: any"""
    second: str
    second_rounds: float | None
    difference: Interval
    """of accuracy, points"""
    ratio: Interval
    """of generated tokens"""
    path_ratio: Interval
    """of the critical path"""
    rounds: tuple[float, float]
    """mean rounds of both"""
    other_seeds: tuple[tuple[float, float], ...]
    """difference and ratio at the other fold seeds"""


Everyone = Mapping[Key | Role, Outcome]
Side = tuple[Key | Role, Target]


def limited_replays(everyone: Everyone) -> list[Replay]:
    """All that is shown of any rule at any target."""
    return [replay for outcome in everyone.values() for replay in outcome.limited.values()]


def places(
    everyone: Everyone, first: Comparison, others: Sequence[tuple[Comparison, Everyone]], resampled: Resampled
) -> Iterator[Place]:
    """Every rule that could be run, at every target that all folds have a setting for."""
    for key, outcome in everyone.items():
        if outcome.kind == "reference":
            continue
        for target, replay in outcome.limited.items():
            yield Place(
                name=outcome.name,
                source=outcome.frontier.source,
                policy=outcome.frontier.policy,
                in_bins=outcome.frontier.in_bins,
                role=key if isinstance(key, Role) else "",
                allowance=target.allowance,
                max_rounds=_limit(target),
                difference=resampled.difference(replay, first.reference),
                ratio=resampled.ratio(replay, first.reference),
                path_ratio=resampled.path_ratio(replay, first.reference),
                memory_ratio=resampled.memory_ratio(replay, first.reference),
                rounds=float(replay.rounds.mean()),
                samples=float(replay.samples.mean()),
                peak=float(replay.peak.mean()),
                other_seeds=tuple(
                    (*difference_and_ratio(own.limited[target], c.reference), float(own.limited[target].rounds.mean()))
                    for c, found in others
                    if key in found and target in (own := found[key]).limited
                ),
            )


def sides(everyone: Everyone) -> Iterator[tuple[Side, Side]]:
    """What is claimed of planned rounds, as pairs of rules at targets, where both are there."""
    any_rounds = Target(ALLOWANCE, float("inf"))
    nobody, best, control = Key(PLANNED), Role.PLANNED, Role.PLANNED_CONTROL
    pairs: list[tuple[Side, Side]] = []
    for target in TARGETS:
        if target.allowance == ALLOWANCE:
            pairs += [((best, target), (nobody, target)), ((best, target), (control, target))]
    at_two = Target(ALLOWANCE, 2.0)
    pairs += [((which, at_two), (Key("ASC"), any_rounds)) for which in (nobody, best)]
    for (first, at), (second, against) in pairs:
        if all(key in everyone and target in everyone[key].limited for key, target in ((first, at), (second, against))):
            yield (first, at), (second, against)


def versus(everyone: Everyone, others: Sequence[Everyone], resampled: Resampled) -> Iterator[Versus]:
    """The claims of `sides`, with intervals."""
    for pair in sides(everyone):
        mine, theirs = (everyone[key].limited[target] for key, target in pair)
        yield Versus(
            first=pair[0][0].display_name,
            first_rounds=_limit(pair[0][1]),
            second=pair[1][0].display_name,
            second_rounds=_limit(pair[1][1]),
            difference=resampled.difference(mine, theirs),
            ratio=resampled.ratio(mine, theirs),
            path_ratio=resampled.path_ratio(mine, theirs),
            rounds=(float(mine.rounds.mean()), float(theirs.rounds.mean())),
            other_seeds=tuple(
                difference_and_ratio(*(found[key].limited[target] for key, target in pair))
                for found in others
                if all(key in found and target in found[key].limited for key, target in pair)
            ),
        )


def _limit(target: Target) -> float | None:
    return None if target.max_rounds == float("inf") else target.max_rounds


def in_words(max_rounds: float | None) -> str:
    """A limit on mean rounds."""
    if max_rounds is None or max_rounds == float("inf"):
        return "any rounds"
    return "one round" if max_rounds == 1 else f"at most {max_rounds:g} rounds"
