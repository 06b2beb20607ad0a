"""References, not policies to deploy: what could be gained if a question's own samples were known beforehand."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from t2.curves.halves import Halves
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import AnswerAtoms
from t2.heads.base import Prediction
from t2.policies.base import Costs, Replay, mean_of, replay_sampled
from t2.policies.engine_axes import RoundAxes
from t2.policies.one_round import Utility


class OwnOracle:
    """`Utility` on the exact curve of one half: more than any prompt reveals, yet it pays for that half's noise."""

    def __init__(self, price: float = 1.0) -> None:
        self.utility = Utility(price)

    def replay(self, halves: Halves, pool: GradedPool, axes: RoundAxes | None = None) -> Replay:
        """Mean of the two directions; `axes` are of the pool on a grid that begins as `halves.grid`."""
        return _both_ways(self.utility, halves.acc_QK, halves, pool, axes)


class BayesOracle:
    """`Utility` on the posterior mean curve over training atoms, given one half's votes: what only sampling can know.

    It knows how often each answer came, not which is correct.
    """

    def __init__(self, price: float = 1.0) -> None:
        self.utility = Utility(price)

    def replay(
        self,
        halves: Halves,
        pool: GradedPool,
        atoms: AnswerAtoms,
        atom_curve_JK: Tensor,
        axes: RoundAxes | None = None,
    ) -> Replay:
        """Mean of the two directions; the atoms' curves, and axes, are on a grid that begins as `halves.grid`."""
        curve_JK = atom_curve_JK[:, : len(halves.grid)].double()
        first, second = (_posterior(atoms, votes_Q3) @ curve_JK for votes_Q3 in halves.votes_Q3)
        return _both_ways(self.utility, (first, second), halves, pool, axes)


def _posterior(atoms: AnswerAtoms, votes_Q3: Tensor) -> Tensor:
    """Weights over the atoms given the votes of a half, (Q, J).

    As `answer_atoms.log_likelihoods`, whichever answer is correct; in logs, since the likelihood of a hundred votes may
    round to 0 under every atom.
    """
    drawn_Q, first_Q, second_Q = votes_Q3.double().T
    came_Q3 = torch.stack([first_Q, second_Q, drawn_Q - first_Q - second_Q], 1)
    log_J3 = atoms.share_J3.log()
    return torch.logaddexp(came_Q3 @ log_J3.T, came_Q3 @ log_J3[:, [1, 0, 2]].T).softmax(1)


def _both_ways(
    utility: Utility,
    curve_QK: tuple[Tensor, Tensor],
    halves: Halves,
    pool: GradedPool,
    axes: RoundAxes | None,
) -> Replay:
    axes, results = axes or RoundAxes.of(pool, halves.grid), []
    for chooser, scorer in ((0, 1), (1, 0)):
        tokens_Q = halves.tokens_Q[chooser]
        prediction = Prediction(log_tokens_B=tokens_Q.clamp(min=1).log(), accuracy_BK=curve_QK[chooser])
        index_Q = utility.choose(prediction, Costs(halves.grid, tokens_Q))
        scored = replay_sampled(index_Q, halves.acc_QK[scorer], halves.grid, pool, axes)
        results.append(replace(scored, generated_tokens=scored.samples * halves.tokens_Q[scorer]))
    return mean_of(results)
