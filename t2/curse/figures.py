"""The figures of the curse report, in Okabe and Ito's colours; line styles and hatches say the same as colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2.curse.measure import CurseReport
from t2.curse.tables import changed, is_weighted
from t2.pages.pictures import OKABE_ITO
from t2.stats.bootstrap import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES = 5.6
"""Narrow, so that labels stay readable when a phone shrinks the picture."""


def curve_figure(report: CurseReport) -> Figure:
    """Accuracy of the dataset against the budget, with its band, the greedy answers and N_D."""
    from matplotlib.ticker import FixedLocator, NullLocator

    figure = _figure(3.9)
    axes = figure.add_subplot()
    middle, low, high = _percent(report.curve)
    axes.fill_between(report.grid, low, high, color=OKABE_ITO["sky"], alpha=0.35, linewidth=0, label="95% interval")
    axes.plot(report.grid, middle, "o-", color=OKABE_ITO["blue"], markersize=5, label="majority of N samples")
    if report.greedy is not None:
        axes.axhline(100 * report.greedy.value, color=OKABE_ITO["vermilion"], linestyle="--", label="greedy answer")
        axes.axhspan(100 * report.greedy.low, 100 * report.greedy.high, color=OKABE_ITO["vermilion"], alpha=0.1, lw=0)
    axes.axvline(report.main.n_d, color=OKABE_ITO["black"], linestyle=":", label=f"N_D = {report.main.n_d}")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(_readable(report.grid)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda n, _: f"{n:g}")
    if len(report.grid) == 1:
        axes.set_xlim(0.5, 2)
    axes.set_xlabel("budget N, samples a question (log scale)")
    axes.set_ylabel("accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=9, loc="best")
    return figure


def budget_figure(report: CurseReport) -> Figure:
    """What questions need (N*) beside what the data set needs (N_D in each resample)."""
    figure = _figure(3.6)
    axes = figure.add_subplot()
    middle, low, high = _percent(report.n_star_shares)
    places = range(len(report.label_grid))
    axes.bar(
        [place - 0.2 for place in places],
        middle,
        0.4,
        yerr=_errors(middle, low, high),
        capsize=2,
        color=OKABE_ITO["blue"],
        label="questions with N* = N",
    )
    axes.bar(
        [place + 0.2 for place in places],
        [100 * share for share in report.n_d_shares],
        0.4,
        color=OKABE_ITO["orange"],
        hatch="//",
        edgecolor=OKABE_ITO["black"],
        linewidth=0.6,
        label="resamples with N_D = N",
    )
    axes.set_xticks(list(places), [str(n) for n in report.label_grid])
    axes.set_xlabel("budget N, samples a question")
    axes.set_ylabel("share, %")
    axes.set_ylim(0, 105)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper center", ncols=2)
    return figure


def type_figure(report: CurseReport) -> Figure:
    """Share of each sample type, its part of the rise of the dataset curve, and how far the halves agree on it."""
    figure = _figure(3.4)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    places = list(range(len(report.types)))
    _bars(left, places, _percent([row.share for row in report.types]), OKABE_ITO["blue"])
    _bars(middle, places, _percent([row.contribution for row in report.types]), OKABE_ITO["green"])
    middle.axvline(0, color=OKABE_ITO["black"], linewidth=0.8)
    known = [place for place in places if report.types[place].half_agreement is not None]
    right.barh(known, [100 * (report.types[k].half_agreement or 0.0) for k in known], 0.6, color=OKABE_ITO["purple"])
    right.grid(axis="x", alpha=0.3)
    right.set_axisbelow(True)
    right.set_xlim(0, 100)
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
    shown = [row for row in rows if row[1] is not None]
    figure = _figure(1.2 + 0.22 * len(shown))
    axes = figure.add_subplot()
    _points(axes, [row[1] for row in shown], 0.0, "o", OKABE_ITO["blue"], "M_D")
    if is_weighted(report.main, cost_unit):
        _points(axes, [row[2] for row in shown], 0.25, "s", OKABE_ITO["orange"], "M_D weighted with generated tokens")
    axes.axvline(1, color=OKABE_ITO["black"], linewidth=0.8)
    axes.axvline(report.main.m_d.value, color=OKABE_ITO["black"], linestyle=":", label="M_D as asked")
    axes.set_yticks(range(len(shown)), [row[0] for row in shown], fontsize=8)
    axes.invert_yaxis()
    unit = "" if cost_unit == "tokens" else " (cost in samples)"
    axes.set_xlabel(f"overscaling index, left of 1 is the curse{unit}")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside upper center", ncols=3)
    return figure


def _figure(height_inches: float) -> Figure:
    from matplotlib.figure import Figure as MatplotlibFigure

    return MatplotlibFigure(figsize=(_WIDTH_INCHES, height_inches), dpi=200, layout="constrained")


def _percent(values: Sequence[Interval]) -> tuple[list[float], list[float], list[float]]:
    """Values and both ends, in percent."""
    return [100 * v.value for v in values], [100 * v.low for v in values], [100 * v.high for v in values]


def _errors(middle: list[float], low: list[float], high: list[float]) -> list[list[float]]:
    """Lengths of error bars; a percentile interval may leave the value out, a bar has no negative length."""
    return [
        [max(0.0, m - a) for m, a in zip(middle, low, strict=True)],
        [max(0.0, b - m) for m, b in zip(middle, high, strict=True)],
    ]


def _bars(axes: Axes, places: list[int], values: tuple[list[float], list[float], list[float]], colour: str) -> None:
    axes.barh(places, values[0], 0.6, xerr=_errors(*values), capsize=2, color=colour)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _points(axes: Axes, values: Sequence[Interval | None], shift: float, marker: str, colour: str, label: str) -> None:
    """Values with their intervals, one a row from the top, `shift` rows lower; rows without a value stay empty."""
    places, known = zip(*[(k + shift, value) for k, value in enumerate(values) if value is not None], strict=True)
    middle, low, high = ([getattr(value, part) for value in known] for part in ("value", "low", "high"))
    errors = _errors(middle, low, high)
    axes.errorbar(middle, places, xerr=errors, fmt=marker, color=colour, markersize=4, capsize=2, label=label)


def _readable(grid: tuple[int, ...]) -> list[int]:
    """Budgets far enough apart on a log axis for their labels not to touch; the last one is always among them."""
    kept = [grid[-1]]
    for n in reversed(grid[:-1]):
        if kept[-1] / n >= 1.17:
            kept.append(n)
    return kept[::-1]
