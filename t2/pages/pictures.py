"""How every picture looks: what a colour, a line and a marker mean, sizes, log axes, error bars. No other module says.

A *family* is a kind of policy. It has one colour of Okabe and Ito's palette, which the colour-blind can tell apart, and
one line style, so that a picture printed in grey says the same; its members differ by their markers. The colours that
are left are for quantities that are no policies (bars, shares), with a hatch each.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from t2.stats.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#000000"
WIDTH_INCHES = 6.0
"""Narrow, so that labels stay readable when a phone shrinks the picture."""
DPI = 200
SMALL = 8
"""Points of small print: long labels, legends."""
_CHARACTER = 0.018
"""Width of a character of a label, as a share of a horizontal axis."""


@dataclass(frozen=True)
class Family:
    """A kind of policy: one colour, one line style."""

    colour: str
    line: tuple[int, tuple[float, ...]] | str
    """Matplotlib's: a name, or (offset, (points on, points off, ...))"""
    markers: str
    """one a member; no two families share one"""
    policies: tuple[str, ...] = ()
    """class names whose marker, in the order of `markers`, is the same in all pictures"""


REFERENCE = Family(INK, "-", "o+.", ("FixedN", "Greedy"))
"""The same for every question."""
ONE_ROUND = Family("#0072B2", (0, (8, 2)), "D4p", ("Utility", "BatchBudget", "PredictedN"))
"""A head decides before decoding."""
SEQUENTIAL = Family(
    "#009E73",
    (0, (3, 1.5)),
    "^x<>v1",
    ("NoHeadThenStop", "ASC", "ESC", "Doubling", "PlannedRounds", "ASCAllAtOnce"),
)
"""The answers so far decide."""
THEN_STOP = Family("#D55E00", (0, (9, 2, 1.5, 2, 1.5, 2)), "shd", ("HeadThenStop", "DSC", "PlannedRounds"))
"""A head, then the answers so far."""
CONTROL = Family("#E69F00", (0, (6, 2, 1.5, 2)), "P8H")
"""What a head must beat, whatever its policy."""
ORACLE = Family("#999999", ":", "*X|", ("OwnOracle", "BayesOracle"))
"""Knows what nobody can know."""
FAMILIES = (REFERENCE, ONE_ROUND, SEQUENTIAL, THEN_STOP, CONTROL, ORACLE)
QUANTITIES: tuple[dict[str, Any], ...] = (
    {"color": "#56B4E9", "edgecolor": INK, "linewidth": 0.6},
    {"color": "#CC79A7", "edgecolor": INK, "linewidth": 0.6, "hatch": "//"},
)
"""Bars of a first and a second quantity."""
_SPARE_MARKERS = "123_,"
"""With those of a family, enough for eight members."""


def family_of(policy: str, source: str, is_control: bool = False) -> Family:
    """The family of a policy by its class name ("": none) and its source: what it knows of a question ("": nothing).

    A source that is none of the heads makes it a control.
    """
    if policy in ORACLE.policies:
        return ORACLE
    if is_control:
        return CONTROL
    if source:
        return THEN_STOP if policy in THEN_STOP.policies else ONE_ROUND
    return SEQUENTIAL if policy in SEQUENTIAL.policies else REFERENCE


@dataclass(frozen=True)
class Look:
    """How one member of a family is drawn."""

    family: Family
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `Axes.plot`."""
        return {"color": self.family.colour, "linestyle": self.family.line, "marker": self.marker}


def looks(members: Iterable[tuple[Family, str]]) -> list[Look]:
    """One look for each (family, policy), no two with the same marker: a policy's own where it is free."""
    listed = list(members)
    own = [dict(zip(family.policies, family.markers, strict=False)).get(policy) for family, policy in listed]
    drawn: list[Look] = []
    for place, (family, _) in enumerate(listed):
        marker = own[place]
        if marker is None or marker in own[:place]:
            taken = {*own, *(look.marker for look in drawn)}
            marker = next(m for m in family.markers + _SPARE_MARKERS if m not in taken)
        drawn.append(Look(family, marker))
    return drawn


def new_figure(height_inches: float) -> Figure:
    """An empty figure of the width that all pictures have."""
    from matplotlib.figure import Figure as MatplotlibFigure

    return MatplotlibFigure(figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained")


def png_of(figure: Figure) -> bytes:
    """A Matplotlib figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def log_axis(axes: Axes, ticks: Sequence[float] = ()) -> None:
    """A horizontal log axis with few ticks, written out; `axes` has its limits already.

    Of `ticks`, which rise, those are left out whose labels would touch, never the last; by default round numbers.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    if not ticks:
        steps = (1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)
        ticks = [t for d in range(9) for m in steps if low <= (t := m * 10**d) <= high]
    kept = list(ticks[-1:])  # from the right, so that the last one always stays
    for tick in reversed(ticks[:-1]):
        if log(kept[-1] / tick) / log(high / low) > _CHARACTER * len(_written_out(kept[-1])):
            kept.append(tick)
    axes.xaxis.set_major_locator(FixedLocator(kept[::-1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: _written_out(value))


def _written_out(value: float) -> str:
    return f"{value:,.12g}"


def light_grid(axes: Axes, along: str = "both") -> None:
    """Thin lines behind everything, at the ticks of "x", "y" or "both"."""
    axes.grid(axis=along, alpha=0.3)  # type: ignore[arg-type]  # Matplotlib wants a Literal
    axes.set_axisbelow(True)


def error_lengths(values: Sequence[Interval], scale: float = 1.0) -> list[list[float]]:
    """Lengths of error bars below and above, on an axis with this scale (100 for percent)."""
    # A percentile interval may leave its value out, but a bar has no negative length.
    below = [scale * max(0.0, value.value - value.low) for value in values]
    above = [scale * max(0.0, value.high - value.value) for value in values]
    return [below, above]
