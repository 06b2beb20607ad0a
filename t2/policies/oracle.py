"""References, not policies to deploy: what could be gained if a question's own samples were known beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from t2.curves.labels import accuracy_on_grid, cut_grid
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.base import Costs, Replay, mean_of, replay_one_round
from t2.policies.one_round import Utility
from t2.policies.then_stop import AnswerAtoms, likelihoods


@dataclass(frozen=True)
class Halves:
    """Both halves of each question's samples (index 0 and 1): what one half chooses, the other scores."""

    grid: tuple[int, ...]
    """budgets up to the smallest half, about M/2"""
    curve_H: tuple[Tensor, Tensor]
    """A(N) of each half, (Q, K)"""
    tokens_H: tuple[Tensor, Tensor]
    """mean generated tokens of a sample, (Q,)"""
    votes_H: tuple[Tensor, Tensor]
    """samples, votes of the leader and votes of the runner-up, (Q, 3)"""

    @staticmethod
    def of(pool: GradedPool, grid: tuple[int, ...]) -> Halves:
        """Split by `GradedPool.fold_QM`.

        Raises:
            T2Error: a question has only one sample.
        """
        fold_QM = pool.fold_QM()
        halves = [pool.present_QM & (fold_QM == half) for half in (0, 1)]
        smallest = min(int(half.sum(1).min()) for half in halves)
        if smallest == 0:
            raise T2Error(
                "Expected at least 2 samples of each question for an oracle (one half chooses, the other scores), "
                "got a question with fewer. Leave the oracles out or top the pool up."
            )
        used = cut_grid(grid, smallest)
        curve, tokens, votes = [], [], []
        for half_QM in halves:
            counts_QC, _, abstained_Q = pool.class_counts(half_QM)
            top_Q2 = torch.nn.functional.pad(counts_QC, (0, 2)).sort(dim=1, descending=True).values[:, :2]
            curve.append(accuracy_on_grid(pool, used, half_QM))
            tokens.append((pool.tokens_QM * half_QM).sum(1).double() / half_QM.sum(1))
            votes.append(torch.cat([(counts_QC.sum(1) + abstained_Q)[:, None], top_Q2], 1))
        return Halves(used, (curve[0], curve[1]), (tokens[0], tokens[1]), (votes[0], votes[1]))

    def take(self, rows: Tensor) -> Halves:
        """The halves of some questions."""
        curve, tokens, votes = ((pair[0][rows], pair[1][rows]) for pair in (self.curve_H, self.tokens_H, self.votes_H))
        return Halves(self.grid, curve, tokens, votes)


class OwnOracle:
    """`Utility` on the exact curve of one half: more than any prompt reveals, yet it pays for that half's noise."""

    def __init__(self, price: float = 1.0) -> None:
        """Set the price in accuracy points per 1,000 generated tokens."""
        self.utility = Utility(price)

    def replay(self, halves: Halves, pool: GradedPool) -> Replay:
        """Mean of the two directions."""
        return _both_ways(self.utility, halves.curve_H, halves, pool)


class BayesOracle:
    """`Utility` on the posterior mean curve over training atoms, given one half's votes: what only sampling can know.

    It knows how often each answer came, not which is correct.
    """

    def __init__(self, price: float = 1.0) -> None:
        """Set the price in accuracy points per 1,000 generated tokens."""
        self.utility = Utility(price)

    def replay(self, halves: Halves, pool: GradedPool, atoms: AnswerAtoms, atom_curve_JK: Tensor) -> Replay:
        """Mean of the two directions.

        Args:
            halves: of the pool.
            pool: graded samples.
            atoms: answer shares of J training questions.
            atom_curve_JK: their curves on a grid that starts with `halves.grid`.
        """
        curve_JK = atom_curve_JK[:, : len(halves.grid)].double()
        first, second = (_posterior(atoms, votes_Q3) @ curve_JK for votes_Q3 in halves.votes_H)
        return _both_ways(self.utility, (first, second), halves, pool)


def _posterior(atoms: AnswerAtoms, votes_Q3: Tensor) -> Tensor:
    """Weights over the atoms given the votes of a half, (Q, J)."""
    drawn_Q, first_Q, second_Q = votes_Q3.T
    weight_JQ = likelihoods(atoms, drawn_Q, first_Q, second_Q, flip=False)
    weight_JQ = weight_JQ + likelihoods(atoms, drawn_Q, first_Q, second_Q, flip=True)
    return (weight_JQ / weight_JQ.sum(0)).T


def _both_ways(utility: Utility, curve_H: tuple[Tensor, Tensor], halves: Halves, pool: GradedPool) -> Replay:
    """Choose on one half and score on the other, then the other way round."""
    results = []
    for chooser, scorer in ((0, 1), (1, 0)):
        tokens_Q = halves.tokens_H[chooser]
        prediction = Prediction(log_tokens_B=tokens_Q.clamp(min=1).log(), accuracy_BK=curve_H[chooser])
        index_Q = utility.choose(prediction, Costs(halves.grid, tokens_Q))
        scored = replay_one_round(index_Q, halves.curve_H[scorer], halves.grid, pool)
        results.append(replace(scored, generated_tokens=scored.samples * halves.tokens_H[scorer]))
    return mean_of(results)
