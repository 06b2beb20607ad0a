"""Policies that decide before decoding."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.policies.base import Costs, Needs, OneRound

_TIE = 1e-9
"""Utilities closer than this are equal: the cheaper budget wins."""
_LOG2_ROUNDING = 1e-6
"""log2 of a budget in float32 may come back a little above it."""


class FixedN(OneRound):
    """The same number of samples for every question: self-consistency as everyone runs it."""

    def __init__(self, n: int = 32) -> None:
        """Set the number.

        Args:
            n: samples; the smallest budget of the grid that is at least n is taken, else the largest.
        """
        if n < 1:
            raise T2Error(f"Expected `n` of at least 1 sample, got {n}.")
        self.n = n

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """One index for all."""
        index = next((k for k, n in enumerate(costs.grid) if n >= self.n), len(costs.grid) - 1)
        return torch.full((len(prediction.log_tokens_B),), index)


class PredictedN(OneRound):
    """Draw the predicted N*: 2^(mu + shift), rounded up into the grid (our choice of rounding)."""

    needs: ClassVar[Needs] = "n_star"

    def __init__(self, shift: float = 0.0) -> None:
        """Set the shift.

        Args:
            shift: added to the predicted log2 N*; +1 doubles every budget.
        """
        self.shift = shift

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """The first budget of at least 2^(mu + shift), the last if there is none."""
        if prediction.log2_n_B is None:
            raise T2Error("Expected a head that predicts N* for policy PredictedN, got one that does not.")
        wanted_B = torch.exp2(prediction.log2_n_B.double() + self.shift - _LOG2_ROUNDING)
        enough_BK = torch.tensor(costs.grid, dtype=torch.float64) >= wanted_B[:, None].cpu()
        return torch.where(enough_BK.any(1), enough_BK.int().argmax(1), len(costs.grid) - 1)


class Utility(OneRound):
    """Spend while it pays: maximise predicted accuracy minus price times predicted tokens.

    Climbing the upper concave hull of (predicted tokens, predicted accuracy) while its slope exceeds the price ends at
    this maximum; so dominated budgets are never chosen, and curves need not be monotone.
    """

    needs: ClassVar[Needs] = "curve"

    def __init__(self, price: float = 1.0) -> None:
        """Set the price.

        Args:
            price: accuracy points (hundredths) that 1,000 generated tokens must bring.
        """
        if not 0 <= price < float("inf"):
            raise T2Error(f"Expected a finite `price` >= 0 (accuracy points per 1,000 tokens), got {price}.")
        self.price = price

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """The best budget, the cheapest of equals."""
        if prediction.accuracy_BK is None:
            raise T2Error("Expected a head that predicts a curve for policy Utility, got one that does not.")
        utility_BK = 100 * prediction.accuracy_BK.double() - self.price * costs.tokens_BK.double() / 1000
        best_BK = utility_BK >= utility_BK.amax(1, keepdim=True) - _TIE
        return best_BK.int().argmax(1)
