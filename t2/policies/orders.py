"""Random orders of stored samples, with everything a sequential rule may look at after each of them. Pure, seeded."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from t2.grading.graded import GradedPool
from t2.voting import running_leaders

PER_SAMPLE = ("vote_QM", "right_QM", "tokens_QM", "truncated_QM")
"""Fields of `GradedPool` that move with a sample."""


@dataclass(frozen=True)
class Orders:
    """R orders (`num_orders`) of the samples of Q questions. Built once, replayed by every rule at every setting.

    Questions are shuffled independently, so a mean over questions has the variance of independent orders.
    """

    vote_RQM: Tensor
    """answer class of each sample, as in `GradedPool`; padding last"""
    right_RQM: Tensor
    """bool: the sample votes for a correct class"""
    tokens_RQM: Tensor
    """generated tokens"""
    first_RQM: Tensor
    """votes of the leading class after each sample"""
    second_RQM: Tensor
    """votes of the runner-up"""
    leader_right_RQM: Tensor
    """bool: the majority of the samples so far is correct (a tie goes to the class seen first)"""
    limit_Q: Tensor
    """samples of each question"""
    prompt_tokens_Q: Tensor
    greedy_right_Q: Tensor
    greedy_tokens_Q: Tensor

    @property
    def num_orders(self) -> int:
        return len(self.vote_RQM)

    def take(self, rows: Tensor) -> Orders:
        parts = vars(self).items()
        return Orders(**{name: part[:, rows] if name.endswith("RQM") else part[rows] for name, part in parts})

    def first(self, num_orders: int) -> Orders:
        """The first so many orders."""
        parts = vars(self).items()
        return Orders(**{name: part[:num_orders] if name.endswith("RQM") else part for name, part in parts})

    @staticmethod
    def of(pool: GradedPool, num_orders: int, seed: int) -> Orders:
        generator = torch.Generator().manual_seed(seed)
        return _stacked(pool, [shuffled(pool, generator) for _ in range(num_orders)])

    @staticmethod
    def of_arrivals(pool: GradedPool, num_orders: int, seed: int, width: int) -> Orders:
        """Orders in which short answers vote first: `width` random samples start at once and arrive by length."""
        generator = torch.Generator().manual_seed(seed)
        started = [_first(shuffled(pool, generator), width) for _ in range(num_orders)]
        return _stacked(_first(pool, width), [_sorted_by_length(one) for one in started])


def shuffled(pool: GradedPool, generator: torch.Generator) -> GradedPool:
    """Each question's samples in a random order, padding last."""
    # Keys lie in [0, 1), those of padding in [2, 3): sorted by key, padding is last whatever is drawn.
    key_QM = torch.rand(pool.vote_QM.shape, generator=generator) + 2.0 * (~pool.present_QM)
    return _reordered(pool, key_QM.argsort(1))


def _sorted_by_length(pool: GradedPool) -> GradedPool:
    padding_QM = (~pool.present_QM) * (1 + pool.tokens_QM.max())
    return _reordered(pool, (pool.tokens_QM + padding_QM).argsort(dim=1, stable=True))


def _reordered(pool: GradedPool, order_QM: Tensor) -> GradedPool:
    return replace(pool, **{name: getattr(pool, name).gather(1, order_QM) for name in PER_SAMPLE})


def _first(pool: GradedPool, count: int) -> GradedPool:
    return replace(pool, **{name: getattr(pool, name)[:, :count] for name in PER_SAMPLE})


def _stacked(pool: GradedPool, orders: list[GradedPool]) -> Orders:
    parts = [_seen(order) for order in orders]
    return Orders(
        **{name: torch.stack([part[name] for part in parts]) for name in parts[0]},
        limit_Q=pool.present_QM.sum(1),
        prompt_tokens_Q=pool.prompt_tokens_Q,
        greedy_right_Q=pool.greedy_right_Q,
        greedy_tokens_Q=pool.greedy_tokens_Q,
    )


def _seen(pool: GradedPool) -> dict[str, Tensor]:
    """What `Orders` says of one order, by the names of its fields; small integers, since R orders are kept."""
    leader_QM, first_QM, second_QM = running_leaders(pool.vote_QM)
    # A class is right or wrong as a whole: spread each sample's mark over its class, then read it at the leader.
    num_classes = max(1, int(pool.vote_QM.max()) + 1)
    right_QC = torch.zeros(len(pool), num_classes, dtype=torch.int32)
    right_QC.scatter_reduce_(1, pool.vote_QM.clamp(min=0), pool.right_QM.int(), "amax")
    leader_right_QM = right_QC.gather(1, leader_QM.clamp(min=0)).bool() & (leader_QM >= 0)
    return {
        "vote_RQM": pool.vote_QM.to(torch.int16),
        "right_RQM": pool.right_QM,
        "tokens_RQM": pool.tokens_QM.to(torch.int32),
        "first_RQM": first_QM.to(torch.int16),
        "second_RQM": second_QM.to(torch.int16),
        "leader_right_RQM": leader_right_QM,
    }
