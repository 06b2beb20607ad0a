"""`ASC`: adaptive self-consistency (Aggarwal et al. 2023, arXiv 2305.11860), Beta stopping rule, drawn in batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import beta
from torch import Tensor

from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.policies.base import Replay, mean_of
from t2.voting import ABSENT, running_leaders


def stop_probability(first: Tensor, second: Tensor) -> Tensor:
    """P(the leader beats the runner-up): the mass of Beta(first + 1, second + 1) above 1/2, float64.

    k unanimous answers give 1 - 2^-(k+1).
    """
    return torch.as_tensor(beta.sf(0.5, first.double().numpy() + 1, second.double().numpy() + 1))


@dataclass(frozen=True)
class StopTable:
    """The rule as two tables over (leader's votes, runner-up's votes), for 0..cap votes each."""

    stop: Tensor
    """bool (cap+1, cap+1)"""
    fewest_to_stop: Tensor
    """further samples before stopping is possible at all; cap where it never is"""


def stop_table(threshold: float, cap: int) -> StopTable:
    """Tabulate the rule.

    Drawing `fewest_to_stop` samples at once never overshoots: stopping is soonest when every sample votes for the
    leader, since P rises with the leader's votes and falls with the runner-up's.
    """
    if not 0.5 < threshold < 1:
        raise T2Error(f"Expected an ASC threshold between 0.5 and 1, got {threshold}.")
    votes = torch.arange(cap + 1)
    stop = stop_probability(votes[:, None].expand(-1, cap + 1), votes[None, :].expand(cap + 1, -1)) >= threshold
    fewest = torch.full((cap + 1, cap + 1), cap)
    for second in range(cap + 1):
        stopping = torch.nonzero(stop[:, second]).squeeze(1)
        if len(stopping):
            fewest[:, second] = (int(stopping[0]) - votes).clamp(min=0)
    return StopTable(stop, fewest)


class ASC:
    """Sequential: stop as soon as the leader is ahead with probability `threshold`, or at `cap` samples."""

    def __init__(self, threshold: float = 0.95, cap: int = 32) -> None:
        """Set threshold in (0.5, 1) and cap in samples."""
        self.threshold, self.cap = threshold, cap

    def replay(self, pool: GradedPool, num_orders: int, seed: int) -> Replay:
        """Mean over `num_orders` random orders of each question's samples; a pool smaller than the cap caps itself."""
        table = stop_table(self.threshold, self.cap)
        generator = torch.Generator().manual_seed(seed)
        return mean_of([self._one_order(shuffled(pool, generator), table) for _ in range(num_orders)])

    def _one_order(self, pool: GradedPool, table: StopTable) -> Replay:
        """Run the rule once, samples in the order of the pool."""
        vote_QN = pool.vote_QM[:, : self.cap]
        limit_Q = (vote_QN != ABSENT).sum(1)
        leader_QN, first_QN, second_QN = running_leaders(vote_QN)
        stop_QN = table.stop[first_QN, second_QN]
        drawn_QN = torch.arange(1, vote_QN.shape[1] + 1)
        stop_QN = stop_QN | (drawn_QN >= limit_Q[:, None])
        last_Q = stop_QN.int().argmax(1)
        used_QN = drawn_QN <= last_Q[:, None] + 1
        leader_Q = leader_QN.gather(1, last_Q[:, None])
        right_Q = ((vote_QN == leader_Q) & pool.right_QM[:, : self.cap] & (leader_Q >= 0)).any(1)
        rounds_Q, peak_Q = _batches(first_QN, second_QN, last_Q + 1, limit_Q, table)
        return Replay(
            correct=right_Q.double(),
            samples=(last_Q + 1).double(),
            generated_tokens=(pool.tokens_QM[:, : self.cap] * used_QN).sum(1).double(),
            prompt_tokens=pool.prompt_tokens_Q.double(),
            rounds=rounds_Q.double(),
            peak=peak_Q.double(),
        )


def shuffled(pool: GradedPool, generator: torch.Generator) -> GradedPool:
    """Each question's samples in a random order, padding last."""
    key_QM = torch.rand(pool.vote_QM.shape, generator=generator) + 2.0 * (~pool.present_QM)
    order_QM = key_QM.argsort(1)
    moved: dict[str, Any] = {name: getattr(pool, name).gather(1, order_QM) for name in _PER_SAMPLE}
    return GradedPool(**{**vars(pool), **moved})


_PER_SAMPLE = ("vote_QM", "right_QM", "tokens_QM", "truncated_QM")


def _batches(
    first_QN: Tensor, second_QN: Tensor, stop_after_Q: Tensor, limit_Q: Tensor, table: StopTable
) -> tuple[Tensor, Tensor]:
    """Rounds and largest batch when each round draws as many samples as must come before stopping is possible."""
    drawn_Q = torch.zeros_like(stop_after_Q)
    rounds_Q, peak_Q = torch.zeros_like(drawn_Q), torch.zeros_like(drawn_Q)
    while bool((going_Q := drawn_Q < stop_after_Q).any()):
        at_Q = (drawn_Q - 1).clamp(min=0)[:, None]
        first_Q = torch.where(drawn_Q > 0, first_QN.gather(1, at_Q).squeeze(1), 0)
        second_Q = torch.where(drawn_Q > 0, second_QN.gather(1, at_Q).squeeze(1), 0)
        batch_Q = torch.minimum(table.fewest_to_stop[first_Q, second_Q].clamp(min=1), limit_Q - drawn_Q)
        batch_Q = torch.where(going_Q, batch_Q, 0)
        drawn_Q, rounds_Q = drawn_Q + batch_Q, rounds_Q + going_Q.long()
        peak_Q = torch.maximum(peak_Q, batch_Q)
    return rounds_Q, peak_Q
