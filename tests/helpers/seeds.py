"""Seeds of tests marked `statistical`: fixed, but `pytest --seed-shifts 200` tries each test on 200 of them.

In an ordinary run such a test draws the same numbers as ever and cannot fail by chance. That it holds for others too is
what the shifts show; for that its bounds must be wide enough, see `LUCK`.
"""

from __future__ import annotations

from scipy.stats import binom, norm

LUCK = 1e-7
"""Probability with which a correct program may miss one bound: a test with ten bounds fails once in a million draws."""
SIGMAS = float(norm.isf(LUCK / 2))
"""The same in standard errors of something normal, in both directions: 5.3."""

_shift = 0


def shift_seeds(by: int) -> None:
    """From here on every `shifted` seed is another one."""
    global _shift
    _shift = by


def shifted(number: int) -> int:
    """The seed that stands in the test, below 1,000; with a shift one that no other shift has."""
    return number + 1000 * _shift


def most_of(trials: int, probability: float) -> int:
    """How often what has at most this probability may happen in independent trials."""
    return int(binom.isf(LUCK, trials, probability))


def fewest_of(trials: int, probability: float) -> int:
    """How often what has at least this probability must happen in independent trials."""
    return int(binom.ppf(LUCK, trials, probability))
