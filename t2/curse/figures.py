"""The figures of the curse report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from t2.curse.measured import CurseReport
from t2.curse.tables import changed, is_weighted
from t2.pages.pictures import INK, QUANTITIES, REFERENCE, SMALL, error_lengths, light_grid, log_axis, looks, new_figure
from t2.stats.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_figure(report: CurseReport) -> Figure:
    """Accuracy of the dataset against the budget, with its band, the greedy answers and N_D."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    (fixed_n,) = looks([(REFERENCE, "FixedN")])
    low, high = [100 * point.low for point in report.curve], [100 * point.high for point in report.curve]
    axes.fill_between(report.grid, low, high, color=INK, alpha=0.15, linewidth=0, label="95% interval")
    axes.plot(report.grid, _percent(report.curve), **fixed_n.line, markersize=5, label="majority of N samples")
    if report.greedy is not None:
        axes.axhline(100 * report.greedy.value, color=INK, linestyle="--", label="greedy answer")
        axes.axhspan(100 * report.greedy.low, 100 * report.greedy.high, color=INK, alpha=0.08, linewidth=0)
    axes.axvline(report.main.n_d, color=INK, linestyle=":", label=f"N_D = {report.main.n_d}")
    if len(report.grid) == 1:
        axes.set_xlim(0.5, 2)
    log_axis(axes, report.grid)
    axes.set_xlabel("budget N, samples a question (log scale)")
    axes.set_ylabel("accuracy, %")
    light_grid(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def budget_figure(report: CurseReport) -> Figure:
    """What questions need (N*) beside what the data set needs (N_D in each resample)."""
    figure = new_figure(3.6)
    axes = figure.add_subplot()
    places = range(len(report.label_grid))
    wanted, drawn = _percent(report.n_star_shares), [100 * share for share in report.n_d_shares]
    errors: dict[str, Any] = {"yerr": error_lengths(report.n_star_shares, 100), "capsize": 2}
    axes.bar([place - 0.2 for place in places], wanted, 0.4, label="questions with N* = N", **QUANTITIES[0], **errors)
    axes.bar([place + 0.2 for place in places], drawn, 0.4, label="resamples with N_D = N", **QUANTITIES[1])
    axes.set_xticks(list(places), [str(n) for n in report.label_grid])
    axes.set_xlabel("budget N, samples a question")
    axes.set_ylabel("share, %")
    axes.set_ylim(0, 105)
    light_grid(axes, "y")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper center", ncols=2)
    return figure


def type_figure(report: CurseReport) -> Figure:
    """Share of each sample type, its part of the rise of the dataset curve, and how far the halves agree on it."""
    figure = new_figure(3.4)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    places = list(range(len(report.types)))
    shares, parts = [row.share for row in report.types], [row.contribution for row in report.types]
    for axes, values in ((left, shares), (middle, parts)):
        axes.barh(places, _percent(values), 0.6, xerr=error_lengths(values, 100), capsize=2, **QUANTITIES[0])
    middle.axvline(0, color=INK, linewidth=0.8)
    agreed = [(place, 100 * a) for place, row in enumerate(report.types) if (a := row.half_agreement) is not None]
    right.barh([place for place, _ in agreed], [share for _, share in agreed], 0.6, **QUANTITIES[0])
    right.set_xlim(0, 100)
    for axes in (left, middle, right):
        light_grid(axes, "x")
    left.set_yticks(places, [row.name for row in report.types])
    left.invert_yaxis()
    left.set_xlabel("questions, %")
    middle.set_xlabel("part of the\nrise, points")
    right.set_xlabel("same type in\nother half, %")
    return figure


def rules_figure(report: CurseReport, cost_unit: str) -> Figure:
    """M_D under every rule of the sweep, and with each sample type left out."""
    rows: list[tuple[str, Interval | None, Interval | None]]
    rows = [(changed(row.setting), row.m_d, row.m_d_tokens) for row in report.sweep]
    rows += [(f"without {row.name}", row.m_d_without, None) for row in report.types if row.share.value > 0]
    rows = [row for row in rows if row[1] is not None]
    figure = new_figure(1.2 + 0.22 * len(rows))
    axes = figure.add_subplot()
    _points(axes, [row[1] for row in rows], 0.0, "o", QUANTITIES[0]["color"], "M_D")
    if is_weighted(report.main, cost_unit):
        label = "M_D weighted with generated tokens"
        _points(axes, [row[2] for row in rows], 0.3, "s", QUANTITIES[1]["color"], label)
    axes.axvline(1, color=INK, linewidth=0.8)
    axes.axvline(report.main.m_d.value, color=INK, linestyle=":", label="M_D as asked")
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=SMALL)
    axes.invert_yaxis()
    unit = "" if cost_unit == "tokens" else " (cost in samples)"
    axes.set_xlabel(f"overscaling index, left of 1 is the curse{unit}")
    light_grid(axes, "x")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper center", ncols=3)
    return figure


def _percent(values: Sequence[Interval]) -> list[float]:
    return [100 * value.value for value in values]


def _points(axes: Axes, values: Sequence[Interval | None], shift: float, marker: str, colour: str, label: str) -> None:
    """Values with their intervals, one a row from the top, `shift` rows lower; rows without a value stay empty."""
    places, known = zip(*[(row + shift, value) for row, value in enumerate(values) if value is not None], strict=True)
    style: dict[str, Any] = {"color": colour, "ecolor": INK, "elinewidth": 0.8, "markeredgecolor": INK}
    middle, errors = [value.value for value in known], error_lengths(known)
    axes.errorbar(middle, places, xerr=errors, fmt=marker, markersize=5, capsize=2, label=label, **style)
