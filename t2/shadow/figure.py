"""What T2 would have drawn, and whether it would have agreed, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2.pages.pictures import INK, QUANTITIES, SMALL, error_lengths, light_grid, new_figure
from t2.shadow.measure import ShadowReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shadow_figure(report: ShadowReport) -> Figure:
    """Above: share of the requests by T2's samples, greedy answers hatched. Below: agreement with the vote of all."""
    figure = new_figure(5.2)
    shares, agreement = figure.subplots(2, 1, sharex=True)
    total, groups = report.everything.requests, report.by_samples
    if report.greedy:
        shares.bar([1], [100 * report.greedy / total], width=0.8, label="greedy answer", **QUANTITIES[1])
    # A single sample stands on the greedy answers, which are one answer too.
    bottom = [100 * report.greedy / total if samples == 1 else 0.0 for samples in groups]
    heights = [100 * group.requests / total for group in groups.values()]
    shares.bar(list(groups), heights, bottom=bottom, width=0.8, label="samples", **QUANTITIES[0])
    known = {samples: group.agreement for samples, group in groups.items() if group.agreement}
    if known:
        values = list(known.values())
        style: dict[str, Any] = {"color": QUANTITIES[0]["color"], "markeredgecolor": INK, "ecolor": INK}
        middle = [100 * value.value for value in values]
        agreement.errorbar(
            list(known), middle, yerr=error_lengths(values, 100), fmt="o", capsize=2, elinewidth=0.8, **style
        )
    drawn = report.everything.drawn
    shares.axvline(drawn, color=INK, linestyle=":", linewidth=0.8, label="drawn (mean)")
    agreement.axvline(drawn, color=INK, linestyle=":", linewidth=0.8)
    shares.set_ylabel("requests, %")
    agreement.set_ylabel("agreement, %")
    agreement.set_xlabel("samples that T2 would have drawn")
    for axes in (shares, agreement):
        light_grid(axes, "y")
        axes.tick_params(labelsize=SMALL)
    figure.legend(
        *shares.get_legend_handles_labels(), frameon=False, fontsize=SMALL, loc="outside upper center", ncols=3
    )
    return figure
