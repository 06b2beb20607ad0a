"""What more questions, samples or budget are worth, as a picture: a column for each, cost above, accuracy below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t2.comparison.growth import GrowthPoint
from t2.pages.pictures import INK, SMALL, family_of, light_grid, log_axis, looks, new_figure
from t2.stats.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def by_rule(points: Sequence[GrowthPoint]) -> dict[str, list[GrowthPoint]]:
    """The points of each rule, from little to much."""
    found: dict[str, list[GrowthPoint]] = {}
    for point in sorted(points, key=lambda each: each.x):
        found.setdefault(point.rule, []).append(point)
    return found


def growth_figure(columns: Mapping[str, Sequence[GrowthPoint]], title: str, cost: str = "generated tokens") -> Figure:
    """A column for each of `columns`, by the name of its horizontal axis; bars are 95% intervals.

    A rule that saves much because it loses much is no good: so its accuracy stands below its cost.
    """
    figure = new_figure(5.4)
    grid = figure.subplots(2, len(columns), sharex="col", squeeze=False)
    rules = list(dict.fromkeys(point.rule for points in columns.values() for point in points))
    first = {point.rule: point for points in columns.values() for point in points}
    members = [(family_of(first[rule].policy, first[rule].source), first[rule].policy) for rule in rules]
    styles = dict(zip(rules, looks(members), strict=True))
    for place, (name, points) in enumerate(columns.items()):
        above, below = grid[0][place], grid[1][place]
        for rule, own in by_rule(points).items():
            x, look = [point.x for point in own], styles[rule]
            for axes, values in ((above, [p.ratio for p in own]), (below, [p.difference for p in own])):
                _line(axes, x, values, look.line, look.family.colour, rule if place == 0 and axes is above else None)
        above.set_ylim(bottom=0)
        log_axis(above, sorted({point.x for point in points}))
        below.axhline(0, color=INK, linestyle=":", linewidth=1)
        below.set_xlabel(name, fontsize=SMALL)
        for axes in (above, below):
            light_grid(axes)
            axes.tick_params(labelsize=SMALL)
    grid[0][0].set_ylabel(f"{cost}\nagainst FixedN(N_ref)", fontsize=SMALL)
    grid[1][0].set_ylabel("accuracy against it, points", fontsize=SMALL)
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2, handlelength=4.5)
    return figure


def _line(
    axes: Axes,
    x: Sequence[float],
    values: Sequence[Interval],
    style: Mapping[str, Any],
    colour: str,
    label: str | None,
) -> None:
    axes.plot(x, [value.value for value in values], linewidth=1.2, markersize=5, label=label, **style)
    axes.vlines(x, [v.low for v in values], [v.high for v in values], color=colour, linewidth=0.6, alpha=0.6)
