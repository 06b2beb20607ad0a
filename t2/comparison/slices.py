"""Some questions with all that scores a contender on them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from t2.comparison.sweeps import FULL
from t2.curves.halves import Halves, half_curves
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.policies.dsc import half_orders
from t2.policies.orders import Orders


@dataclass(frozen=True)
class Slice:
    """Some questions: what scores a contender, and the orders in which a sequential one sees their samples."""

    pool: GradedPool
    labels: BudgetLabels
    orders: Orders
    halves: Halves | None
    """for the oracles; None if a question has only one sample"""
    half_orders: tuple[Orders, Orders] | None = None
    """orders of each half's samples, for DSC by the other half; None unless asked for"""

    @staticmethod
    def of(pool: GradedPool, labels: BudgetLabels, seed: int, num_orders: int = FULL.num_orders) -> Slice:
        return Slice(pool, labels, Orders.of(pool, num_orders, seed), half_curves(pool, labels.grid))

    def with_half_orders(self, seed: int) -> Slice:
        """Draw the orders of half pools too, where there are halves."""
        if self.halves is None:
            return self
        return replace(self, half_orders=half_orders(self.pool, self.orders.num_orders, seed))

    def take(self, rows: Tensor) -> Slice:
        return Slice(
            self.pool.take(rows),
            self.labels.take(rows),
            self.orders.take(rows),
            self.halves.take(rows) if self.halves else None,
            (self.half_orders[0].take(rows), self.half_orders[1].take(rows)) if self.half_orders else None,
        )
