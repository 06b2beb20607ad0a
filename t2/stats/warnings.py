"""Signs that a budget head would not pay, from graded samples: said before hours are spent, and again after. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.labels import accuracy_on_grid, cut_grid, smallest_enough
from t2.curves.majority import MAX_SAMPLES
from t2.grading.graded import GradedPool
from t2.spec import DEFAULT_GRID
from t2.stats.bootstrap import Interval, clusters_of, mean_interval
from t2.voting import ABSTAINED

MOST_TRUNCATED = 0.05
"""Share of the samples beyond which truncation is said to be the matter."""
MOST_UNREAD = 0.20
"""Share of the finished samples beyond which the grader, or what the prompt asks for, is said to be the matter."""
MOST_AT_ONE = 0.90
"""Share of the questions beyond which N* = 1 leaves a head nothing to predict."""
LEAST_VOTING = 0.5
"""Share of the samples below which nothing is said of N* and of voting: they would look worthless for want of votes."""
LEAST_GAIN = 1.0
"""Accuracy points: where voting surely gains less over greedy, no way of voting is worth its tokens."""


def share_truncated(pool: GradedPool) -> float:
    """Of all samples; they abstain at full cost."""
    return _share(pool.truncated_QM & pool.present_QM, pool.present_QM)


def share_unread(pool: GradedPool) -> float:
    """Of the finished samples: those in which the grader reads no answer. 0 if none finished."""
    finished_QM = pool.present_QM & ~pool.truncated_QM
    return _share(finished_QM & (pool.vote_QM == ABSTAINED), finished_QM)


def _share(of_QM: Tensor, among_QM: Tensor) -> float:
    return int(of_QM.sum()) / max(1, int(among_QM.sum()))


def num_at_one(pool: GradedPool, eps: float, grid: Sequence[int] = DEFAULT_GRID) -> int | None:
    """Questions with N* = 1: one sample is as good as any number. None: too few samples for any other N*.

    Args:
        pool: graded samples.
        eps: accuracy given up to call N enough.
        grid: budgets, samples; as for labels those up to half of the smallest pool count.
    """
    label_grid = cut_grid(grid, max(1, _fewest(pool) // 2))
    if len(label_grid) < 2:
        return None
    return int((smallest_enough(accuracy_on_grid(pool, label_grid), eps) == 0).sum())


@dataclass(frozen=True)
class VotingGain:
    """What voting gains over the greedy answer."""

    samples: int
    """that vote"""
    num_questions: int
    """that have a greedy answer"""
    points: Interval
    """of accuracy"""

    def __str__(self) -> str:
        low, high = (f"{each + 0.0:+.1f}" for each in (self.points.low, self.points.high))
        return f"{self.points.value + 0.0:+.1f} points [{low}, {high}]"

    @property
    def is_nothing(self) -> bool:
        """Surely less than `LEAST_GAIN`."""
        return self.points.high < LEAST_GAIN

    @property
    def is_unknown(self) -> bool:
        """None so far, but these questions do not exclude one."""
        return not self.is_nothing and self.points.value <= 0


def voting_gain(pool: GradedPool) -> VotingGain | None:
    """A(N) minus the greedy answer's accuracy over questions, N being the samples that every question has.

    None: no question has a greedy answer, or some have one sample alone. The interval is the bootstrap's over
    questions and two more, of which voting wins one and loses one (Bonett and Price 2012, for differences of paired
    shares): a few questions that happen to agree would otherwise claim to know the difference exactly.
    """
    rows_Q = torch.nonzero(pool.greedy_present_Q).squeeze(1)
    if not len(rows_Q) or (samples := _fewest(pool := pool.take(rows_Q))) < 2:
        return None
    gain_Q = accuracy_on_grid(pool, (samples,))[:, 0] - pool.greedy_right_Q.double()
    clusters_Q = clusters_of([*(f"question {key}" for key in pool.dedup_keys), "a win", "a loss"])
    spread = mean_interval(torch.cat([gain_Q, gain_Q.new_tensor([1.0, -1.0])]), clusters_Q=clusters_Q)
    value = float(gain_Q.mean())
    points = Interval(value, min(value, spread.low), max(value, spread.high)).scaled(100)
    return VotingGain(samples, len(pool), points)


def _fewest(pool: GradedPool) -> int:
    return min(int(pool.present_QM.sum(1).min()), MAX_SAMPLES)


def pool_warnings(pool: GradedPool, eps: float, grid: Sequence[int] = DEFAULT_GRID) -> Iterator[str]:
    """A sentence or two for each sign, with what to do; arguments as those of `num_at_one`."""
    if not len(pool):
        return
    if (truncated := share_truncated(pool)) > MOST_TRUNCATED:
        yield (
            f"{truncated:.1%} of the samples are truncated (more than {MOST_TRUNCATED:.0%}): they cost `max_tokens` "
            "and have no vote. Raise `sampler.max_tokens`, or ask for shorter answers in `prompt.system`."
        )
    if (unread := share_unread(pool)) > MOST_UNREAD:
        yield (
            f"The grader reads no answer in {unread:.1%} of the finished samples (more than {MOST_UNREAD:.0%}): they "
            "have no vote. Say in `prompt.system` how an answer ends, or choose another grader."
        )
    if _share(pool.vote_QM > ABSTAINED, pool.present_QM) < LEAST_VOTING:
        return  # what voting is worth cannot be seen where hardly anything votes
    at_one = num_at_one(pool, eps, grid)
    if at_one is not None and at_one > MOST_AT_ONE * len(pool):
        yield (
            f"N* is 1 for {at_one} of {len(pool)} questions (more than {MOST_AT_ONE:.0%}): one sample is as good for "
            "them as any number, so that there is little to predict. Choose questions that are neither easy nor "
            "hopeless."
        )
    if (gain := voting_gain(pool)) is not None:
        yield from _on_gain(gain)


def _on_gain(gain: VotingGain) -> Iterator[str]:
    over = f"Voting over {gain.samples} samples gains {gain} over the greedy answer"
    if gain.is_nothing:
        yield (
            f"{over}: less than {LEAST_GAIN:g} point, surely. A budget head is the wrong tool here: give each question "
            "its one greedy answer."
        )
    elif gain.is_unknown:
        yield (
            f"{over} on {gain.num_questions} questions, too few to say that it gains nothing. Look at more of them "
            "before you spend hours: if it does not gain, a budget head is the wrong tool."
        )
