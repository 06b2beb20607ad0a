"""What a comparison tries and how often it repeats what is random: all that makes it take long. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from t2.grading.graded import GradedPool
from t2.policies.then_stop import Prices

TOKENS_OF_PRICES = 46.0
"""Mean tokens of a sample that `Sweeps.prices` are for."""


@dataclass(frozen=True)
class Sweeps:
    """Settings of every policy in knob order, and the numbers of random orders and resamples."""

    prices: tuple[float, ...] = (
        *(0.01, 0.03, 0.1, 0.3, 0.6),
        *(1.0, 1.3, 1.7, 2.2, 2.9, 3.8, 5.0, 6.5, 8.5, 11.0, 14.0, 18.0, 23.0, 30.0),
        *(60.0, 100.0, 200.0, 500.0, 2000.0),
    )
    """accuracy points per 1,000 generated tokens, where a sample has `TOKENS_OF_PRICES`; dense where one is chosen"""
    plan_prices: tuple[float, ...] = (0.3, 0.8, 1.4, 2.2, 3.2, 4.5, 6.5, 9.5, 15.0)
    """of planned rounds, as `prices`"""
    round_prices: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 0.9, 1.6, 2.8, math.inf)
    """accuracy points that one more wait must bring; with each of `plan_prices`"""
    totals: tuple[float, ...] = (0.0, 0.02, 0.06, 0.13, 0.2, 0.26, 0.32, 0.39, 0.45, 0.53, 0.61, 0.74, 0.87, 1.0)
    """of BatchBudget: how far from 1 sample a question to the largest budget; dense where one is chosen"""
    shifts: tuple[float, ...] = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
    """of PredictedN, log2 samples"""
    thresholds: tuple[float, ...] = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
    """of ASC"""
    dsc_thresholds: tuple[float, ...] = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.99)
    """of DSC"""
    windows: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    """of ESC, samples"""
    shares: tuple[float, ...] = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
    """of Doubling"""
    num_orders: int = 32
    """random orders over which a sequential policy is averaged"""
    num_resamples: int = 2000
    """of the questions, for intervals of accuracy, tokens and areas"""
    num_rank_resamples: int = 1000
    """of the questions, for intervals of rank correlations"""

    def priced_for(self, pool: GradedPool) -> Sweeps:
        """With prices for a pool's answers: long ones, or a cost in samples, must change no ratio and no area."""
        # Without a token (in the training questions of a fold) no price changes a choice.
        scale = TOKENS_OF_PRICES / (float(pool.mean_tokens_Q.mean()) or TOKENS_OF_PRICES)
        prices, plan_prices = (
            tuple(float(f"{price * scale:.2g}") for price in each) for each in (self.prices, self.plan_prices)
        )
        return replace(self, prices=prices, plan_prices=plan_prices)

    @property
    def plans(self) -> tuple[Prices, ...]:
        """Settings of planned rounds."""
        return tuple(Prices(price, round_price) for round_price in self.round_prices for price in self.plan_prices)

    def totals_for(self, grid: tuple[int, ...]) -> tuple[float, ...]:
        """Settings of `BatchBudget`: the total is that of so many samples of each question, also between budgets."""
        return tuple(sorted({round(1 + share * (grid[-1] - 1), 2) for share in self.totals}))


FULL = Sweeps()
"""What reports are made with."""
