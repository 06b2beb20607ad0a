"""What each layer knows, as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2.layers.measure import GAIN, LEVEL, LayerReport
from t2.pages.pictures import INK, QUANTITIES, SMALL, error_lengths, light_grid, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {LEVEL: "how often the LLM is right", GAIN: "what voting brings"}


def layer_figure(report: LayerReport, title: str) -> Figure:
    """Rank correlation by layer, with 95% intervals; dotted lines are the suggested layers."""
    figure = new_figure(3.9)
    axes = figure.add_subplot()
    for look, marker, shift, name in zip(QUANTITIES, "os", (-0.12, 0.12), (LEVEL, GAIN), strict=True):
        known = [(one.layer, each) for one in report.layers if (each := getattr(one, name)) is not None]
        if not known:
            continue
        places, values = [layer + shift for layer, _ in known], [each for _, each in known]
        style: dict[str, Any] = {"color": look["color"], "markeredgecolor": INK, "ecolor": INK, "elinewidth": 0.8}
        middle = [value.value for value in values]
        axes.errorbar(places, middle, yerr=error_lengths(values), fmt=marker, capsize=2, label=TITLES[name], **style)
    for layer in report.suggested:
        axes.axvline(layer, color=INK, linestyle=":", linewidth=0.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    layers = [one.layer for one in report.layers]
    axes.set_xticks(layers if len(layers) <= 16 else layers[1::2])
    axes.tick_params(labelsize=SMALL)
    axes.set_xlabel("layer (residual stream after the block); dotted: suggested")
    axes.set_ylabel("rank correlation, out of fold")
    light_grid(axes, "y")
    figure.suptitle(title, fontsize=9, parse_math=False)
    figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2)
    return figure
