"""Sample types against brute force over all pairs and triples of budgets, and their laws."""

from __future__ import annotations

from itertools import combinations_with_replacement as ordered

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from t2.curves.types import (
    ALWAYS_RIGHT,
    FALL_THEN_RISE,
    FALLING,
    INDIFFERENT,
    NEVER_RIGHT,
    RISE_THEN_FALL,
    RISING,
    TYPE_NAMES,
    sample_types,
)
from t2.errors import T2Error

thousandths = st.lists(st.integers(0, 1000), min_size=1, max_size=7)
"""Curves in thousandths, so that brute force over integers is exact."""
BACKWARDS = {RISING: FALLING, FALLING: RISING}
UPSIDE_DOWN = {**BACKWARDS, ALWAYS_RIGHT: NEVER_RIGHT, NEVER_RIGHT: ALWAYS_RIGHT}
SWAPPED = {RISE_THEN_FALL: FALL_THEN_RISE, FALL_THEN_RISE: RISE_THEN_FALL}


def type_of(curve: list[int], tolerance: float = 0.02) -> int:
    return int(sample_types(rows(curve), tolerance))


def rows(*curves: list[int]) -> Tensor:
    return torch.tensor(curves, dtype=torch.float64) / 1000


def hump(curve: list[int]) -> int:
    return max(min(b - a, b - c) for a, b, c in ordered(curve, 3))


def brute_force(curve: list[int], tolerance: int = 20) -> str:
    rise = max(b - a for a, b in ordered(curve, 2))
    fall = max(a - b for a, b in ordered(curve, 2))
    if rise > tolerance and fall > tolerance:
        return "rise then fall" if hump(curve) >= hump([-a for a in curve]) else "fall then rise"
    if rise > tolerance or fall > tolerance:
        return "rising" if rise > tolerance else "falling"
    if min(curve) >= 1000 - tolerance:
        return "always right"
    return "never right" if max(curve) <= tolerance else "indifferent"


@pytest.mark.parametrize(
    ("curve", "name"),
    [
        ([1000, 1000, 1000], "always right"),
        ([980, 990, 1000], "always right"),
        ([979, 990, 990], "indifferent"),
        ([0, 20, 0], "never right"),
        ([500, 520, 500], "indifferent"),
        ([500], "indifferent"),
        ([500, 510, 521], "rising"),  # no step exceeds the tolerance, the sum does
        ([300, 900, 880], "rising"),
        ([300, 900, 879], "rise then fall"),
        ([900, 300, 320], "falling"),
        ([900, 300, 900], "fall then rise"),
        ([200, 800, 200, 800], "rise then fall"),  # hump and dip are equal
        ([400, 500, 200, 800], "fall then rise"),  # the dip of 300 beats the hump of 100
        ([800, 200, 800, 700], "fall then rise"),
    ],
)
def test_types_of_hand_made_curves(curve: list[int], name: str) -> None:
    assert TYPE_NAMES[type_of(curve)] == name


@given(thousandths, st.sampled_from([0, 5, 20, 100]))
def test_types_are_those_of_brute_force(curve: list[int], tolerance: int) -> None:
    assert TYPE_NAMES[type_of(curve, tolerance / 1000)] == brute_force(curve, tolerance)


@given(thousandths)
def test_a_curve_read_backwards_swaps_rising_and_falling_alone(curve: list[int]) -> None:
    kind = type_of(curve)
    assert type_of(curve[::-1]) == BACKWARDS.get(kind, kind)


@given(thousandths)
def test_right_and_wrong_exchanged_turn_every_type_over(curve: list[int]) -> None:
    kind, turned = type_of(curve), type_of([1000 - a for a in curve])
    if kind in SWAPPED and hump(curve) == hump([-a for a in curve]):
        assert turned == kind == RISE_THEN_FALL  # equal: both go to the hump
    else:
        assert turned == (UPSIDE_DOWN | SWAPPED).get(kind, kind)


@given(thousandths, st.data())
def test_a_level_added_keeps_what_moves(curve: list[int], data: st.DataObject) -> None:
    level = data.draw(st.integers(-min(curve), 1000 - max(curve)))
    before, after = type_of(curve), type_of([a + level for a in curve])
    flat = {ALWAYS_RIGHT, NEVER_RIGHT, INDIFFERENT}
    assert before == after or {before, after} <= flat


@given(st.integers(0, 1000), st.lists(st.integers(-10, 10), min_size=1, max_size=9))
def test_noise_within_the_tolerance_leaves_a_flat_curve_flat(level: int, noise: list[int]) -> None:
    noisy = [min(1000, max(0, level + n)) for n in noise]
    assert type_of(noisy) in (ALWAYS_RIGHT, NEVER_RIGHT, INDIFFERENT)


@given(thousandths)
def test_a_budget_repeated_changes_nothing(curve: list[int]) -> None:
    assert type_of([a for a in curve for _ in range(2)]) == type_of(curve)


def test_many_curves_at_once() -> None:
    curves = [[0, 0, 0], [1000, 1000, 1000], [300, 600, 900], [900, 600, 300], [300, 900, 300], [900, 300, 900]]
    expected = [NEVER_RIGHT, ALWAYS_RIGHT, RISING, FALLING, RISE_THEN_FALL, FALL_THEN_RISE]
    assert sample_types(rows(*curves)).tolist() == expected
    assert sample_types(rows(*curves).float()).tolist() == expected


@pytest.mark.parametrize("tolerance", [-0.01, 0.5, float("nan")])
def test_a_tolerance_out_of_range(tolerance: float) -> None:
    with pytest.raises(T2Error, match=r"Expected a type tolerance in \[0, 0.5\) of accuracy, got"):
        sample_types(rows([0, 1]), tolerance)


@pytest.mark.parametrize("acc_QK", [torch.full((1, 2), torch.nan), torch.zeros(1, 0)])
def test_curves_that_are_not_there(acc_QK: Tensor) -> None:
    with pytest.raises(ValueError, match="Expected curves without NaN over at least one budget"):
        sample_types(acc_QK)
