"""The waste ladder as a picture: what each kind of knowledge saves, a line for each rung."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2.comparison.ladder import Rung
from t2.pages.pictures import (
    CONTROL,
    INK,
    ONE_ROUND,
    ORACLE,
    REFERENCE,
    SEQUENTIAL,
    SMALL,
    THEN_STOP,
    error_lengths,
    light_grid,
    looks,
    new_figure,
)
from t2.pages.text import span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MEMBERS = {
    "nothing": (REFERENCE, "FixedN"),
    "generator": (CONTROL, ""),
    "text": (CONTROL, ""),
    "activations": (ONE_ROUND, "Utility"),
    "answers so far": (SEQUENTIAL, "NoHeadThenStop"),
    "activations, then answers so far": (THEN_STOP, "HeadThenStop"),
    "half of its own votes": (ORACLE, "BayesOracle"),
    "half of its own grades": (ORACLE, "OwnOracle"),
}
"""Family and policy by what a rung knows: `Rung.knows` up to a colon."""
_INCHES_A_RUNG = 0.46


def ladder_figure(rungs: Sequence[Rung], title: str, cost: str = "generated tokens") -> Figure:
    """Cost against FixedN(N_ref) with its interval, one line a rung; accuracy differences beside it.

    A bar marks the cost against FixedN of the same accuracy: what losing a point has saved is between it and the dot.
    References are hollow, and below a line.
    """
    figure = new_figure(1.0 + _INCHES_A_RUNG * len(rungs))
    axes = figure.add_subplot()
    axes.axvline(1.0, color=INK, linestyle=":", linewidth=1)
    beside = axes.get_yaxis_transform()  # x as a share of the axes, y in data
    members = [_MEMBERS[rung.knows.split(":")[0]] for rung in rungs]
    for place, (rung, look) in enumerate(zip(rungs, looks(members), strict=True)):
        colour, ratio = look.family.colour, rung.row.ratio
        style: dict[str, Any] = {"markerfacecolor": colour if rung.is_policy else "none", "markersize": 4, "capsize": 5}
        axes.errorbar(ratio.value, place, xerr=error_lengths([ratio]), fmt=look.marker, color=colour, **style)
        axes.plot(rung.row.same_accuracy.value, place, "|", color=INK, markersize=11, zorder=1)
        axes.text(1.03, place, span(rung.row.difference), transform=beside, va="center", fontsize=SMALL)
    small: dict[str, Any] = {"transform": beside, "fontsize": SMALL}
    axes.text(1.03, -0.8, "against FixedN(N_ref), points", va="center", fontweight="bold", **small)
    if 0 < (policies := sum(rung.is_policy for rung in rungs)) < len(rungs):
        axes.axhline(policies - 0.5, color=INK, linewidth=0.8)
        axes.text(0.01, policies - 0.38, "references, no policies", va="top", **small)
    axes.set_yticks(range(len(rungs)), [f"{rung.name}\n({rung.knows})" for rung in rungs], fontsize=SMALL)
    axes.set_ylim(len(rungs) - 0.5, -0.5)
    axes.set_xlim(0, 1.05 * max(1.0, *(rung.row.ratio.high for rung in rungs)))
    axes.set_xlabel(f"{cost}; dot: FixedN(N_ref) = 1, bar: FixedN of the same accuracy = 1", fontsize=SMALL)
    axes.set_title(title, fontsize=9, loc="left", pad=22, parse_math=False)  # a name may hold a dollar sign
    axes.tick_params(axis="x", labelsize=SMALL)
    light_grid(axes, "x")
    return figure
