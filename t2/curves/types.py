"""Sample types: what the accuracy curve of a question does as samples are added. Pure.

The paper names five types; its list could not be read, so these are ours: flat (which comes in three kinds: always
right, never right, indifferent), rising, falling, rise then fall, fall then rise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from t2.curves.labels import MIN_EPS
from t2.errors import T2Error

TYPE_TOLERANCE = 0.02
"""Accuracy by which a curve may move and still count as flat."""
ALWAYS_RIGHT, NEVER_RIGHT, INDIFFERENT, RISING, FALLING, RISE_THEN_FALL, FALL_THEN_RISE = range(7)
TYPE_NAMES = (
    "always right",
    "never right",
    "indifferent",
    "rising",
    "falling",
    "rise then fall",
    "fall then rise",
)
"""Name of each code; the first three are the flat types."""


def sample_types(acc_QK: Tensor, tolerance: float = TYPE_TOLERANCE) -> Tensor:
    """Code of each curve's type, an index into `TYPE_NAMES`; shape (Q,), long.

    Four numbers decide, each over budgets in rising order, and none depends on how the search for them runs:

        rise = max over i <= j      of A_j - A_i            fall = max over i <= j      of A_i - A_j
        hump = max over i <= j <= k of min(A_j - A_i, A_j - A_k)
        dip  = max over i <= j <= k of min(A_i - A_j, A_k - A_j)

    Flat: neither rise nor fall exceeds the tolerance; always right if the curve never leaves [1 - tolerance, 1], never
    right if it never leaves [0, tolerance], else indifferent. Rising: only the rise exceeds it. Falling: only the fall.
    If both do, so does the hump or the dip, and the larger one names the type (the hump if they are equal). A curve
    read backwards thus swaps rising and falling and keeps every other type; 1 - A swaps hump and dip.

    Args:
        acc_QK: A(N) in [0, 1] at rising budgets N, at least one.
        tolerance: accuracy in [0, 0.5); differences within 1e-9 of it count as equal to it.

    Raises:
        T2Error: a tolerance outside [0, 0.5).
        ValueError: no budget, or a NaN (a budget beyond a question's pool).
    """
    if not 0 <= tolerance < 0.5:  # NaN fails too
        raise T2Error(f"Expected a type tolerance in [0, 0.5) of accuracy, got {tolerance}. The default is 0.02.")
    if acc_QK.shape[1] == 0 or bool(acc_QK.isnan().any()):
        raise ValueError("Expected curves without NaN over at least one budget. Cut the grid to the smallest pool.")
    acc_QK = acc_QK.double()
    moved = tolerance + MIN_EPS
    above_before_QK, above_after_QK = _climb_from_lowest(acc_QK)
    below_before_QK, below_after_QK = _climb_from_lowest(-acc_QK)
    rises_Q, falls_Q = above_before_QK.amax(1) > moved, below_before_QK.amax(1) > moved
    hump_Q = torch.minimum(above_before_QK, above_after_QK).amax(1)
    dip_Q = torch.minimum(below_before_QK, below_after_QK).amax(1)
    type_Q = torch.full((len(acc_QK),), INDIFFERENT)
    type_Q[acc_QK.amin(1) >= 1 - moved] = ALWAYS_RIGHT
    type_Q[acc_QK.amax(1) <= moved] = NEVER_RIGHT
    type_Q[rises_Q] = RISING
    type_Q[falls_Q] = FALLING
    both_Q = rises_Q & falls_Q
    type_Q[both_Q] = torch.where(hump_Q >= dip_Q - MIN_EPS, RISE_THEN_FALL, FALL_THEN_RISE)[both_Q]
    return type_Q


def _climb_from_lowest(value_QK: Tensor) -> tuple[Tensor, Tensor]:
    """How far each point lies above the lowest one up to it, and above the lowest one from it on."""
    before_QK = value_QK - value_QK.cummin(1).values
    after_QK = value_QK - value_QK.flip(1).cummin(1).values.flip(1)
    return before_QK, after_QK
