"""Frontier pictures with matplotlib, colours from Okabe and Ito's palette (safe for colour blindness)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from t2.evaluation.frontier import Frontier

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_REFERENCES = {"FixedN": ("#000000", "o", "-"), "ASC": ("#999999", "x", "--"), "OwnOracle": ("#999999", "*", ":")}


def frontier_figure(frontiers: Sequence[Frontier], title: str, cost: str = "generated tokens") -> Figure:
    """Accuracy against cost a question (log axis), one line a policy, settings in knob order."""
    from matplotlib.figure import Figure as MatplotlibFigure
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    figure = MatplotlibFigure(figsize=(6.0, 4.4), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    rivals = 0
    for frontier in frontiers:
        tokens, accuracy = frontier.tokens_P.numpy(), 100 * frontier.accuracy_P.numpy()
        if frontier.name == "Greedy":
            axes.plot(tokens, accuracy, "k+", markersize=12, markeredgewidth=2, label="Greedy")
            continue
        if frontier.name in _REFERENCES:
            colour, marker, line = _REFERENCES[frontier.name]
        else:
            colour, marker, line = _COLOURS[rivals % len(_COLOURS)], _MARKERS[rivals % len(_MARKERS)], "-"
            rivals += 1
        axes.plot(tokens, accuracy, line, color=colour, marker=marker, markersize=5, label=frontier.name)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(
        FixedLocator([t for d in range(7) for m in (1, 2, 5) if low <= (t := m * 10**d) <= high])
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{cost} per question (log scale)")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title, parse_math=False)  # a name may hold a dollar sign
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    return figure
