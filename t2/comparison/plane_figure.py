"""The picture that decides: tokens against waiting, or memory, at the same allowance; a curve for each rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from t2.comparison.identity import AT_ONCE, PLANNED, Role
from t2.comparison.limits import Place
from t2.comparison.tuning import ALLOWANCE
from t2.pages.pictures import INK, ONE_ROUND, SMALL, Family, family_of, light_grid, log_axis, looks, new_figure
from t2.stats.bootstrap import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Axis = Literal["path", "memory"]
AXES = {
    "path": "critical path against FixedN(N_ref): what is waited for (log scale)",
    "memory": "KV tokens held at once against FixedN(N_ref) (log scale)",
}
SHOWN: tuple[tuple[str, str], ...] = (
    *((Role.PLANNED, ""), ("", PLANNED), (Role.PLANNED_CONTROL, ""), (Role.ONE_ROUND, "")),
    *(("", "ASC"), ("", "ESC"), ("", "Doubling"), ("", f"ASC{AT_ONCE}")),
)
"""Role, or policy of a rule without a source, of each curve: as many as can be told apart."""


def curves(places: Sequence[Place]) -> list[list[Place]]:
    """The places of each rule that is shown, at the leading allowance, from few rounds to many, each place once."""
    found = []
    for role, policy in SHOWN:
        mine = [
            place
            for place in places
            if place.allowance == ALLOWANCE and (place.role == role if role else place.policy == policy)
            if role or not (place.source or place.role)
        ]
        distinct = list({(place.ratio.value, place.path_ratio.value): place for place in mine}.values())
        if distinct:
            found.append(distinct)
    return found


def plane_figure(places: Sequence[Place], axis: Axis, title: str, cost: str = "generated tokens") -> Figure:
    """Cost against critical path or memory, both as ratios to FixedN(N_ref), which is the star at (1, 1).

    Whatever lies lower and further left is better. Each curve is one rule with more and more rounds allowed; thin bars
    are 95% intervals of the cost.
    """
    shown = curves(places)
    figure = new_figure(5.6)
    axes = figure.add_subplot()
    axes.plot(1, 1, "*", color=INK, markersize=11, linestyle="none", label="FixedN(N_ref)")
    for own, look in zip(shown, looks([_member(own[0]) for own in shown]), strict=True):
        across = [_on(place, axis).value for place in own]
        order = sorted(range(len(own)), key=across.__getitem__)
        x, y = [across[i] for i in order], [own[i].ratio.value for i in order]
        axes.plot(x, y, linewidth=1.2, markersize=5, label=own[0].name, **look.line)
        axes.vlines(
            x,
            [own[i].ratio.low for i in order],
            [own[i].ratio.high for i in order],
            color=look.family.colour,
            linewidth=0.6,
            alpha=0.6,
        )
    log_axis(axes, () if axis == "path" else (0.1, 0.2, 0.3, 0.5, 0.7, 1))
    light_grid(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(AXES[axis])
    axes.set_ylabel(f"{cost} against FixedN(N_ref)")
    axes.set_title(title, parse_math=False)
    figure.legend(frameon=False, fontsize=SMALL, loc="outside lower center", ncols=2, handlelength=4.5)
    return figure


def _member(place: Place) -> tuple[Family, str]:
    """Family and policy; the best of a field may be of several policies, but its role says what they have in common."""
    if place.role == Role.ONE_ROUND:
        return ONE_ROUND, "Utility"
    is_control = place.role == Role.PLANNED_CONTROL
    return family_of(place.policy or PLANNED, place.source, is_control), place.policy or PLANNED


def _on(place: Place, axis: Axis) -> Interval:
    return place.path_ratio if axis == "path" else place.memory_ratio
