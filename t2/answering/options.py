"""What a request may ask of a head besides the question. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from t2.errors import T2Error, quoted

LARGEST_PRICE = 1e9
"""In accuracy points: far above a price at which anything is drawn."""


@dataclass(frozen=True)
class AnswerOptions:
    """Limits and prices of one question; None: as the export decided.

    Raises:
        T2Error: one makes no sense, whatever the head.
    """

    price: float | None = None
    """accuracy points that 1,000 generated tokens must bring"""
    round_price: float | None = None
    """accuracy points that one more wait must bring"""
    max_samples: int | None = None
    """most samples"""
    max_rounds: int | None = None
    """most waits for the engine"""

    def __post_init__(self) -> None:
        for name in ("price", "round_price"):
            value = getattr(self, name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if value is not None and not (is_number and 0 <= value <= LARGEST_PRICE):  # NaN fails too
                raise T2Error(f"Expected `{name}` as a finite number from 0 on (accuracy points), got {_said(value)}.")
        for name in ("max_samples", "max_rounds"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
                raise T2Error(f"Expected `{name}` as a whole number from 1 on, got {_said(value)}.")


def _said(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value)[:60]
