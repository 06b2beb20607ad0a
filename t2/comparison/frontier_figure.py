"""Frontier pictures with matplotlib, colours from Okabe and Ito's palette (safe for colour blindness)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from t2.policies.base import Replay
    from t2.stats.frontier import Frontier

_STYLES = {
    "NoHeadThenStop": ("#009E73", "^"),
    "HeadThenStop": ("#D55E00", "s"),
    "bins + Utility": ("#CC79A7", "D"),
    "Utility": ("#0072B2", "o"),
    "PredictedN": ("#56B4E9", "v"),
}
"""Colour and marker by how a name ends, so that a policy looks the same in all pictures."""
_OTHERS = (("#E69F00", "P"), ("#F0E442", "<"), *_STYLES.values())
"""For further lines, and where a style is taken."""
_STEPS = 10
"""Points drawn from one setting to the next."""
_REFERENCES = {
    "Greedy": ("#000000", "+", ""),
    "FixedN": ("#000000", "o", "-"),
    "ASC": ("#666666", "x", "--"),
    "OwnOracle": ("#999999", "*", ":"),
}


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

    zoomed = bool(chosen) and reference is not None
    figure = MatplotlibFigure(figsize=(6.0, 8.4 if zoomed else 5.2), dpi=200, layout="constrained")
    whole, *detail = figure.subplots(2 if zoomed else 1, 1, squeeze=False)[:, 0]
    for axes in (whole, *detail):
        _draw(axes, frontiers, chosen or {}, reference)
    for axes in detail:
        assert chosen is not None
        assert reference is not None
        _zoom(axes, [*map(_point, chosen.values()), _point(reference)])
    for axes in (whole, *detail):
        _log_axis(axes)
        axes.set_ylabel("accuracy, %")
        axes.grid(alpha=0.3)
    axes.set_xlabel(f"{cost} per question (log scale)")
    whole.set_title(title, parse_math=False)  # a name may hold a dollar sign
    figure.legend(*whole.get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return figure


def _draw(
    axes: Axes, frontiers: Sequence[Frontier], chosen: Mapping[str, Replay], reference: Replay | None = None
) -> None:
    """All lines, rings and references."""
    if reference is not None:
        axes.axvline(_point(reference)[0], color="black", linestyle=":", linewidth=1, label="FixedN(N_ref)")
    for frontier, (colour, marker, line) in zip(frontiers, _styles([f.name for f in frontiers]), strict=True):
        style: dict[str, Any] = {"color": colour, "marker": marker, "label": frontier.name}
        tokens, accuracy = frontier.tokens_P, 100 * frontier.accuracy_P
        if len(tokens) == 1:
            axes.plot(tokens, accuracy, markersize=10, markeredgewidth=2, linestyle="none", **style)
        else:
            axes.plot(_mixed(tokens), _mixed(accuracy), line, markevery=_STEPS, linewidth=1.2, markersize=3, **style)
        if frontier.name in chosen:
            ring: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgewidth": 1.3, "zorder": 4}
            axes.plot(*_point(chosen[frontier.name]), "o", color=colour, **ring)


def _styles(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Colour, marker and line of each name; no two the same while there are enough."""
    found: dict[str, tuple[str, str, str]] = {name: _REFERENCES[name] for name in names if name in _REFERENCES}
    for name in names:
        own = next((style for suffix, style in _STYLES.items() if name.endswith(suffix)), None)
        if own is not None and (*own, "-") not in found.values():
            found[name] = (*own, "-")
    for name in names:
        free = [style for style in _OTHERS if (*style, "-") not in found.values()] or _OTHERS
        found.setdefault(name, (*free[0], "-"))
    return [found[name] for name in names]


def _zoom(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Show these points and little else."""
    tokens, accuracy = zip(*points, strict=True)
    axes.set_xlim(0.8 * min(tokens), 1.1 * max(tokens))
    margin = 0.5 + 0.3 * (max(accuracy) - min(accuracy))
    axes.set_ylim(min(accuracy) - margin, max(accuracy) + margin)
    axes.set_title("around the chosen settings", fontsize=9)


def _mixed(value_P: Tensor) -> Tensor:
    """The settings' values with mixtures between neighbours: straight in tokens, as areas take them."""
    share = torch.arange(_STEPS) / _STEPS
    between = value_P[:-1, None] + (value_P[1:] - value_P[:-1])[:, None] * share
    return torch.cat([between.flatten(), value_P[-1:]])


def _point(replay: Replay) -> tuple[float, float]:
    """Tokens a question and accuracy in percent."""
    return float(replay.generated_tokens.mean()), 100 * float(replay.correct.mean())


def _log_axis(axes: Axes) -> None:
    """Ticks at round numbers, written out."""
    from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, ScalarFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [t for d in range(7) for m in steps if low <= (t := m * 10**d) <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
