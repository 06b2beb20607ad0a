"""Accuracy against cost: points, frontiers and the area between them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from t2.policies.base import Replay
from t2.policies.then_stop import Prices

Setting = float | Prices
"""A policy's knob; of planned rounds both prices."""


@dataclass(frozen=True)
class Frontier:
    """A policy at all its settings, in knob order; no hull."""

    name: str
    """for people alone: code compares the fields below"""
    settings: tuple[Setting, ...]
    """the knob: n, price, shift or threshold, in knob order; NaN for a policy without one; of planned rounds both
    prices, which are in no order"""
    replays: tuple[Replay, ...] = field(repr=False)
    policy: str = ""
    """class name of the policy, as "Utility"; "" where several policies are mixed"""
    source: str = ""
    """what the policy knows of a question beforehand: the name of a source, or "" """
    in_bins: bool = False
    """it decides on the mean curve of the source's bin (the common decision layer), not on the source's own curve"""

    @property
    def is_swept(self) -> bool:
        """Whether it is a line, and so has an area: one knob at more than one setting."""
        return len(self.replays) > 1 and not isinstance(self.settings[0], Prices)

    def take(self, rows: Tensor) -> Frontier:
        """The frontier on some questions (repeated rows allowed: a bootstrap resample)."""
        return replace(self, replays=tuple(replay.take(rows) for replay in self.replays))

    @cached_property
    def tokens_P(self) -> Tensor:
        return torch.stack([replay.generated_tokens.mean() for replay in self.replays])

    @cached_property
    def accuracy_P(self) -> Tensor:
        return torch.stack([replay.correct.mean() for replay in self.replays])

    @cached_property
    def rounds_P(self) -> Tensor:
        return torch.stack([replay.rounds.mean() for replay in self.replays])

    def upto(self, largest: float) -> Frontier:
        """The part with settings of at most `largest` (FixedN up to N_ref)."""
        kept = enumerate(self.settings)
        return self.only([index for index, setting in kept if not isinstance(setting, Prices) and setting <= largest])

    def only(self, keep: Sequence[int]) -> Frontier:
        """The part with the settings at these places."""
        settings, replays = tuple(self.settings[k] for k in keep), tuple(self.replays[k] for k in keep)
        return replace(self, settings=settings, replays=replays)


def area(frontier: Frontier, fixed: Frontier, n_ref: int) -> float:
    """Area between a frontier and FixedN from 1 to `n_ref` samples, see `areas_between`."""
    lines = (frontier, fixed.upto(n_ref))
    return float(areas_between(*(part[None] for line in lines for part in (line.tokens_P, line.accuracy_P))))


def interpolated(tokens_RP: Tensor, accuracy_RP: Tensor, at_RX: Tensor, after: bool = False) -> Tensor:
    """Accuracy of frontiers at token counts `at_RX`, piecewise linear, constant beyond their ends.

    Where several settings take the same tokens the line jumps, and a place there has two values: that of the line which
    comes from the left (the first of them), and of the one that goes on to the right (the last, `after`). An integral
    over pieces needs both: a piece starts after a jump and ends before the next.

                 o---o----    <- after
                 |
        ----o----o            <- not after

    Between two neighbouring settings it is what one gets by tossing a coin for each question. Only the continuation to
    the right can be had too (by spending no more); areas never ask for the other. Settings may come in any order, and
    the leading shape may be any, the same for all.
    """
    x_RP, y_RP = _by_tokens(tokens_RP, accuracy_RP)
    num = x_RP.shape[-1]
    if num == 1:
        return y_RP.expand_as(at_RX).clone()
    # The setting to the right of each place. Beyond the ends it is an end, and the weight stays within the last piece.
    upper_RX = torch.searchsorted(x_RP, at_RX.contiguous(), right=after).clamp(1, num - 1)
    x0, x1 = x_RP.gather(-1, upper_RX - 1), x_RP.gather(-1, upper_RX)
    y0, y1 = y_RP.gather(-1, upper_RX - 1), y_RP.gather(-1, upper_RX)
    weight_RX = ((at_RX - x0) / (x1 - x0).clamp(min=1e-300)).clamp(0, 1)
    return y0 + weight_RX * (y1 - y0)


def tokens_reaching(tokens_RP: Tensor, accuracy_RP: Tensor, wanted_R: Tensor) -> Tensor:
    """Fewest tokens (R,) at which frontiers have an accuracy, between settings on the straight line; infinity: nowhere.

    Where the cheapest setting has it, its tokens: nothing is known of less. Settings may come in any order.
    """
    x_RP, y_RP = _by_tokens(tokens_RP, accuracy_RP)
    reached_RP = y_RP >= wanted_R[:, None] - 1e-12
    first_R1 = reached_RP.int().argmax(-1, keepdim=True)
    # Accuracy may fall again between settings: the first crossing from below is the cheapest.
    before_R1 = (first_R1 - 1).clamp(min=0)
    x0, x1, y0, y1 = (part.gather(-1, place)[:, 0] for part in (x_RP, y_RP) for place in (before_R1, first_R1))
    weight_R = ((wanted_R - y0) / (y1 - y0).clamp(min=1e-300)).clamp(0, 1)
    tokens_R = torch.where(first_R1[:, 0] > 0, x0 + weight_R * (x1 - x0), x1)
    return torch.where(reached_RP.any(-1), tokens_R, torch.inf)


def _by_tokens(tokens_RP: Tensor, accuracy_RP: Tensor) -> tuple[Tensor, Tensor]:
    # Equals stay in knob order (stable), on which the two values at a jump depend.
    order_RP = torch.argsort(tokens_RP, dim=-1, stable=True)
    return tokens_RP.gather(-1, order_RP), accuracy_RP.gather(-1, order_RP)


def areas_between(tokens_RP: Tensor, accuracy_RP: Tensor, fixed_tokens_RK: Tensor, fixed_accuracy_RK: Tensor) -> Tensor:
    """Mean accuracy gain over FixedN on the log token axis, from FixedN's cheapest to its dearest point.

        accuracy           ______________   policy: keeps its accuracy beyond its dearest setting
            |            o   __..--o
            |         o..--o                FixedN
            |   o..--'
            +---|-----|------------|--- log tokens
              start  low          high

    The area is that between the lines from `low` to `high`. Left of `low`, the policy's cheapest setting, one runs
    FixedN: nothing is gained or lost, but the length counts, so a frontier that starts dear is not favoured. Between
    neighbouring breakpoints of either line both are straight, and the piece is integrated in closed form.

    Both lines are straight in tokens, as mixtures of settings are; the axis only says what counts how much. Straight
    in log tokens, a frontier with fewer settings lies above the same one with more, and gains what nobody can have.

    A row is a resample; FixedN has its budgets from 1 to N_ref. Returns the area divided by the length of the axis: an
    accuracy difference (share, not points), (R,).
    """
    mine, fixed = (tokens_RP.double(), accuracy_RP.double()), (fixed_tokens_RK.double(), fixed_accuracy_RK.double())
    start_R1, high_R1 = fixed[0].amin(1, keepdim=True), fixed[0].amax(1, keepdim=True)
    low_R1 = torch.minimum(torch.maximum(start_R1, mine[0].amin(1, keepdim=True)), high_R1)
    # Breakpoints of both lines, so that the integral is exact; those outside move to an end, where they add 0.
    at_RX = torch.cat([fixed[0], mine[0], low_R1, high_R1], 1).clamp(low_R1, high_R1).sort(1).values
    from_RX, to_RX = at_RX[:, :-1], at_RX[:, 1:]
    first_RX = interpolated(*mine, from_RX, after=True) - interpolated(*fixed, from_RX, after=True)
    last_RX = interpolated(*mine, to_RX) - interpolated(*fixed, to_RX)
    parts_RX = _integral_over_log(from_RX, to_RX, first_RX, last_RX)
    length_R = (high_R1 / start_R1).log().squeeze(1)
    return torch.where(length_R > 0, parts_RX.sum(1) / length_R.clamp(min=1e-300), 0.0)


def _integral_over_log(from_X: Tensor, to_X: Tensor, first_X: Tensor, last_X: Tensor) -> Tensor:
    """Integral over log x of what is straight in x, `first_X` at `from_X` and `last_X` at `to_X`."""
    width_X, log_X = to_X - from_X, (to_X / from_X).log()
    slope_X = (last_X - first_X) / width_X.clamp(min=1e-300)
    return torch.where(width_X > 0, first_X * log_X + slope_X * (width_X - from_X * log_X), 0.0)
