"""A straight line on the log odds: probabilities that are too modest or too sure made true (Platt 1999). Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

_LEAST = 1e-4
"""Probabilities are held this far from 0 and 1: log odds of a certainty are infinite."""
STEEPEST = 10.0
"""Beyond it the questions are all but separated, which few ones may be by chance: a line would promise certainty."""
_STEPS = 100
_FLAT = 1e-9
"""Gradient a question at which the line is found."""
_SHORTEST = 1e-14


@dataclass(frozen=True)
class LogOddsLine:
    """sigmoid(intercept + slope * logit(p))."""

    intercept: float
    slope: float

    def of(self, probability: float) -> float:
        """What a probability becomes."""
        held = min(max(probability, _LEAST), 1 - _LEAST)
        return 1 / (1 + math.exp(-self.intercept - self.slope * math.log(held / (1 - held))))


def fitted_line(probability_X: Tensor, happened_X: Tensor) -> LogOddsLine | None:
    """The line of largest likelihood, by Newton's method with shorter steps where it overshoots.

    Args:
        probability_X: that were said, from 0 to 1.
        happened_X: 1: it was so, 0: it was not.

    Returns:
        None where no line can be told: all happened, or none did, or all probabilities are one; and where what was said
        more probable happened less often, which no recalibration should turn round.
    """
    held_X = probability_X.double().clamp(_LEAST, 1 - _LEAST)
    x_X2 = torch.stack([torch.ones_like(held_X), held_X.logit()], 1)
    y_X = happened_X.double()
    if not 0 < float(y_X.mean()) < 1 or float(x_X2[:, 1].std(correction=0)) < 1e-6:
        return None
    line_2 = torch.tensor([0.0, 1.0], dtype=torch.float64)
    loss = _loss(x_X2, y_X, line_2)
    for _ in range(_STEPS):
        said_X = (x_X2 @ line_2).sigmoid()
        gradient_2 = x_X2.T @ (said_X - y_X)
        if float(gradient_2.abs().max()) < _FLAT * len(y_X):
            break
        # Where all is all but certain the curvature vanishes; a trace of it keeps the step finite.
        curvature_22 = (x_X2 * (said_X * (1 - said_X))[:, None]).T @ x_X2 + 1e-9 * torch.eye(2, dtype=torch.float64)
        step_2 = torch.linalg.solve(curvature_22, gradient_2)
        # Newton alone jumps over the minimum where probabilities are sharp, and may never come back.
        while (less := _loss(x_X2, y_X, line_2 - step_2)) > loss and float(step_2.abs().max()) > _SHORTEST:
            step_2 = step_2 / 2
        line_2, loss = line_2 - step_2, less
        if float(line_2.abs().max()) > STEEPEST:
            return None
    else:
        return None
    intercept, slope = line_2.tolist()
    return LogOddsLine(intercept, slope) if slope > 0 else None


def _loss(x_X2: Tensor, y_X: Tensor, line_2: Tensor) -> float:
    """Minus the log likelihood."""
    return float(binary_cross_entropy_with_logits(x_X2 @ line_2, y_X, reduction="sum"))
