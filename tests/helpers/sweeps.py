"""Few settings and resamples, for tests that are not about what a comparison finds."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from t2.comparison.sweeps import Sweeps


def small_sweeps() -> Sweeps:
    """Two settings a policy, few orders and resamples."""
    swept = {f.name: f.default for f in fields(Sweeps) if isinstance(f.default, tuple)}
    two: dict[str, Any] = {name: (values[0], values[len(values) // 2]) for name, values in swept.items()}
    two["round_prices"] = (0.0, float("inf"))  # so that one round is among what is tried
    return Sweeps(**two, num_orders=4, num_resamples=100, num_rank_resamples=100)
