"""Whether live runs on a real engine agree with replay, where draws may differ from run to run.

vLLM draws from one generator for all that runs at once, so that a fixed engine seed gives the same samples only as long
as requests are scheduled in the same way: a busy machine gives others.
"""

from __future__ import annotations

from typing import Any

from helpers.seeds import LUCK
from scipy.stats import norm, t


def assert_agrees(part: dict[str, Any], level: float, num_questions: int) -> float:
    """Live minus replay is 0, up to 6 of its standard errors: missed once in 10 million runs.

    By Student's distribution. In six million simulated runs (the shares of the committed pool's 32 samples as truth,
    new samples, new live answers of 55 or 60 questions, 1, 5 or 9 samples each) the largest deviation was 5.6.

    Args:
        part: mean difference with the ends of its interval, as `Agreement` writes it.
        level: of that interval.
        num_questions: that it is the mean of.

    Returns:
        The largest difference that would have passed.
    """
    error = (part["high"] - part["low"]) / 2 / norm.ppf((1 + level) / 2)
    allowed = float(t.isf(LUCK / 2, num_questions - 1) * error)
    assert abs(part["value"]) <= allowed + 1e-9, part
    return allowed
