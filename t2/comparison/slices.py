"""Some questions with all that scores a contender on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from t2.comparison.sweeps import FULL
from t2.curves.halves import Halves, half_curves
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.policies.dsc import half_orders
from t2.policies.engine_axes import RoundAxes
from t2.policies.orders import Orders


@dataclass(frozen=True)
class Slice:
    """Some questions: what scores a contender, and the orders in which a sequential one sees their samples."""

    pool: GradedPool
    labels: BudgetLabels
    orders: Orders
    axes: RoundAxes
    """of the pool, on the grid of the labels"""
    halves: Halves | None
    """for the oracles; None if a question has only one sample"""
    half_orders: tuple[Orders, Orders] | None = None
    """orders of each half's samples, for DSC by the other half; None unless asked for"""
    arrivals_of: Mapping[int, Orders] = field(default_factory=dict)
    """orders in which answers arrive of so many samples started at once, by their number; see `with_arrivals`"""

    @staticmethod
    def of(pool: GradedPool, labels: BudgetLabels, seed: int, num_orders: int = FULL.num_orders) -> Slice:
        orders, axes = Orders.of(pool, num_orders, seed), RoundAxes.of(pool, labels.grid)
        return Slice(pool, labels, orders, axes, half_curves(pool, labels.grid))

    def with_half_orders(self, seed: int) -> Slice:
        """Draw the orders of half pools too, where there are halves."""
        if self.halves is None:
            return self
        return replace(self, half_orders=half_orders(self.pool, self.orders.num_orders, seed))

    def with_arrivals(self, widths: Iterable[int], seed: int) -> Slice:
        """Draw the orders of arrival for caps of so many samples."""
        orders = {width: Orders.of_arrivals(self.pool, self.orders.num_orders, seed, width) for width in set(widths)}
        return replace(self, arrivals_of=orders)

    def arrivals(self, cap: int) -> Orders:
        """Orders of arrival of `cap` samples, drawn now unless `with_arrivals` has."""
        return self.arrivals_of.get(cap) or Orders.of_arrivals(self.pool, self.orders.num_orders, 0, cap)

    def with_fewer_orders(self) -> Slice:
        """With the first half of the random orders."""

        def half(orders: Orders) -> Orders:
            return orders.first((orders.num_orders + 1) // 2)

        return replace(
            self,
            orders=half(self.orders),
            half_orders=(half(self.half_orders[0]), half(self.half_orders[1])) if self.half_orders else None,
            arrivals_of={width: half(orders) for width, orders in self.arrivals_of.items()},
        )

    def take(self, rows: Tensor) -> Slice:
        return Slice(
            self.pool.take(rows),
            self.labels.take(rows),
            self.orders.take(rows),
            self.axes.take(rows),
            self.halves.take(rows) if self.halves else None,
            (self.half_orders[0].take(rows), self.half_orders[1].take(rows)) if self.half_orders else None,
            {width: orders.take(rows) for width, orders in self.arrivals_of.items()},
        )
