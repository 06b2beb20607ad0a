"""`HeadThenStop`: a prior from the head, then samples as long as they are worth their tokens and their waits. Pure.

Atoms are training questions, each with the shares (s1, s2) of its two most frequent answers, the rest r = 1 - s1 - s2,
and which of the two is correct (1, 2, or 0: neither). After n draws with v1 >= v2 votes for leader and runner-up,

    a_j = s1^v1 s2^v2 r^(n-v1-v2)     the leader is the atom's first answer
    b_j = s2^v1 s1^v2 r^(n-v1-v2)     the leader is its second
    P_right = sum_j w_j (a_j [c_j=1] + b_j [c_j=2]) / sum_j w_j (a_j + b_j)

and `planning.plan` turns that into one table per prior w: how many samples to draw before the next look, for a price
per token and one per wait. `NoHeadThenStop` is the same with one prior for everybody: the difference is what the prior
adds.

The atoms of a group alone are too sure a prior: after a few votes the posterior rests on the two or three atoms that
look alike, and where those agree one more sample seems worth nothing, whatever the price. So half of each bin's prior
is that of all atoms (`softened`): no votes are then less than half as likely as `NoHeadThenStop` takes them to be. Of a
`PriorHead`'s own prior it is `lam` (`weights_with_everyone`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.heads.answer_atoms import AnswerAtoms, swapped
from t2.heads.training_votes import TrainingVotes
from t2.policies.planning import LEAST_COST, StopModel, last_batches, plan_each, right_at_once
from t2.policies.states import VoteStates, vote_states
from t2.policies.stopping import DrawTable, TableRule

ALL_SHARE = 0.5
"""Weight of all atoms in the prior of a group."""

_STATES_AT_ONCE = 1024
"""Bounds memory: a matrix of all atoms and so many states at a time."""


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
class StateSums:
    """Of each of J mixtures of atoms, the unnormalised sums that a `StopModel` is made of; shapes (J, S).

    They are linear in the mixture, so the sums of a question's prior are a weighted mean of those of a few mixtures:
    hundreds of priors cost a small matrix product, not a pass over all atoms each.
    """

    states: VoteStates
    right_JS: Tensor
    lead_JS: Tensor
    run_JS: Tensor
    rest_JS: Tensor

    @staticmethod
    def of(atoms: AnswerAtoms, weight_JA: Tensor, cap: int) -> StateSums:
        """Sums over A atoms with the weights of each mixture, up to `cap` samples.

        The sums of a_j and of b_j are one: those of b_j are those of a_j of atoms whose first two answers have changed
        places. All four sums are products of the likelihoods and of weights that already hold the next vote's share.
        """
        states, (share_X3, right_X, weight_JX) = vote_states(cap), _both_ways(atoms, weight_JA.double())
        next_JX = torch.cat([weight_JX * (right_X == 1), *(weight_JX * share_X for share_X in share_X3.T)])
        rest_S = states.drawn_S - states.first_S - states.second_S
        came_3S = torch.stack([states.first_S, states.second_S, rest_S]).double()
        log_X3 = share_X3.log()
        sums = [next_JX @ (log_X3 @ came_3X).exp_() for came_3X in torch.split(came_3S, _STATES_AT_ONCE, 1)]
        right_JS, lead_JS, run_JS, rest_JS = torch.cat(sums, 1).chunk(4)
        # Nobody has voted: there is no leader that could be right.
        return StateSums(states, right_JS * (states.first_S > 0), lead_JS, run_JS, rest_JS)

    def upto(self, cap: int) -> StateSums:
        """The same where at most `cap` samples may be drawn: states are numbered by rising samples."""
        states = vote_states(cap)
        parts = (self.right_JS, self.lead_JS, self.run_JS, self.rest_JS)
        return StateSums(states, *(part[:, : len(states)] for part in parts))

    def model(self, weight_PJ: Tensor | None = None) -> StopModel:
        """What each state means under weighted means of the mixtures, None: under each mixture itself.

        Weights need not sum to 1.
        """
        parts = (self.right_JS, self.lead_JS, self.run_JS, self.rest_JS)
        mixed = [part.clone() if weight_PJ is None else weight_PJ.double() @ part for part in parts]
        # A state that no atom of a prior makes likely may round to 0 in all: its quantities are then 0, not NaN.
        total_PS = (mixed[1] + mixed[2] + mixed[3]).clamp_(min=torch.finfo(torch.float64).tiny)
        return StopModel(self.states, *(part.div_(total_PS) for part in mixed))


def stop_model(atoms: AnswerAtoms, prior_PJ: Tensor, cap: int) -> StopModel:
    """Posterior quantities of all vote states up to `cap` samples; rows of `prior_PJ` need not sum to 1."""
    return StateSums.of(atoms, prior_PJ, cap).model()


def _both_ways(atoms: AnswerAtoms, weight_JA: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct atoms, as they are and with their first two answers changed: shares, correct answer, weights (J, X)."""
    share_A3, right_A = atoms.share_J3, atoms.right_J
    as_is_A4 = torch.cat([share_A3, right_A[:, None]], 1)
    changed_A4 = torch.cat([share_A3[:, [1, 0, 2]], swapped(right_A)[:, None]], 1)
    # Many questions have the same counts, above all those that are always right: they are one atom.
    distinct_X4, which_X = torch.unique(torch.cat([as_is_A4, changed_A4]), dim=0, return_inverse=True)
    weight_JX = weight_JA.new_zeros(len(weight_JA), len(distinct_X4)).index_add_(1, which_X, weight_JA.repeat(1, 2))
    return distinct_X4[:, :3], distinct_X4[:, 3].long(), weight_JX


@dataclass(frozen=True)
class Prices:
    """What accuracy must pay for: the setting of a planned rule."""

    price: float
    """accuracy points per 1,000 generated tokens"""
    round_price: float = 0.0
    """accuracy points that one more wait must bring; infinity: one round"""

    def __post_init__(self) -> None:
        if not 0 <= self.price < float("inf"):
            raise T2Error(f"Expected a finite `price` >= 0 (accuracy points per 1,000 tokens), got {self.price}.")
        if not self.round_price >= 0:  # NaN fails too
            raise T2Error(
                f"Expected a `round_price` >= 0 (accuracy points that a round must bring), got {self.round_price}. "
                "Set it to 0 where waiting costs nothing, to infinity for a single round."
            )

    @property
    def price_of_a_token(self) -> float:
        """In accuracy (a share, not points)."""
        return self.price / 100 / 1000


def sample_cost(prices: Prices, tokens_P: Tensor) -> Tensor:
    """What one more sample costs in accuracy (a share, not points), float64, given its tokens."""
    return prices.price_of_a_token * tokens_P.double()


@dataclass(frozen=True)
class Priors:
    """What plans are made with: P priors, and what a sample and a greedy answer of each are thought to be worth."""

    model: StopModel
    tokens_P: Tensor
    """predicted tokens of a sample"""
    greedy_right_P: Tensor | None = None
    """probability that the greedy answer is correct; None: there is none, or it is not to be used"""

    def tables(self, prices: Sequence[Prices]) -> list[DrawTable]:
        """The best plan for each pair of prices."""
        cost_NP = torch.stack([sample_cost(each, self.tokens_P) for each in prices])
        round_N = torch.tensor([each.round_price for each in prices], dtype=torch.float64) / 100
        return plan_each(self.model, cost_NP, round_N, self.greedy_right_P)

    def last_table(self, prices: Prices) -> DrawTable:
        """The best batch in every state if it is drawn and no look comes after it, for a last allowed round."""
        return last_batches(self.model, sample_cost(prices, self.tokens_P))


def priors_of_everyone(votes: TrainingVotes, cap: int) -> Priors:
    """One prior: all training questions alike, as `NoHeadThenStop` plans."""
    greedy_right_Q = votes.greedy_right_Q
    greedy_P = None if greedy_right_Q is None else greedy_right_Q.mean()[None]
    return Priors(no_head(votes.atoms, cap), votes.tokens_Q.double().mean()[None], greedy_P)


def priors_of_weights(
    votes: TrainingVotes, spread_JQ: Tensor, weight_PJ: Tensor, lam: float, tokens_P: Tensor, cap: int
) -> Priors:
    """A prior for each row of a `PriorHead`'s weights over atoms.

    Args:
        votes: of the questions that the head learned from.
        spread_JQ: share of each of them in an atom.
        weight_PJ: rows sum to 1.
        lam: see `weights_with_everyone`.
        tokens_P: predicted tokens of a sample.
        cap: samples.
    """
    return HeadMixtures.of(votes, spread_JQ, lam, cap).priors(weight_PJ, tokens_P)


@dataclass(frozen=True)
class HeadMixtures:
    """What turns a `PriorHead`'s weights into priors: made once, it serves every question at every smaller cap."""

    sums: StateSums
    """of each atom's training questions, and last of all of them alike"""
    mixture_JQ: Tensor
    greedy_right_Q: Tensor | None
    lam: float

    @staticmethod
    def of(votes: TrainingVotes, spread_JQ: Tensor, lam: float, cap: int) -> HeadMixtures:
        mixture_JQ = mixtures_with_everyone(spread_JQ)
        return HeadMixtures(StateSums.of(votes.atoms, mixture_JQ, cap), mixture_JQ, votes.greedy_right_Q, lam)

    def priors(self, weight_BJ: Tensor, tokens_B: Tensor, cap: int | None = None) -> Priors:
        """A prior for each row of weights, which sum to 1; up to `cap` samples, None: as many as there may be."""
        weight_BJ = weights_with_everyone(weight_BJ, self.lam)
        greedy_B = None if self.greedy_right_Q is None else weight_BJ @ self._greedy_right_J
        sums = self.sums if cap is None else self.sums.upto(cap)
        return Priors(sums.model(weight_BJ), tokens_B.double(), greedy_B)

    def beats_greedy(self, weight_BJ: Tensor, tokens_B: Tensor, prices: Prices, cap: int) -> Tensor:
        """Whether one batch alone is worth as much as the greedy answer, (B,) bool: then no plan takes that answer.

        False says nothing: a plan that looks in between may still be worth more. It costs one product of small
        matrices, a plan hundreds of steps.

        Args:
            weight_BJ: of the head, rows sum to 1.
            tokens_B: predicted tokens of a sample.
            prices: of the plan.
            cap: samples.
        """
        if self.greedy_right_Q is None:
            return torch.ones(len(weight_BJ), dtype=torch.bool)
        gain_BM = weights_with_everyone(weight_BJ, self.lam) @ self._gain_at_once_JM[:, :cap]
        cost_B = sample_cost(prices, tokens_B)
        # Both sides less the greedy answer's: what a batch gains over it, and what it costs more.
        cost_BM = cost_B.clamp(min=LEAST_COST)[:, None] * torch.arange(1, cap + 1) - cost_B[:, None]
        return (gain_BM >= cost_BM).any(1)

    @cached_property
    def _gain_at_once_JM(self) -> Tensor:
        """Accuracy of 1, 2, ... samples drawn at once less that of the greedy answer."""
        assert self.greedy_right_Q is not None
        return right_at_once(self.sums.model())[:, 1:] - self._greedy_right_J[:, None]

    @cached_property
    def _greedy_right_J(self) -> Tensor:
        assert self.greedy_right_Q is not None
        return self.mixture_JQ @ self.greedy_right_Q


def weights_with_everyone(weight_BJ: Tensor, lam: float) -> Tensor:
    """Weights (B, J + 1) over `mixtures_with_everyone`, of which the last has `lam`.

    A head's own prior is too sure to plan with (docs/LOG.md): of each, `lam` is the mean of all training questions.
    """
    return torch.nn.functional.pad(weight_BJ.double() * (1 - lam), (0, 1), value=lam)


def mixtures_with_everyone(spread_JQ: Tensor) -> Tensor:
    """Mixtures of training questions (J + 1, Q), the last of them all alike."""
    everyone_1Q = torch.full((1, spread_JQ.shape[1]), 1 / spread_JQ.shape[1], dtype=torch.float64)
    return torch.cat([spread_JQ.double(), everyone_1Q])


class HeadThenStop(TableRule):
    """Sequential: a prior for each question from the head, then the best plan of rounds under that prior.

    `prior_Q` is each question's prior; None: all have the first.
    """

    def __init__(self, priors: Priors, prices: Prices, prior_Q: Tensor | None = None) -> None:
        self.prices = prices
        super().__init__(priors.tables([prices])[0], prior_Q)


def no_head(atoms: AnswerAtoms, cap: int) -> StopModel:
    """The model of `NoHeadThenStop`: one prior, all training questions alike."""
    return stop_model(atoms, torch.ones(1, len(atoms.right_J)), cap)
