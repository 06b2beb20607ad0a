"""What pictures have in common: families can be told apart by everyone, labels do not touch, one module says it all."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from t2.pages.pictures import (
    CONTROL,
    FAMILIES,
    ONE_ROUND,
    ORACLE,
    QUANTITIES,
    REFERENCE,
    SEQUENTIAL,
    THEN_STOP,
    Family,
    error_lengths,
    family_of,
    log_axis,
    looks,
    new_figure,
)
from t2.stats.bootstrap import Interval

ROOT = Path(__file__).resolve().parents[3]
OKABE_ITO = ("000000", "E69F00", "56B4E9", "009E73", "F0E442", "0072B2", "D55E00", "CC79A7")
"""Okabe and Ito 2008, Color Universal Design; grey is told from all of them by its line style and is no policy."""
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
BLIND = {
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def seen(colour: str, matrix: tuple[tuple[float, ...], ...]) -> list[float]:
    """sRGB of a colour, 0 to 255, as a colour-blind reader sees it."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    mixed = [min(1.0, max(0.0, sum(w * s for w, s in zip(row, linear, strict=True)))) for row in matrix]
    return [255 * (12.92 * s if s <= 0.0031308 else 1.055 * s ** (1 / 2.4) - 0.055) for s in mixed]


def test_families_differ_in_colour_and_as_much_in_grey() -> None:
    colours = [family.colour for family in FAMILIES] + [quantity["color"] for quantity in QUANTITIES]
    assert {colour.lstrip("#") for colour in colours} - set(OKABE_ITO) == {ORACLE.colour.lstrip("#")}
    assert len(set(colours)) == len(colours)
    assert len({str(family.line) for family in FAMILIES}) == len(FAMILIES)
    markers = "".join(family.markers for family in FAMILIES)
    assert len(set(markers)) == len(markers)
    assert len({quantity.get("hatch") for quantity in QUANTITIES}) == len(QUANTITIES)


@pytest.mark.parametrize(("kind", "apart"), [("protan", 60), ("deutan", 60), ("tritan", 29)])
def test_the_colour_blind_tell_families_of_policies_apart(kind: str, apart: float) -> None:
    """Of Matplotlib's own first five colours the nearest two are 13, 29 and 22 apart."""
    policies = [family for family in FAMILIES if family is not ORACLE]
    for one, other in combinations(policies, 2):
        pair = zip(seen(one.colour, BLIND[kind]), seen(other.colour, BLIND[kind]), strict=True)
        assert sum((a - b) ** 2 for a, b in pair) ** 0.5 > apart, (one.colour, other.colour)


@pytest.mark.parametrize(
    ("policy", "source", "is_control", "family"),
    [
        ("FixedN", "", False, REFERENCE),
        ("Greedy", "", False, REFERENCE),
        ("", "", False, REFERENCE),
        ("ESC", "", False, SEQUENTIAL),
        ("NoHeadThenStop", "", False, SEQUENTIAL),
        ("Utility", "CurveHead", False, ONE_ROUND),
        ("", "CurveHead", False, ONE_ROUND),
        ("HeadThenStop", "CurveHead", False, THEN_STOP),
        ("DSC", "CurveHead", False, THEN_STOP),
        ("HeadThenStop", "prompt length", True, CONTROL),
        ("OwnOracle", "", False, ORACLE),
    ],
)
def test_family_of(policy: str, source: str, is_control: bool, family: Family) -> None:
    assert family_of(policy, source, is_control) is family


members = st.sampled_from([(f, policy) for f in FAMILIES for policy in (*f.policies, "", "of a user")])


@given(st.lists(members, min_size=1, max_size=8))
def test_markers_are_distinct_and_a_policy_keeps_its_own(listed: list[tuple[Family, str]]) -> None:
    found = looks(listed)
    assert [look.family for look in found] == [family for family, _ in listed]
    assert len({look.marker for look in found}) == len(listed)
    for place, (family, policy) in enumerate(listed):
        if policy in family.policies and (family, policy) not in listed[:place]:
            assert looks([(family, policy)]) == [found[place]], "the same in all pictures"


def test_no_other_module_says_how_pictures_look() -> None:
    own = re.compile(r"#[0-9A-Fa-f]{6}\b|figsize|dpi=|color=\"(?!none)|OKABE|cmap|set_xscale|MatplotlibFigure\(")
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "t2").rglob("*.py")}
    drawing = {path: text for path, text in texts.items() if "t2.pages.pictures" in text or "figure" in path.name}
    assert {"figures.py", "frontier_figure.py", "ladder_figure.py"} < {path.name for path in drawing}
    for path, text in drawing.items():
        assert not (found := own.search(text)), f"{path}: {found}"


@settings(max_examples=25, deadline=None)  # it draws
@given(
    st.one_of(
        st.sets(st.integers(1, 512), min_size=1, max_size=30).map(sorted),  # budgets of a grid
        st.tuples(st.floats(1, 1e5), st.floats(1.5, 1e3)).map(lambda ends: [ends[0], ends[0] * ends[1]]),
    )
)
def test_labels_of_a_log_axis_do_not_touch(values: list[float]) -> None:
    budgets = values if isinstance(values[0], int) else []
    figure = new_figure(3.0)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlim(0.95 * values[0], 1.05 * values[-1])
    log_axis(axes, budgets)
    figure.draw_without_rendering()
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    for left, right in pairwise(boxes):
        assert left.x1 <= right.x0, [label.get_text() for label in labels]
    if budgets:
        assert labels[-1].get_text() == f"{budgets[-1]:,}"
    assert not any("e" in label.get_text() for label in labels)


def test_error_bars_have_no_negative_length() -> None:
    """A percentile interval may leave its value out."""
    values = [Interval(0.5, 0.4, 0.7), Interval(0.5, 0.6, 0.7)]
    assert error_lengths(values, 100) == [pytest.approx([10, 0]), pytest.approx([20, 20])]
