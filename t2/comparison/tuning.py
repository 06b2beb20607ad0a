"""Choose a policy's setting on some questions, to be scored on others. Pure.

The questions that choose also fit: bins, tables, priors. A stopping table whose prior has a question among its atoms
half knows that question's answers, and a setting chosen by its replay loses more elsewhere than it seemed to. So each
question that chooses is replayed by a fit to the other inner folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from t2.comparison.contenders import Contender, frontier_of
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.policies.base import Replay
from t2.stats.frontier import Frontier

ALLOWANCE = 0.01
"""Accuracy that the chosen setting may lose against FixedN(N_ref) on the questions that choose."""


def within(accuracy_P: Tensor, reference_accuracy: float, allowance: float = ALLOWANCE) -> Tensor:
    """Which settings lose at most `allowance` against the reference; equal up to rounding is equal."""
    return accuracy_P >= reference_accuracy - allowance - 1e-12


class Target(NamedTuple):
    """What a setting is tuned for: the fewest tokens that keep to both."""

    allowance: float
    """accuracy that may be lost against FixedN(N_ref)"""
    max_rounds: float
    """mean rounds of a question; infinity: any"""


class Pick(NamedTuple):
    """The setting that the questions that choose prefer for a target."""

    place: int
    """index of the setting"""
    within: bool
    """it loses no more than allowed on them"""
    tokens: float
    """mean generated tokens on them"""


def pick_for(target: Target, frontier: Frontier, reference_accuracy: float) -> Pick | None:
    """The cheapest setting that loses no more than allowed and waits no more often.

    Where all that wait so little lose more, the most accurate of them; None: none waits so little.
    """
    few = torch.nonzero(frontier.rounds_P <= target.max_rounds + 1e-9)[:, 0].tolist()
    if not few:
        return None
    place = few[cheapest_within(frontier.only(few), reference_accuracy, target.allowance)]
    good = bool(within(frontier.accuracy_P[place], reference_accuracy, target.allowance))
    return Pick(place, good, float(frontier.tokens_P[place]))


def cheapest_within(frontier: Frontier, reference_accuracy: float, allowance: float = ALLOWANCE) -> int:
    """Index of the setting with the fewest tokens whose accuracy is within `allowance` of the reference.

    If there is none, the most accurate setting (of equals the cheapest).
    """
    accuracy_P, tokens_P = frontier.accuracy_P, frontier.tokens_P
    good_P = within(accuracy_P, reference_accuracy, allowance)
    if not bool(good_P.any()):
        good_P = accuracy_P >= accuracy_P.max() - 1e-12
    return int(torch.where(good_P, tokens_P, torch.inf).argmin())


@dataclass(frozen=True)
class InnerFold:
    """A part of the training questions, and the rest of them."""

    learn_rows: Tensor
    """the rest, as rows among the training questions"""
    held_rows: Tensor
    learn: Slice
    held: Slice


def inner_folds(train: Slice, inner_T: Tensor) -> tuple[InnerFold, ...]:
    """Cut the training questions by the number of their inner fold."""
    # Half the orders are enough to choose by: what is chosen is scored on all of them.
    train, numbers = train.with_fewer_orders(), torch.unique(inner_T)
    rows = [(torch.nonzero(inner_T != i).squeeze(1), torch.nonzero(inner_T == i).squeeze(1)) for i in numbers]
    return tuple(InnerFold(learn, held, train.take(learn), train.take(held)) for learn, held in rows)


def held_out_frontier(contender: Contender, inner: Sequence[InnerFold], known: Known, cap: int) -> Frontier:
    """A contender on the training questions, each replayed by a fit that never saw its samples."""
    parts = []
    for fold in inner:
        run = contender.fit(fold.learn, known.take(fold.learn_rows), cap)
        parts.append(frontier_of(contender, run, fold.held, known.take(fold.held_rows)))
    order = torch.cat([fold.held_rows for fold in inner]).argsort()
    return contender.frontier([in_order(same, order) for same in zip(*parts, strict=True)])


def in_order(parts: Sequence[Replay], order: Tensor) -> Replay:
    """Replays of the folds' questions, one fold after the other, back in the order of the questions."""
    return Replay(**{name: torch.cat([getattr(r, name) for r in parts])[order] for name in vars(parts[0])})
