"""`HeadThenStop`: a prior from the head, then stop when one more sample is not worth its tokens. Pure.

Atoms are training questions, each with the shares (s1, s2) of its two most frequent answers, the rest r = 1 - s1 - s2,
and which of the two is correct (1, 2, or 0: neither). After n draws with v1 >= v2 votes for leader and runner-up,

    a_j = s1^v1 s2^v2 r^(n-v1-v2)     the leader is the atom's first answer
    b_j = s2^v1 s1^v2 r^(n-v1-v2)     the leader is its second
    P_right = sum_j w_j (a_j [c_j=1] + b_j [c_j=2]) / sum_j w_j (a_j + b_j)

and the value of a state is V = max(P_right, E V(next) - price * tokens of a sample), V = P_right at the cap. Backward
induction over all vote states gives one table per prior w. `NoHeadThenStop` is the same with one prior for everybody:
the difference is what the prior adds.

The atoms of a group alone are too sure a prior: after a few votes the posterior rests on the two or three atoms that
look alike, and where those agree one more sample seems worth nothing, whatever the price. So half of each prior is that
of all atoms (`softened`): no votes are then less than half as likely as `NoHeadThenStop` takes them to be.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.policies.states import VoteStates, vote_states
from t2.policies.stopping import TableRule, stop_table

SMOOTHING = 0.5
"""Pseudo-samples added to first, second and rest (Jeffreys' prior for three shares): no state is impossible."""

ALL_SHARE = 0.5
"""Weight of all atoms in the prior of a group."""

_TIE = 1e-12
"""Where going on changes nothing, rounding must not decide: stop."""


@dataclass(frozen=True)
class AnswerAtoms:
    """What a stopping rule knows of J training questions."""

    share_J3: Tensor
    """smoothed shares of the most frequent answer, the second, and everything else with abstentions"""
    right_J: Tensor
    """1: the most frequent answer is correct, 2: the second is, 0: neither"""


def answer_atoms(pool: GradedPool) -> AnswerAtoms:
    """The atoms of graded questions; of equally frequent answers the one seen first comes first."""
    counts_QC, correct_QC, abstained_Q = pool.class_counts()
    # Two empty classes more: a second answer must be there to be looked up, though nobody gave it.
    counts_QC, correct_QC = (torch.nn.functional.pad(each_QC, (0, 2)) for each_QC in (counts_QC, correct_QC))
    top_Q2, which_Q2 = counts_QC.sort(dim=1, descending=True, stable=True)
    top_Q2, which_Q2 = top_Q2[:, :2], which_Q2[:, :2]
    size_Q = counts_QC.sum(1) + abstained_Q
    rest_Q = size_Q - top_Q2.sum(1)
    share_Q3 = (torch.cat([top_Q2, rest_Q[:, None]], 1).double() + SMOOTHING) / (size_Q[:, None] + 3 * SMOOTHING)
    correct_Q2 = correct_QC.gather(1, which_Q2) & (top_Q2 > 0)
    right_Q = torch.where(correct_Q2[:, 0], 1, torch.where(correct_Q2[:, 1], 2, 0))
    return AnswerAtoms(share_Q3, right_Q)


def softened(member_PJ: Tensor, all_share: float = ALL_SHARE) -> Tensor:
    """A prior for each of P groups of atoms: `all_share` of it is spread over all atoms, the rest over the group's.

    At 0 the group alone counts, at 1 all groups have the prior of `no_head`. A group without atoms has that prior too.
    Weights in `member_PJ` are at least 0; rows of the result sum to 1, float64.
    """
    member_PJ = member_PJ.double()
    size_P1, overall = member_PJ.sum(1, keepdim=True), 1 / member_PJ.shape[1]
    group_PJ = torch.where(size_P1 > 0, member_PJ / size_P1, overall)
    return (1 - all_share) * group_PJ + all_share * overall


@dataclass(frozen=True)
class StopModel:
    """What each state means under each of P priors; shapes (P, S)."""

    states: VoteStates
    right_PS: Tensor
    """probability that the leader is correct"""
    lead_PS: Tensor
    """probability that the next sample votes for the leader"""
    run_PS: Tensor
    """probability that it votes for the runner-up"""
    rest_PS: Tensor
    """probability that it votes for neither or abstains"""


def stop_model(atoms: AnswerAtoms, prior_PJ: Tensor, cap: int) -> StopModel:
    """Posterior quantities of all vote states up to `cap` samples; rows of `prior_PJ` need not sum to 1."""
    states = vote_states(cap)
    prior_PJ = prior_PJ.double()
    drawn = (states.drawn_S, states.first_S, states.second_S)
    a_JS, b_JS = (likelihoods(atoms, *drawn, flip) for flip in (False, True))
    # A state that no atom of a prior makes likely may round to 0 in all of them: its quantities are then 0, not NaN.
    total_PS = (prior_PJ @ (a_JS + b_JS)).clamp(min=torch.finfo(torch.float64).tiny)
    s1_J, s2_J, r_J = atoms.share_J3.T[:, :, None]
    # A leader of the votes is the atom's first answer (a) or its second (b); `right_J` says which of these is correct.
    right_JS = a_JS * (atoms.right_J == 1)[:, None] + b_JS * (atoms.right_J == 2)[:, None]
    # Nobody has voted: there is no leader that could be right.
    right_PS = (prior_PJ @ right_JS) / total_PS * (states.first_S > 0)
    return StopModel(
        states,
        right_PS,
        (prior_PJ @ (a_JS * s1_J + b_JS * s2_J)) / total_PS,
        (prior_PJ @ (a_JS * s2_J + b_JS * s1_J)) / total_PS,
        (prior_PJ @ ((a_JS + b_JS) * r_J)) / total_PS,
    )


def likelihoods(atoms: AnswerAtoms, drawn_S: Tensor, first_S: Tensor, second_S: Tensor, flip: bool) -> Tensor:
    """a_j (or b_j with `flip`) of each atom in each state, (J, S), up to the same number of orders for all atoms."""
    leader_J1, other_J1, rest_J1 = (atoms.share_J3[:, i, None] for i in ((1, 0, 2) if flip else (0, 1, 2)))
    log_JS = first_S * leader_J1.log() + second_S * other_J1.log() + (drawn_S - first_S - second_S) * rest_J1.log()
    return log_JS.exp()


def optimal_stops(model: StopModel, cost_P: Tensor) -> Tensor:
    """Where stopping is at least as good as going on, (P, S) bool.

    Backward induction: at the cap a state is worth its P_right, and a state after n samples is worth the better of
    stopping (its P_right) and of one more sample (the mean worth of its three successors, which all have n + 1, minus
    the cost). So one pass from the cap down settles every state, for all priors at once.

    `cost_P` is the price of one more sample, in accuracy (a share, not points).
    """
    states, value_PS = model.states, model.right_PS.clone()
    stop_PS = torch.ones_like(value_PS, dtype=torch.bool)
    for drawn in range(states.cap - 1, -1, -1):
        here = states.level(drawn)
        # X: the states after `drawn` samples. Where two leaders tie, a vote for either leads to the same state.
        go_on_PX = (
            model.lead_PS[:, here] * value_PS[:, states.lead_S[here]]
            + model.run_PS[:, here] * value_PS[:, states.run_S[here]]
            + model.rest_PS[:, here] * value_PS[:, states.rest_S[here]]
            - cost_P[:, None]
        )
        stop_PS[:, here] = value_PS[:, here] >= go_on_PX - _TIE
        value_PS[:, here] = torch.maximum(value_PS[:, here], go_on_PX)
    return stop_PS


class HeadThenStop(TableRule):
    """Sequential: a prior for each question from the head, then the optimal stopping table of that prior."""

    def __init__(self, model: StopModel, price: float, tokens_P: Tensor, prior_Q: Tensor | None = None) -> None:
        """Set model, price (points per 1,000 tokens), predicted tokens of a sample, and each question's prior."""
        if not 0 <= price < float("inf"):
            raise T2Error(f"Expected a finite `price` >= 0 (accuracy points per 1,000 tokens), got {price}.")
        self.price = price
        cost_P = price / 100 * tokens_P.double() / 1000
        super().__init__(stop_table(optimal_stops(model, cost_P), model.states), prior_Q)


def no_head(atoms: AnswerAtoms, cap: int) -> StopModel:
    """The model of `NoHeadThenStop`: one prior, all training questions alike."""
    return stop_model(atoms, torch.ones(1, len(atoms.right_J)), cap)
