"""`OwnOracle`: what could be gained if a question's own curve were known. A reference, not a policy to deploy."""

from __future__ import annotations

import torch

from t2.curves.labels import accuracy_on_grid, cut_grid
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.base import Costs, Replay, mean_of, replay_one_round
from t2.policies.one_round import Utility


class OwnOracle:
    """`Utility` on the curve and lengths of one half of a question's own samples, scored on the other half, both ways.

    Optimistic (no prompt reveals this much), yet never scored on the samples that chose. Budgets go up to the smaller
    half of each question's pool, about M/2.
    """

    def __init__(self, price: float = 1.0) -> None:
        """Set the price in accuracy points per 1,000 generated tokens."""
        self.utility = Utility(price)

    def replay(self, pool: GradedPool, grid: tuple[int, ...]) -> Replay:
        """Mean of the two directions."""
        fold_QM = pool.fold_QM()
        halves = [pool.present_QM & (fold_QM == half) for half in (0, 1)]
        acc = [_filled(accuracy_on_grid(pool, cut_grid(grid, int(pool.vote_QM.shape[1])), half)) for half in halves]
        usable = min(int(half.sum(1).min()) for half in halves)
        used = cut_grid(grid, max(1, usable))
        results = []
        for chooser, scorer in ((0, 1), (1, 0)):
            tokens_Q = (pool.tokens_QM * halves[chooser]).sum(1).double() / halves[chooser].sum(1).clamp(min=1)
            prediction = Prediction(log_tokens_B=tokens_Q.log(), accuracy_BK=acc[chooser][:, : len(used)])
            index_Q = self.utility.choose(prediction, Costs(used, tokens_Q))
            scored = replay_one_round(index_Q, acc[scorer][:, : len(used)], used, pool)
            scored_tokens_Q = (pool.tokens_QM * halves[scorer]).sum(1).double() / halves[scorer].sum(1).clamp(min=1)
            results.append(Replay(**{**vars(scored), "generated_tokens": scored.samples * scored_tokens_Q}))
        return mean_of(results)


def _filled(acc_QK: torch.Tensor) -> torch.Tensor:
    """NaN (beyond the half) as 0, so that it is never chosen."""
    return acc_QK.nan_to_num(0.0)
