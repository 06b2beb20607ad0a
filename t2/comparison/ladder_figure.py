"""The waste ladder as a picture, in Okabe and Ito's colours; markers say the same as colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2.comparison.ladder import Rung
from t2.pages.pictures import OKABE_ITO
from t2.pages.text import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = {
    "nothing": ("black", "o"),
    "generator": ("orange", "v"),
    "text": ("purple", "s"),
    "activations": ("blue", "D"),
    "answers so far": ("green", "^"),
    "activations, then answers so far": ("sky", "P"),
    "half of its own votes": ("green", "^"),
    "half of its own grades": ("vermilion", "X"),
}
"""Colour and marker by what a rung knows: `Rung.knows` up to a colon. References are hollow, and below a line."""
_WIDTH_INCHES, _INCHES_A_RUNG = 6.0, 0.46
"""Narrow, so that labels stay readable when a phone shrinks the picture."""


def ladder_figure(rungs: Sequence[Rung], title: str, cost: str = "generated tokens") -> Figure:
    """Cost against FixedN(N_ref) with its interval, one line a rung; accuracy differences beside it.

    A bar marks the cost against FixedN of the same accuracy: what losing a point has saved is between it and the dot.
    """
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(_WIDTH_INCHES, 1.0 + _INCHES_A_RUNG * len(rungs)), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(1.0, color=OKABE_ITO["black"], linestyle=":", linewidth=1)
    beside = axes.get_yaxis_transform()  # x as a share of the axes, y in data
    for place, rung in enumerate(rungs):
        colour, marker = _STYLES[rung.knows.split(":")[0]]
        ratio, points = rung.row.ratio, rung.row.difference
        ends = [[max(0.0, ratio.value - ratio.low)], [max(0.0, ratio.high - ratio.value)]]
        filled = OKABE_ITO[colour] if rung.is_policy else "none"
        style: dict[str, Any] = {"color": OKABE_ITO[colour], "markerfacecolor": filled, "markersize": 3.5, "capsize": 4}
        axes.errorbar(ratio.value, place, xerr=ends, fmt=marker, **style)
        axes.plot(rung.row.same_accuracy.value, place, "|", color=OKABE_ITO["black"], markersize=11, zorder=1)
        lost = f"{number(points.value)} [{number(points.low)}, {number(points.high)}]"
        axes.text(1.03, place, lost, transform=beside, va="center", fontsize=8)
    heading: dict[str, Any] = {"transform": beside, "va": "center", "fontsize": 8, "fontweight": "bold"}
    axes.text(1.03, -0.8, "against FixedN(N_ref), points", **heading)
    if 0 < (policies := sum(rung.is_policy for rung in rungs)) < len(rungs):
        axes.axhline(policies - 0.5, color=OKABE_ITO["black"], linewidth=0.8)
        axes.text(0.01, policies - 0.38, "references, no policies", **{**heading, "va": "top", "fontweight": "normal"})
    axes.set_yticks(range(len(rungs)), [f"{rung.name}\n({rung.knows})" for rung in rungs], fontsize=8)
    axes.set_ylim(len(rungs) - 0.5, -0.5)
    axes.set_xlim(0, 1.05 * max(1.0, *(rung.row.ratio.high for rung in rungs)))
    axes.set_xlabel(f"{cost}; dot: FixedN(N_ref) = 1, bar: FixedN of the same accuracy = 1", fontsize=8)
    axes.set_title(title, fontsize=9, loc="left", pad=16, parse_math=False)  # a name may hold a dollar sign
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return figure
