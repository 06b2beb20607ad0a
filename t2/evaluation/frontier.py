"""Accuracy against cost: points, frontiers and the area between them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from t2.policies.base import Replay


@dataclass(frozen=True)
class FrontierPoint:
    """A policy at one setting, means over questions."""

    setting: float
    """the knob: n, price, shift or threshold; NaN for a policy without one"""
    accuracy: float
    """share of questions answered correctly"""
    generated_tokens: float
    """per question"""
    total_tokens: float
    """generated and prompt tokens per question"""
    samples: float
    """started per question"""
    rounds: float
    """per question"""
    peak: float
    """largest number of sequences of one question at once, mean over questions"""


def point_of(setting: float, replay: Replay) -> FrontierPoint:
    """Means over the questions of a replay."""
    return FrontierPoint(
        setting=setting,
        accuracy=float(replay.correct.mean()),
        generated_tokens=float(replay.generated_tokens.mean()),
        total_tokens=float(replay.total_tokens.mean()),
        samples=float(replay.samples.mean()),
        rounds=float(replay.rounds.mean()),
        peak=float(replay.peak.mean()),
    )


@dataclass(frozen=True)
class Frontier:
    """A policy at all its settings, in knob order; no hull."""

    name: str
    settings: tuple[float, ...]
    replays: tuple[Replay, ...] = field(repr=False)

    @property
    def points(self) -> list[FrontierPoint]:
        """Means over questions."""
        return [point_of(s, r) for s, r in zip(self.settings, self.replays, strict=True)]

    def take(self, rows: Tensor) -> Frontier:
        """The frontier on some questions (repeated rows allowed: a bootstrap resample)."""
        return Frontier(self.name, self.settings, tuple(replay.take(rows) for replay in self.replays))

    @property
    def tokens_P(self) -> Tensor:
        """Mean generated tokens of each setting."""
        return torch.stack([replay.generated_tokens.mean() for replay in self.replays])

    @property
    def accuracy_P(self) -> Tensor:
        """Accuracy of each setting."""
        return torch.stack([replay.correct.mean() for replay in self.replays])

    def upto(self, largest: float) -> Frontier:
        """The part with settings of at most `largest` (FixedN up to N_ref)."""
        keep = [index for index, setting in enumerate(self.settings) if setting <= largest]
        return Frontier(self.name, tuple(self.settings[k] for k in keep), tuple(self.replays[k] for k in keep))


def area(frontier: Frontier, fixed: Frontier, n_ref: int) -> float:
    """Area between a frontier and FixedN from 1 to `n_ref` samples, see `area_between`."""
    axis = fixed.upto(n_ref)
    return area_between(frontier.tokens_P, frontier.accuracy_P, axis.tokens_P, axis.accuracy_P)


def interpolated(log_tokens_P: Tensor, accuracy_P: Tensor, at_X: Tensor) -> Tensor:
    """Accuracy of a frontier at log token counts `at_X`, piecewise linear, constant beyond its ends.

    Only the continuation to the right can be had (by spending no more); `area_between` never asks for the other.

    Two neighbouring settings can be mixed at random over questions, which is nearly this line (exactly a line in
    tokens; log tokens is the axis on which frontiers are compared).
    """
    order = torch.argsort(log_tokens_P, stable=True)
    x_P, y_P = log_tokens_P[order].contiguous(), accuracy_P[order]
    upper = torch.searchsorted(x_P, at_X.contiguous()).clamp(1, max(1, len(x_P) - 1))
    if len(x_P) == 1:
        return y_P.expand(len(at_X)).clone()
    x0, x1, y0, y1 = x_P[upper - 1], x_P[upper], y_P[upper - 1], y_P[upper]
    weight = ((at_X - x0) / (x1 - x0).clamp(min=1e-12)).clamp(0, 1)
    return y0 + weight * (y1 - y0)


def area_between(tokens_P: Tensor, accuracy_P: Tensor, fixed_tokens_K: Tensor, fixed_accuracy_K: Tensor) -> float:
    """Mean accuracy gain over FixedN on the log token axis, from FixedN's cheapest to its dearest point.

    Args:
        tokens_P: mean tokens of each setting of the policy.
        accuracy_P: its accuracy.
        fixed_tokens_K: mean tokens of FixedN at each budget from 1 to N_ref.
        fixed_accuracy_K: its accuracy.

    Returns:
        Area divided by the length of the axis: an accuracy difference (share, not points).
    """
    log_K, log_P = fixed_tokens_K.double().log(), tokens_P.double().log()
    # Cheaper than the policy's cheapest setting one runs FixedN: no gain and no loss there.
    low, high = max(float(log_K.min()), float(log_P.min())), float(log_K.max())
    if high <= low:
        return 0.0
    inside = torch.cat([log_K, log_P])
    inside = inside[(inside >= low) & (inside <= high)]
    # Breakpoints of both lines, so that the trapezoid rule is exact.
    at_X = torch.cat([inside, torch.tensor([low, high], dtype=torch.float64)]).sort().values
    gap_X = interpolated(log_P, accuracy_P.double(), at_X) - interpolated(log_K, fixed_accuracy_K.double(), at_X)
    return float(torch.trapezoid(gap_X, at_X) / (high - float(log_K.min())))
