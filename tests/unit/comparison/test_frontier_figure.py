"""The frontier picture: which lines it has, in which order, and that it draws what areas are made of."""

from __future__ import annotations

import pytest
import torch

from t2.comparison.frontier_figure import MOST_LINES, Line, frontier_figure, pictured
from t2.policies.base import Replay
from t2.stats.frontier import Frontier, interpolated


def replay(accuracy: float, tokens: float) -> Replay:
    ones = torch.ones(1)
    return Replay(
        torch.tensor([accuracy], dtype=torch.float64),
        ones,
        torch.tensor([tokens], dtype=torch.float64),
        *[ones] * 5,
    )


def frontier(policy: str, source: str = "", in_bins: bool = False, name: str = "") -> Frontier:
    name = name or " + ".join(part for part in (source, "bins" if in_bins else "", policy) if part)
    settings = (1.0,) if policy == "Greedy" else (1.0, 2.0, 3.0)
    replays = tuple(replay(0.5 + 0.1 * k, 50 * k) for k in settings)
    return Frontier(name, settings, replays, policy, source, in_bins)


RULES = ("NoHeadThenStop", "ASC", "ESC", "Doubling")
OF_FIT = [frontier(policy) for policy in ("Greedy", "FixedN", *reversed(RULES), "BayesOracle", "OwnOracle")]
OF_FIT += [frontier(policy, "OrdinalHead") for policy in ("Utility", "BatchBudget", "PredictedN")]


@pytest.mark.parametrize("policy", ["Utility", "BatchBudget", "PredictedN"])
def test_a_fit_shows_the_configured_policy_first_and_no_more_than_eight(policy: str) -> None:
    """Thirteen lines lay over one another, and three of them had one colour and one marker."""
    (own,) = [one for one in OF_FIT if one.policy == policy]
    shown = pictured([Line(one) for one in OF_FIT], own)
    assert len(shown) == MOST_LINES == 8
    assert [line.frontier.policy for line in shown[:7]] == [policy, "FixedN", "Greedy", *RULES]
    assert shown[0].frontier is own


def test_a_report_shows_each_kind_of_rival() -> None:
    lines = [Line(one) for one in OF_FIT if not one.source]
    for source in ("CurveHead", "LayerwiseRegression"):
        for policy in ("HeadThenStop", "Utility", "PredictedN"):
            lines.append(Line(frontier(policy, source, in_bins=policy == "Utility")))
        lines.append(Line(frontier("Utility", source)))
    for source in ("best layer ridge", "prompt length"):
        lines += [Line(frontier(policy, source, True), is_control=True) for policy in ("Utility", "BatchBudget")]
    assert [line.frontier.name for line in pictured(lines)] == [
        *("CurveHead + Utility", "FixedN", "Greedy", "CurveHead + HeadThenStop", "NoHeadThenStop", "ASC"),
        *("LayerwiseRegression + PredictedN", "best layer ridge + bins + Utility"),
    ]


def test_what_is_no_known_policy_is_drawn_too() -> None:
    lines = [Line(frontier("", name="mine")), Line(frontier("FixedN"))]
    assert [line.frontier.name for line in pictured(lines)] == ["FixedN", "mine"]


def test_no_two_lines_look_the_same_even_in_grey() -> None:
    listed = [*(frontier("HeadThenStop", name) for name in "ABC"), *(frontier("Utility", name) for name in "ABC")]
    listed += [frontier("Utility", "A", True, "A + bins"), frontier("ESC")]
    axes = frontier_figure([Line(one) for one in listed], "").axes[0]
    looks = [(line.get_linestyle(), str(line._dash_pattern), line.get_marker()) for line in axes.lines]
    assert len({marker for *_, marker in looks}) == len(listed)
    colours = [line.get_color() for line in axes.lines]
    assert len(set(colours[:3])) == len(set(colours[3:7])) == 1, "a family has one colour"
    assert len(set(colours)) == 3
    orders = [line.get_zorder() for line in axes.lines]
    assert orders == sorted(orders, reverse=True), "the first of the legend lies on top"


def test_rings_legend_and_zoom() -> None:
    chosen, reference = replay(0.62, 60), replay(0.75, 110)
    listed = [
        Line(frontier("HeadThenStop", "A"), chosen=chosen),
        Line(frontier("FixedN")),
        Line(frontier("Greedy")),
        Line(frontier("Utility", "prompt length", True), is_control=True),
    ]
    figure = frontier_figure(listed, "validation, $x^ 24 questions", "samples", reference)
    figure.draw_without_rendering()  # as TeX the title would raise
    (axes, detail), (legend,) = figure.axes, figure.legends
    assert detail.get_xlabel().startswith("samples")
    names = [line.frontier.name for line in listed]
    assert [text.get_text() for text in legend.get_texts()] == [*names, "FixedN(N_ref)"]
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn["FixedN(N_ref)"].get_xdata()) == [110, 110]
    line, marker, ring = [one for one in axes.lines if one.get_color() == drawn[names[0]].get_color()]
    for part in (marker, ring):
        assert [(*part.get_xdata(), *part.get_ydata())] == [(60, pytest.approx(62))]
    assert marker.get_marker() == line.get_marker()
    assert (ring.get_marker(), ring.get_markerfacecolor()) == ("o", "none")
    for shown in (60, 110):
        assert detail.get_xlim()[0] < shown < detail.get_xlim()[1]
    assert detail.get_xlim()[0] > axes.get_xlim()[0]
    fixed = listed[1].frontier
    tokens, accuracy = (torch.as_tensor(values) for values in drawn["FixedN"].get_data())
    torch.testing.assert_close(accuracy, 100 * interpolated(fixed.tokens_P, fixed.accuracy_P, tokens))
    assert axes.get_title() == "validation, $x^ 24 questions"
    assert axes.get_xscale() == detail.get_xscale() == "log"


def test_no_zoom_without_a_reference() -> None:
    assert len(frontier_figure([Line(frontier("FixedN"), chosen=replay(0.6, 60))], "").axes) == 1
