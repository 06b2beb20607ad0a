"""Frontiers as a picture: accuracy against cost, a line for each of at most eight policies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from t2.comparison.identity import BEST_LAYER
from t2.pages.pictures import INK, SMALL, Look, family_of, light_grid, log_axis, looks, new_figure
from t2.policies.base import Replay
from t2.stats.frontier import Frontier

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 8
"""More cannot be told apart; tables have them all."""
PAPERS_HEAD = "LayerwiseRegression"
"""Source whose `PredictedN` is the method of the paper."""
_STEPS = 10
"""Points drawn from one setting to the next."""


@dataclass(frozen=True)
class Line:
    """A frontier in a picture."""

    frontier: Frontier
    is_control: bool = False
    """it knows of a question what a control says"""
    chosen: Replay | None = None
    """what it got at the setting that was chosen for it: a ring"""


def pictured(lines: Iterable[Line], own: Frontier | None = None) -> list[Line]:
    """The lines that a picture has room for, in the order of its legend.

    `own` is of the head and policy that the picture is about; by default `Utility` on the first head's own curve.
    """
    all_lines = list(lines)
    if own is None:
        heads = (line.frontier for line in all_lines if line.frontier.source and not line.is_control)
        own = next((frontier for frontier in heads if frontier.policy == "Utility" and not frontier.in_bins), None)
    mine = own.source if own else ""
    # Who is asked and what is done with the answer, most wanted first; what `own` asks is "mine".
    wanted = (
        *(("nobody", "FixedN"), ("nobody", "Greedy"), ("mine", "HeadThenStop")),
        *(("nobody", "NoHeadThenStop"), ("nobody", "ASC"), (PAPERS_HEAD, "PredictedN"), (BEST_LAYER, "Utility")),
        *(("nobody", "ESC"), ("nobody", "Doubling")),
        *(("mine", "PredictedN"), ("mine", "Utility"), ("mine", "BatchBudget")),
    )

    def key(line: Line) -> tuple[str, str]:
        source = line.frontier.source or "nobody"
        return "mine" if source == mine else source, line.frontier.policy

    first = {key(line): line for line in reversed(all_lines)}
    order = [line for line in all_lines if line.frontier is own]
    order += [first[one] for one in wanted if one in first]
    order += all_lines  # what else there is, while there is room
    return list({id(line): line for line in order}.values())[:MOST_LINES]


def frontier_figure(
    lines: Sequence[Line], title: str, cost: str = "generated tokens", reference: Replay | None = None
) -> Figure:
    """Accuracy against cost a question (log axis), one line a policy, settings in knob order, mixtures between.

    Earlier lines lie on top; `reference`, FixedN(N_ref), is a vertical line. With rings and a reference, a second axes
    shows what lies around them.
    """
    rings = [line.chosen for line in lines if line.chosen is not None]
    zoomed = bool(rings) and reference is not None
    figure = new_figure(8.4 if zoomed else 5.2)
    whole, *detail = figure.subplots(2 if zoomed else 1, 1, squeeze=False)[:, 0]
    for axes in (whole, *detail):
        _draw(axes, lines, reference)
    for axes in detail:
        assert reference is not None
        _zoom(axes, [_point(replay) for replay in (*rings, reference)])
    for axes in (whole, *detail):
        log_axis(axes)
        light_grid(axes)
        axes.set_ylabel("accuracy, %")
    axes.set_xlabel(f"{cost} per question (log scale)")
    whole.set_title(title, parse_math=False)  # a name may hold a dollar sign
    handles, names = whole.get_legend_handles_labels()
    figure.legend(handles, names, frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2, handlelength=4.5)
    return figure


def _draw(axes: Axes, lines: Sequence[Line], reference: Replay | None) -> None:
    members = [
        (family_of(line.frontier.policy, line.frontier.source, line.is_control), line.frontier.policy) for line in lines
    ]
    for place, (line, look) in enumerate(zip(lines, looks(members), strict=True)):
        _draw_line(axes, line, look, order=3 - place / len(lines))
    if reference is not None:
        axes.axvline(_point(reference)[0], color=INK, linestyle=":", linewidth=1, label="FixedN(N_ref)")


def _draw_line(axes: Axes, line: Line, look: Look, order: float) -> None:
    tokens, accuracy = line.frontier.tokens_P, 100 * line.frontier.accuracy_P
    style: dict[str, Any] = {**look.line, "label": line.frontier.name, "zorder": order}
    if len(tokens) == 1:
        axes.plot(tokens, accuracy, **{**style, "linestyle": "none"}, markersize=10, markeredgewidth=2)
    else:
        axes.plot(_mixed(tokens), _mixed(accuracy), markevery=_STEPS, linewidth=1.2, markersize=4, **style)
    if line.chosen is not None:
        # Settings are chosen in each fold, so a ring may lie beside its line: the marker in it says whose it is.
        where, colour = _point(line.chosen), look.family.colour
        axes.plot(*where, look.marker, color=colour, markersize=4, zorder=4)
        axes.plot(*where, "o", color=colour, markersize=11, markerfacecolor="none", markeredgewidth=1.3, zorder=4)


def _zoom(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
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
