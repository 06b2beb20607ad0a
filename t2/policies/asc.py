"""`ASC`: adaptive self-consistency (Aggarwal et al. 2023, arXiv 2305.11860), Beta stopping rule."""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.special import betaincc
from torch import Tensor

from t2.errors import T2Error
from t2.policies.states import VoteStates, vote_states
from t2.policies.stopping import TableRule, stop_table


def stop_probability(first: Tensor, second: Tensor) -> Tensor:
    """P(the leader beats the runner-up): the mass of Beta(first + 1, second + 1) above 1/2, float64.

    k unanimous answers give 1 - 2^-(k+1).
    """
    # The upper tail: the leader's share, of all votes for one of the two, is above 1/2.
    return torch.as_tensor(betaincc(first.double().numpy() + 1, second.double().numpy() + 1, 0.5))


@lru_cache(maxsize=512)
def beta_stops(states: VoteStates, threshold: float) -> Tensor:
    """States in which the leader is ahead with probability `threshold`, bool (S,)."""
    return (_all_probabilities(states.cap) >= threshold)[states.first_S, states.second_S]


@lru_cache(maxsize=16)
def _all_probabilities(cap: int) -> Tensor:
    """`stop_probability` of all pairs of votes up to `cap`: the same for every threshold."""
    votes = torch.arange(cap + 1)
    return stop_probability(votes[:, None], votes[None, :])


def check_threshold(threshold: float, policy: str) -> float:
    """A probability above 1/2.

    Raises:
        T2Error: it is not.
    """
    if not 0.5 < threshold < 1:
        raise T2Error(f"Expected a threshold of {policy} between 0.5 and 1, got {threshold}.")
    return threshold


class ASC(TableRule):
    """Sequential: stop as soon as the leader is ahead with probability `threshold`, or at `cap` samples."""

    def __init__(self, threshold: float = 0.95, cap: int = 32) -> None:
        """Set threshold in (0.5, 1) and cap in samples."""
        self.threshold, states = check_threshold(threshold, "ASC"), vote_states(cap)
        super().__init__(stop_table(beta_stops(states, threshold)[None], states))
