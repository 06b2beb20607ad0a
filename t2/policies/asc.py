"""`ASC`: adaptive self-consistency (Aggarwal et al. 2023, arXiv 2305.11860), Beta stopping rule; and with a prior."""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.special import betaincc
from torch import Tensor

from t2.errors import T2Error
from t2.policies.states import VoteStates, vote_states
from t2.policies.stopping import TableRule, stop_table


def stop_probability(first: Tensor, second: Tensor, a: float | Tensor = 1.0, b: float | Tensor = 1.0) -> Tensor:
    """P(the leader beats the runner-up): the mass of Beta(first + a, second + b) above 1/2, float64.

    With a = b = 1, k unanimous answers give 1 - 2^-(k+1).
    """
    over, under = first.double() + torch.as_tensor(a).double(), second.double() + torch.as_tensor(b).double()
    return torch.as_tensor(betaincc(over.numpy(), under.numpy(), 0.5))


@lru_cache(maxsize=512)
def beta_stops(states: VoteStates, threshold: float, a: float = 1.0, b: float = 1.0) -> Tensor:
    """States in which the leader is ahead with probability `threshold`, bool (S,)."""
    return (_all_probabilities(states.cap, a, b) >= threshold)[states.first_S, states.second_S]


@lru_cache(maxsize=64)
def _all_probabilities(cap: int, a: float, b: float) -> Tensor:
    """`stop_probability` of all pairs of votes up to `cap`: the same for every threshold."""
    votes = torch.arange(cap + 1)
    return stop_probability(votes[:, None], votes[None, :], a, b)


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


class HeadASC(TableRule):
    """Ablation: ASC whose Beta prior comes from the head, Beta(1 + strength * p, 1 + strength * (1 - p)).

    p is the predicted accuracy of one sample. Equal to ASC at strength 0 (a = b = 1).
    """

    def __init__(self, threshold: float, cap: int, accuracy_P: Tensor, prior_Q: Tensor, strength: float = 2.0) -> None:
        """Set the priors.

        Args:
            threshold: in (0.5, 1).
            cap: samples.
            accuracy_P: predicted accuracy of one sample for each of P kinds of questions.
            prior_Q: the kind of each question.
            strength: pseudo-votes that the prediction is worth.
        """
        check_threshold(threshold, "HeadASC")
        if not 0 <= strength < float("inf"):
            raise T2Error(f"Expected a finite HeadASC strength >= 0 (pseudo-votes), got {strength}.")
        states = vote_states(cap)
        stop_PS = torch.stack(
            [beta_stops(states, threshold, 1 + strength * p, 1 + strength * (1 - p)) for p in accuracy_P.tolist()]
        )
        super().__init__(stop_table(stop_PS, states), prior_Q)
