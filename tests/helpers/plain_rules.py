"""Sequential rules in plain Python: one question and one sample at a time, each paid for when it starts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import comb
from typing import NamedTuple

from t2.curves.halves import Halves, half_curves
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import AnswerAtoms
from t2.policies import Orders
from t2.policies.base import Replay
from t2.policies.oracle import OwnOracle
from t2.voting import ABSTAINED

Row = tuple[list[int], list[int]]
"""Votes and tokens of one question in one order."""
Stops = Callable[[int, int, int], bool]
"""(samples drawn, votes of the leader, votes of the runner-up) -> whether that is enough."""


class Paid(NamedTuple):
    """What one question got in one order, and what it cost."""

    leader: int | None
    """the answer; None if nobody voted"""
    samples: int
    tokens: int
    rounds: int
    peak: int
    path: int
    """steps until the last answer, where the samples of a round run beside each other"""
    held: int
    """most generated tokens that are held at once"""


def engine(lengths: list[list[int]]) -> tuple[int, int]:
    """Steps and most tokens held of an ideal engine, step by step: a list of lengths for each round."""
    clock = most = 0
    for round_lengths in lengths:
        running, step = [length for length in round_lengths if length], 0
        while running:
            clock, step = clock + 1, step + 1
            most = max(most, step * len(running))
            running = [length for length in running if length > step]
    return clock, most


def in_rounds(tokens: list[int], sizes: list[int]) -> list[list[int]]:
    """The lengths of the samples of each round."""
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    return [tokens[end - size : end] for end, size in zip(ends, sizes, strict=True)]


def rows_of(orders: Orders, order: int = 0) -> list[Row]:
    return [
        (orders.vote_RQM[order, q, :limit].tolist(), orders.tokens_RQM[order, q, :limit].tolist())
        for q, limit in enumerate(orders.limit_Q.tolist())
    ]


def payoff(votes: list[int | None], correct: list[bool]) -> float:
    """What plain majority over these votes pays; None abstains, a tie pays its correct share."""
    counts = [votes.count(c) for c in range(len(correct))]
    if max(counts, default=0) == 0:
        return 0.0
    winners = [c for c, count in enumerate(counts) if count == max(counts)]
    return sum(correct[c] for c in winners) / len(winners)


def leaders(votes: list[int]) -> tuple[int | None, int, int]:
    """Majority (a tie goes to the class seen first), its votes, the runner-up's votes."""
    counts: dict[int, int] = {}
    for vote in votes:
        if vote != ABSTAINED:
            counts[vote] = counts.get(vote, 0) + 1
    first, second = [*sorted(counts.values(), reverse=True), 0, 0][:2]
    return (max(counts, key=counts.__getitem__) if counts else None), first, second


@cache
def ahead(first: int, second: int) -> Fraction:
    """Mass of Beta(first + 1, second + 1) above 1/2, exactly: at most `first` heads in first + second + 1 tosses."""
    tosses = first + second + 1
    return Fraction(sum(comb(tosses, k) for k in range(first + 1)), 2**tosses)


def one_by_one(row: Row, cap: int, stops: Stops) -> Paid:
    """Any rule that counts votes, asked after every single sample.

    A round holds as many samples as must come whatever they say; a rule that stopped inside one would have overshot.
    """
    votes, tokens = row
    limit = min(cap, len(votes))
    used = spent = left = 0
    sizes: list[int] = []
    while used < limit:
        _, first, second = leaders(votes[:used])
        if used and stops(used, first, second):
            break
        if not left:
            left = min(must_come(used, first, second, cap, stops), limit - used)
            sizes.append(left)
        used, spent, left = used + 1, spent + tokens[used], left - 1
    assert not left, "a round went on after its rule had stopped"
    return Paid(leaders(votes[:used])[0], used, spent, len(sizes), max(sizes), *engine(in_rounds(tokens, sizes)))


def must_come(drawn: int, first: int, second: int, cap: int, stops: Stops) -> int:
    """Further samples before the rule can stop at all: all that may be answered is tried out, one sample after another.

    A vote for neither leader nor runner-up changes neither count.
    """
    reached = {(first, second)}
    for more in range(1, cap - drawn + 1):
        votes = {pair for v1, v2 in reached for pair in ((v1, v2), (v1 + 1, v2), (v1, v2 + 1))}
        reached = {(max(pair), min(pair)) for pair in votes}
        if any(stops(drawn + more, *pair) for pair in reached):
            return more
    return cap - drawn


def plain_esc(votes: list[int], window: int, cap: int) -> tuple[int, bool]:
    """Samples drawn, and whether the last window agreed; a short one says nothing."""
    limit, drawn = min(cap, len(votes)), 0
    while drawn < limit:
        size = min(window, limit - drawn)
        batch = votes[drawn : drawn + size]
        drawn += size
        if size == window and ABSTAINED not in batch and len(set(batch)) == 1:
            return drawn, True
    return drawn, False


class Judged(NamedTuple):
    """What DSC does with one question."""

    drawn: int
    """samples, judging ones too, without the greedy answer"""
    sizes: list[int]
    """samples of each round"""
    greedy: bool
    """a greedy answer in one more round"""

    @property
    def rounds(self) -> int:
        return len(self.sizes) + self.greedy

    @property
    def peak(self) -> int:
        return max(self.sizes)


def plain_dsc(rows: list[Row], hardness: list[float], cap: int, threshold: float = 0.95) -> list[Judged]:
    """DSC told as the issue tells it: four answers judge at 0.95, `threshold` ends the sampling of what is hard."""

    def sure(q: int, n: int, at: float) -> bool:
        _, first, second = leaders(rows[q][0][:n])
        return ahead(first, second) >= at

    limit = [min(cap, len(votes)) for votes, _ in rows]
    order = sorted(range(len(rows)), key=lambda q: (hardness[q], q))
    batches: list[list[int]] = [[] for _ in rows]
    run: list[int] = []
    greedy: set[int] = set()
    for place in reversed(range(len(rows))):
        q = order[place]
        batches[q].append(min(4, limit[q]))
        run = [*run, q] if sure(q, batches[q][0], 0.95) else []
        if len(run) == 32:
            greedy = {*run, *order[:place]}
            break
    stops: list[int] = []
    for q in (q for q in order if q not in greedy):
        last = stops[-16:]
        window = max(4, 4 * round(sum(last) / len(last) / 4)) if last else 4
        while (drawn := sum(batches[q])) < limit[q] and not sure(q, drawn, threshold):
            if min(limit[q], window) > drawn:
                batches[q].append(min(limit[q], window) - drawn)
            window = sum(batches[q]) + 4
        needed = [n for n in range(min(4, limit[q]), drawn + 1) if sure(q, n, threshold)]
        stops.append(needed[0] if needed else drawn)
    return [Judged(sum(sizes), sizes, q in greedy) for q, sizes in enumerate(batches)]


def plain_stops(atoms: AnswerAtoms, prior: list[float], cap: int, cost: float) -> dict[tuple[int, int, int], bool]:
    """Where optimal stopping stops: backward induction by recursion, state by state."""
    share, right = atoms.share_J3.tolist(), atoms.right_J.tolist()
    stops: dict[tuple[int, int, int], bool] = {}

    @cache
    def value(n: int, v1: int, v2: int) -> float:
        a = [w * s1**v1 * s2**v2 * r ** (n - v1 - v2) for w, (s1, s2, r) in zip(prior, share, strict=True)]
        b = [w * s2**v1 * s1**v2 * r ** (n - v1 - v2) for w, (s1, s2, r) in zip(prior, share, strict=True)]
        total = sum(a) + sum(b)
        p_right: float = sum(x * (c == 1) + y * (c == 2) for x, y, c in zip(a, b, right, strict=True)) / total
        p_right = p_right if v1 else 0.0
        if n == cap:
            return p_right
        lead: float = sum(x * s[0] + y * s[1] for x, y, s in zip(a, b, share, strict=True)) / total
        run: float = sum(x * s[1] + y * s[0] for x, y, s in zip(a, b, share, strict=True)) / total
        go_on = (
            lead * value(n + 1, v1 + 1, v2)
            + run * value(n + 1, max(v1, v2 + 1), min(v1, v2 + 1))
            + (1 - lead - run) * value(n + 1, v1, v2)
            - cost
        )
        stops[n, v1, v2] = p_right >= go_on - 1e-12
        return max(p_right, go_on)

    value(0, 0, 0)
    return stops


def own_oracle(price: float, pool: GradedPool, grid: tuple[int, ...]) -> Replay:
    """`OwnOracle` on the halves of a pool."""
    return OwnOracle(price).replay(halves_of(pool, grid), pool)


def halves_of(pool: GradedPool, grid: tuple[int, ...]) -> Halves:
    """Of a pool whose questions all have two samples."""
    halves = half_curves(pool, grid)
    assert halves is not None
    return halves
