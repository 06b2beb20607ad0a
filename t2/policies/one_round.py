"""Policies that decide before decoding."""

from __future__ import annotations

import sys
from typing import ClassVar

import torch
from torch import Tensor

from t2.curves.labels import index_of_at_least
from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.policies.base import Costs, Needs, OneRound

_TIE = 1e-9
"""Utilities closer than this are equal: the cheaper budget wins."""


def is_finite_number(knob: object) -> bool:
    """Whether a knob is a number, neither NaN nor infinite: configs and files may hold anything."""
    return isinstance(knob, int | float) and not isinstance(knob, bool) and abs(knob) <= sys.float_info.max


def check_finite(values_BX: Tensor, what: str, policy: str) -> None:
    """Reject predictions that are NaN or infinite: comparisons with NaN are false, and would choose some budget.

    Raises:
        T2Error: some are.
    """
    wrong = int((~values_BX.isfinite()).unsqueeze(-1).flatten(1).any(1).sum())
    if wrong:
        raise T2Error(
            f"Expected finite predicted {what} for policy {policy}, got NaN or infinity for {wrong} of "
            f"{len(values_BX)} questions. Check the activations that the head reads; if they are finite, train it "
            "again."
        )


class FixedN(OneRound):
    """The same number of samples for every question: self-consistency as everyone runs it."""

    def __init__(self, n: int = 32) -> None:
        """Set the number.

        Args:
            n: samples; the smallest budget of the grid that is at least n is taken, else the largest.
        """
        if not (isinstance(n, int) and is_finite_number(n) and n >= 1):
            raise T2Error(f"Expected `n`, a whole number of samples, of at least 1, got {n!r}. Set it to a budget.")
        self.n = n

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """One index for all. Of the prediction it reads only how many questions there are."""
        return index_of_at_least(costs.grid, torch.full((len(prediction.log_tokens_B),), self.n, dtype=torch.float64))


class PredictedN(OneRound):
    """Draw the predicted N*: 2^(mu + shift), rounded up into the grid (our choice of rounding)."""

    needs: ClassVar[Needs] = "n_star"

    def __init__(self, shift: float = 0.0) -> None:
        """Set the shift.

        Args:
            shift: added to the predicted log2 N*; +1 doubles every budget.
        """
        if not is_finite_number(shift):
            raise T2Error(f"Expected a finite `shift` (log2 of samples), got {shift!r}. Set it to 0 for no shift.")
        self.shift = shift

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """The first budget of at least 2^(mu + shift), the last if there is none."""
        if prediction.log2_n_B is None:
            raise T2Error("Expected a head that predicts N* for policy PredictedN, got one that does not.")
        check_finite(prediction.log2_n_B, "log2 N*", "PredictedN")
        return index_of_at_least(costs.grid, torch.exp2(prediction.log2_n_B.double().cpu() + self.shift))


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
        if not (is_finite_number(price) and price >= 0):
            raise T2Error(
                f"Expected a finite `price` >= 0 (accuracy points per 1,000 tokens), got {price!r}. "
                "Set it to 0 for the most accurate budget whatever it costs."
            )
        self.price = price

    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """The best budget, the cheapest of equals."""
        if prediction.accuracy_BK is None:
            raise T2Error("Expected a head that predicts a curve for policy Utility, got one that does not.")
        check_finite(prediction.accuracy_BK, "accuracies", "Utility")
        check_finite(costs.tokens_per_sample_B, "tokens", "Utility")
        utility_BK = 100 * prediction.accuracy_BK.double() - self.price * costs.tokens_BK.double() / 1000
        best_BK = utility_BK >= utility_BK.amax(1, keepdim=True) - _TIE
        return best_BK.int().argmax(1)  # the first of equals, and budgets rise
