"""Frontier pictures with matplotlib, colours from Okabe and Ito's palette (safe for colour blindness)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from t2.evaluation.frontier import Frontier
    from t2.policies.base import Replay

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STEPS = 10
"""Points drawn from one setting to the next."""
_REFERENCES = {"FixedN": ("#000000", "o", "-"), "ASC": ("#666666", "x", "--"), "OwnOracle": ("#999999", "*", ":")}


def frontier_figure(
    frontiers: Sequence[Frontier],
    title: str,
    cost: str = "generated tokens",
    chosen: Mapping[str, Replay] | None = None,
    reference: Replay | None = None,
) -> Figure:
    """Accuracy against cost a question (log axis), one line a policy, settings in knob order, mixtures between.

    Args:
        frontiers: what is drawn, later ones on top.
        title: above.
        cost: what the horizontal axis counts.
        chosen: what each policy got at the setting that was chosen for it, by name: a ring.
        reference: FixedN(N_ref): a vertical line.
    """
    from matplotlib.figure import Figure as MatplotlibFigure

    figure = MatplotlibFigure(figsize=(6.0, 5.2), dpi=200, layout="constrained")
    axes = figure.add_subplot()
    if reference is not None:
        axes.axvline(_point(reference)[0], color="black", linestyle=":", linewidth=1, label="FixedN(N_ref)")
    rivals = 0
    for frontier in frontiers:
        tokens, accuracy = frontier.tokens_P, 100 * frontier.accuracy_P
        if frontier.name == "Greedy":
            axes.plot(tokens, accuracy, "k+", markersize=12, markeredgewidth=2, label="Greedy")
            continue
        if frontier.name in _REFERENCES:
            colour, marker, line = _REFERENCES[frontier.name]
        else:
            colour, marker, line = _COLOURS[rivals % len(_COLOURS)], _MARKERS[rivals % len(_MARKERS)], "-"
            rivals += 1
        style: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linewidth": 1.2,
            "markersize": 3,
            "label": frontier.name,
        }
        axes.plot(_mixed(tokens), _mixed(accuracy), line, markevery=_STEPS, **style)
        if chosen and frontier.name in chosen:
            ring: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3, "zorder": 4}
            axes.plot(*_point(chosen[frontier.name]), "o", color=colour, **ring)
    _log_axis(axes)
    axes.set_xlabel(f"{cost} per question (log scale)")
    axes.set_ylabel("accuracy, %")
    axes.set_title(title, parse_math=False)  # a name may hold a dollar sign
    axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return figure


def _mixed(value_P: Tensor) -> Tensor:
    """The settings' values with mixtures between neighbours: straight in tokens, as areas take them."""
    share = torch.arange(_STEPS) / _STEPS
    between = value_P[:-1, None] + (value_P[1:] - value_P[:-1])[:, None] * share
    return torch.cat([between.flatten(), value_P[-1:]])


def _point(replay: Replay) -> tuple[float, float]:
    """Tokens a question and accuracy in percent."""
    return float(replay.generated_tokens.mean()), 100 * float(replay.correct.mean())


def _log_axis(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 times powers of ten, written out."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [t for d in range(7) for m in (1, 2, 5) if low <= (t := m * 10**d) <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
