"""References, not policies to deploy: what could be gained if a question's own samples were known beforehand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from t2.curves.labels import accuracy_on_grid, cut_grid
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.base import Costs, Replay, mean_of, replay_one_round
from t2.policies.one_round import Utility
from t2.policies.then_stop import AnswerAtoms, likelihoods


class _HalfOracle:
    """`Utility` on what one half of a question's samples says, scored on the other half, both ways.

    Never scored on the samples that chose. Budgets go up to the smaller half of each question's pool, about M/2.
    """

    def __init__(self, price: float = 1.0) -> None:
        """Set the price in accuracy points per 1,000 generated tokens."""
        self.utility = Utility(price)

    def _replay(
        self, pool: GradedPool, grid: tuple[int, ...], curve_of: Callable[[Tensor, tuple[int, ...]], Tensor]
    ) -> Replay:
        fold_QM = pool.fold_QM()
        halves = [pool.present_QM & (fold_QM == half) for half in (0, 1)]
        smallest = min(int(half.sum(1).min()) for half in halves)
        if smallest == 0:
            raise T2Error(
                f"Expected at least 2 samples of each question for {type(self).__name__} (one half chooses, the other "
                "scores), got a question with fewer. Leave the oracles out or top the pool up."
            )
        used = cut_grid(grid, smallest)
        tokens = [(pool.tokens_QM * half).sum(1).double() / half.sum(1).clamp(min=1) for half in halves]
        results = []
        for chooser, scorer in ((0, 1), (1, 0)):
            curve_QK = curve_of(halves[chooser], used)
            prediction = Prediction(log_tokens_B=tokens[chooser].clamp(min=1).log(), accuracy_BK=curve_QK)
            index_Q = self.utility.choose(prediction, Costs(used, tokens[chooser]))
            truth_QK = accuracy_on_grid(pool, used, halves[scorer]).nan_to_num(0.0)
            scored = replay_one_round(index_Q, truth_QK, used, pool)
            results.append(replace(scored, generated_tokens=scored.samples * tokens[scorer]))
        return mean_of(results)


class OwnOracle(_HalfOracle):
    """Chooses on the exact curve of the half: no prompt reveals this much, so it is optimistic (but pays for noise)."""

    def replay(self, pool: GradedPool, grid: tuple[int, ...]) -> Replay:
        """Mean of the two directions."""
        return self._replay(pool, grid, lambda half_QM, used: accuracy_on_grid(pool, used, half_QM).nan_to_num(0.0))


class BayesOracle(_HalfOracle):
    """Chooses on the posterior mean curve over training atoms, given the half's votes: what only sampling can know.

    It knows how often each answer came, not which is correct.
    """

    def replay(self, pool: GradedPool, grid: tuple[int, ...], atoms: AnswerAtoms, atom_curve_JK: Tensor) -> Replay:
        """Mean of the two directions.

        Args:
            pool: graded samples.
            grid: budgets of `atom_curve_JK`.
            atoms: answer shares of J training questions.
            atom_curve_JK: their curves.
        """

        def posterior_curve(half_QM: Tensor, used: tuple[int, ...]) -> Tensor:
            counts_QC, _, abstained_Q = pool.class_counts(half_QM)
            top_Q2 = torch.nn.functional.pad(counts_QC, (0, 2)).sort(dim=1, descending=True).values[:, :2]
            drawn_Q = counts_QC.sum(1) + abstained_Q
            weight_JQ = sum(likelihoods(atoms, drawn_Q, top_Q2[:, 0], top_Q2[:, 1], flip) for flip in (False, True))
            weight_QJ = torch.as_tensor(weight_JQ).T
            weight_QJ = weight_QJ / weight_QJ.sum(1, keepdim=True)
            return weight_QJ @ atom_curve_JK[:, : len(used)].double()

        return self._replay(pool, grid, posterior_curve)
