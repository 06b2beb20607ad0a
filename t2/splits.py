"""Which question belongs where. Decided by hash, so that a growing pool keeps its splits. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from t2.errors import T2Error
from t2.hashing import unit_interval, unit_intervals
from t2.spec import Question

T = TypeVar("T")
LABELLING_ORDER = ("validation", "train", "calibration", "test")
"""The order in which a pool is filled: `fit` waits for the whole validation set, then trains on what is there."""


@dataclass(frozen=True)
class SplitFractions:
    """Shares of the questions; they must sum to 1."""

    train: float = 0.60
    """share that heads learn from"""
    validation: float = 0.15
    """share that chooses the checkpoint"""
    calibration: float = 0.10
    """share that chooses the exported setting, with a promise"""
    test: float = 0.15
    """share that chooses nothing"""

    def __post_init__(self) -> None:
        shares = (self.train, self.validation, self.calibration, self.test)
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-9):  # NaN fails too
            raise T2Error(f"Expected split fractions >= 0 that sum to 1, got {shares}. Change `data.splits`.")


def split_of(dedup_key: str, fractions: SplitFractions) -> str:
    """The split of a question: "train", "validation", "calibration" or "test"."""
    position, end = unit_interval("t2-split", dedup_key), 0.0
    # Train comes last, so that a train share that rounding leaves a little short of 1 still gets the rest.
    for name in ("validation", "calibration", "test"):
        end += getattr(fractions, name)
        if position < end:
            return name
    return "train"


def labelling_order(questions: Sequence[Question], fractions: SplitFractions) -> list[int]:
    """Indices of `questions` in the order they are labelled: by split (`LABELLING_ORDER`), then by hash.

    Within a split the order depends on each question alone, so the first n train questions are the same set
    whether the pool is live or finished.
    """

    def rank(index: int) -> tuple[int, float, str]:
        question = questions[index]
        split = LABELLING_ORDER.index(split_of(question.dedup_key, fractions))
        return split, unit_interval("t2-order", question.id), question.id

    return sorted(range(len(questions)), key=rank)


def spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of some items, from one end to the other at equal distances."""
    return items[:: max(1, -(-len(items) // most))]


def fold_of(dedup_key: str, num_folds: int, seed: int) -> int:
    """The outer cross-validation fold of a question, in 0..num_folds-1; questions that share a key share it."""
    return int(unit_interval("t2-fold", seed, dedup_key) * num_folds)


def sample_folds(question_id: str, num_draws: int) -> list[int]:
    """Which half (0 or 1) of a question's own pool each sample belongs to: what one half chooses the other scores.

    Of each pair of neighbouring draws a hash sends one to either half: halves stay equal, and a growing pool keeps
    its halves.
    """
    pairs = map(str, range((num_draws + 1) // 2))
    firsts = [int(unit < 0.5) for unit in unit_intervals(("t2-sample-fold", question_id), pairs)]
    return [half for first in firsts for half in (first, 1 - first)][:num_draws]
