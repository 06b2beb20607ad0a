"""`BatchBudget`: one total of predicted tokens, shared out over a batch where it is predicted to bring most. Pure.

Each question starts at its cheapest budget and climbs the upper concave hull of its predicted (tokens, accuracy). All
steps of all questions are taken steepest first until one does not fit. On a hull slopes never rise, so this order
respects each question's own, and what is reached is the best allocation for its own spending (Fox, "Discrete
optimization via marginal analysis", Management Science 1966). Against any allocation of the same total it lacks at most
the gain of the step that did not fit. The order does not depend on the total: a larger total gives no question less.
"""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

import torch
from torch import Tensor

from t2.curves.labels import MIN_EPS
from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.policies.base import Costs, Needs, OneRound
from t2.policies.one_round import check_finite, is_finite_number

_QUESTIONS_AT_ONCE = 1 << 15
"""Of a hull pass: its columns stay in the cache."""
_ROUNDING = 1e-12
"""Relative: a total that was computed as number times mean may be this much below the sum."""
_SAME_SLOPE = 1e-9
"""Relative: lines through points that lie on one line differ by rounding."""


class BatchBudget(OneRound):
    """Share one total of predicted tokens out over the batch, steepest predicted gain first.

    The choice for a question depends on the others in the batch, so the batch must be known together, and a promise
    that was calibrated for single questions does not hold.
    """

    needs: ClassVar[Needs] = "curve"

    def __init__(self, tokens_per_question: float) -> None:
        """Set the total by its mean, so that it suits batches of any size.

        Args:
            tokens_per_question: mean predicted generated tokens of a question; the total is this times the batch size.
        """
        if not (is_finite_number(tokens_per_question) and tokens_per_question >= 0):
            raise T2Error(
                "Expected a finite `tokens_per_question` >= 0 (predicted generated tokens), got "
                f"{tokens_per_question!r}. Set it to the mean that a question may cost."
            )
        self.tokens_per_question = tokens_per_question

    @classmethod
    def like_fixed(cls, n: float, tokens_per_sample_B: Tensor) -> BatchBudget:
        """The total that `n` samples a question are predicted to cost; at least 1, need not be whole."""
        if not 1 <= n < float("inf"):
            raise T2Error(f"Expected a finite `n` of at least 1 sample a question, got {n}.")
        return cls(n * float(tokens_per_sample_B.double().mean()))

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        if prediction.accuracy_BK is None:
            raise T2Error("Expected a head that predicts a curve for policy BatchBudget, got one that does not.")
        total = self.tokens_per_question * len(prediction.log_tokens_B)
        return allocate(prediction.accuracy_BK, costs.tokens_BK, total)


def allocate(accuracy_BK: Tensor, tokens_BK: Tensor, total: float) -> Tensor:
    """Greedy allocation along the hulls, stopped at the first step that does not fit.

    All steps of all questions stand in one list, steepest first, and the longest beginning that fits is taken. A
    question's own steps keep their order in it, since their slopes never rise, so where it ends up is the farthest of
    its steps that were taken.

    Args:
        accuracy_BK: predicted accuracy of each budget; need not rise.
        tokens_BK: predicted tokens of each budget, positive and strictly rising along the grid.
        total: predicted tokens that the batch may spend.

    Returns:
        Index of each question's budget, (B,). Its tokens sum to at most `total`. Equal slopes go to the lower question
        index first.

    Raises:
        T2Error: predictions that are not finite or do not rise in tokens, or a total below one sample for each.
    """
    accuracy_BK, tokens_BK = accuracy_BK.double().cpu(), tokens_BK.double().cpu()
    _check(accuracy_BK, tokens_BK)
    start = float(tokens_BK[:, 0].sum())
    if not isfinite(total) or total < start * (1 - _ROUNDING):
        raise T2Error(
            f"Expected a finite total of at least {start:.6g} predicted tokens, the cheapest budget for each of "
            f"{len(tokens_BK)} questions, got {total:.6g}. "
            f"Set `tokens_per_question` to at least {start / max(1, len(tokens_BK)):.6g}."
        )
    slope_BK, next_BK = hull_steps(accuracy_BK, tokens_BK)
    # S: steps, in the order of questions and budgets, which is that of ties; all but the look-ups through `order_S`
    # walk through memory in line.
    question_S, from_S = (slope_BK > 0).nonzero(as_tuple=True)
    to_S = next_BK[question_S, from_S].long()
    cost_S = tokens_BK[question_S, to_S] - tokens_BK[question_S, from_S]
    order_S = torch.argsort(slope_BK[question_S, from_S], descending=True, stable=True)
    num_taken = int(torch.searchsorted(start + cost_S[order_S].cumsum(0), total, right=True))
    taken_S = torch.zeros(len(order_S), dtype=torch.bool)
    taken_S[order_S[:num_taken]] = True
    index_B = torch.zeros(len(tokens_BK), dtype=torch.long)
    index_B.scatter_reduce_(0, question_S[taken_S], to_S[taken_S], "amax")
    # The running sum rounds otherwise than the sum of what was chosen, which is what may not exceed the total.
    while num_taken and float(tokens_BK.gather(1, index_B[:, None]).sum()) > total:
        num_taken -= 1
        last = order_S[num_taken]
        index_B[question_S[last]] = from_S[last]
    return index_B


def hull_steps(accuracy_BK: Tensor, tokens_BK: Tensor) -> tuple[Tensor, Tensor]:
    """The rising part of each question's upper concave hull of (tokens, accuracy), from its cheapest budget on.

        accuracy       __o 9      Budgets 1, 3, 5, 9. From 1 the steepest line goes to 5, not to 3, which lies below it;
            |     o 5             from 5 it goes to 9. So `next` is 5 at 1, 9 at 5, and 3 is never met: its slope is set
            |  . 3                to 0, though a line starts there too. The steepest line from a vertex of the hull is
            | o 1                 the hull's next edge: all other points lie below it.
            +---------- tokens

    Gains of at most `MIN_EPS` are rounding, not gains.

    Returns:
        slope_BK: accuracy per token of the hull's edge that starts at this budget, never rising along the hull; 0 where
        no edge starts. next_BK: index where that edge ends (int16), meaningless where none starts.
    """
    slope_BK, next_BK = torch.zeros_like(accuracy_BK), torch.zeros(accuracy_BK.shape, dtype=torch.int16)
    for start in range(0, len(accuracy_BK), _QUESTIONS_AT_ONCE):
        some = slice(start, start + _QUESTIONS_AT_ONCE)
        slope_KB, next_KB = _steepest(accuracy_BK[some].T.contiguous(), tokens_BK[some].T.contiguous())
        slope_BK[some], next_BK[some] = _walked(slope_KB, next_KB).T, next_KB.T
    return slope_BK, next_BK


def _steepest(accuracy_KB: Tensor, tokens_KB: Tensor) -> tuple[Tensor, Tensor]:
    """From each budget the steepest rising line to a later one: its slope (0: none) and end.

    Of equals the shortest: small steps fit more often.
    """
    slope_KB, next_KB = torch.zeros_like(accuracy_KB), torch.zeros(accuracy_KB.shape, dtype=torch.int16)
    for i in range(len(accuracy_KB) - 1):
        gain_JB = accuracy_KB[i + 1 :] - accuracy_KB[i]
        line_JB = torch.where(gain_JB > MIN_EPS, gain_JB / (tokens_KB[i + 1 :] - tokens_KB[i]), 0.0)
        for j, line_B in enumerate(line_JB, start=i + 1):
            steeper_B = line_B > slope_KB[i] * (1 + _SAME_SLOPE)
            next_KB[i].masked_fill_(steeper_B, j)
            torch.where(steeper_B, line_B, slope_KB[i], out=slope_KB[i])
    return slope_KB, next_KB


def _walked(slope_KB: Tensor, next_KB: Tensor) -> Tensor:
    """Slopes of the edges that are met on the way from the cheapest budget, 0 elsewhere.

    Each is capped by the one before: equal slopes may differ by rounding, and a later step must never come first.
    """
    cap_KB = torch.zeros_like(slope_KB)  # 0: not reached
    cap_KB[0] = torch.inf
    for i in range(len(slope_KB) - 1):
        edge_B = torch.minimum(slope_KB[i], cap_KB[i])
        for j in range(i + 1, len(slope_KB)):
            torch.where(next_KB[i] == j, torch.maximum(edge_B, cap_KB[j]), cap_KB[j], out=cap_KB[j])
    return torch.minimum(slope_KB, cap_KB)


def _check(accuracy_BK: Tensor, tokens_BK: Tensor) -> None:
    if accuracy_BK.shape != tokens_BK.shape or accuracy_BK.dim() != 2 or not accuracy_BK.shape[1]:
        raise T2Error(
            "Expected predicted accuracies and tokens of the same questions and budgets, got shapes "
            f"{tuple(accuracy_BK.shape)} and {tuple(tokens_BK.shape)}."
        )
    check_finite(accuracy_BK, "accuracies", "BatchBudget")
    check_finite(tokens_BK, "tokens", "BatchBudget")
    if not (bool((tokens_BK[:, :1] > 0).all()) and bool((tokens_BK.diff(dim=1) > 0).all())):
        raise T2Error(
            "Expected predicted tokens that are positive and rise along the grid, got others. Check the head's "
            "predictions."
        )
