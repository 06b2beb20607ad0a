"""What rules cost where waiting is limited, as tables. Pure."""

from __future__ import annotations

from t2.comparison.limits import Place, in_words
from t2.comparison.outer_fold import ROUND_LIMITS
from t2.comparison.summary import Summary
from t2.comparison.tuning import ALLOWANCE
from t2.pages.table import Table
from t2.pages.text import COST_WORDS, NOTHING, number, span

AXES = ("critical path, ratio", "KV tokens, ratio")
"""Columns that mean nothing where a pool has no lengths and cost is counted in samples."""
PLANE_NOTE = (
    "Settings are tuned out of fold for two things at once: to lose at most 1 point (or 1/2) against FixedN(N_ref), "
    "and to wait at most so many rounds on average. Planned rounds have a price per token and one per round, and draw "
    "before each look what the posterior of the votes so far says is best; with a head every question has its own "
    "prior. Critical path: the longest sample of each round, summed over rounds, in tokens. It is what a question "
    "waits for where its samples run beside each other. KV tokens: the most that a question holds at once, the shared "
    "prompt counted once, in an engine that runs the samples of a round beside each other and frees each at its end. "
    "All at once: every sample starts, answers count as they come, and what still runs at the stop is aborted; its "
    "tokens so far are paid."
)


def _hidden(cost_unit: str) -> tuple[str, ...]:
    return AXES if cost_unit == "samples" else ()


def versus_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """Claims of planned rounds, a line a pair."""
    seeds = any(each.other_seeds for each in summary.versus)
    columns = ("rule", "against", f"ratio of {cost_unit}", "accuracy, points", AXES[0], "rounds")
    rows = tuple(
        (
            f"{each.first}, {in_words(each.first_rounds)}",
            f"{each.second}, {in_words(each.second_rounds)}",
            span(each.ratio),
            span(each.difference),
            span(each.path_ratio),
            f"{each.rounds[0]:.2f} and {each.rounds[1]:.2f}",
            *(("; ".join(f"{number(r)} / {number(d)}" for d, r in each.other_seeds) or NOTHING,) if seeds else ()),
        )
        for each in summary.versus
    )
    note = "Paired over questions; both sides tuned out of fold to lose at most 1 point. Rounds: of rule and rival."
    table = Table(
        (*columns, "other fold seeds: ratio / points") if seeds else columns,
        rows,
        caption="Planned rounds against their rivals",
        note=note,
        text_columns=(0, 1),
    )
    return table.without(_hidden(cost_unit))


def limits_table(summary: Summary, allowance: float = ALLOWANCE) -> Table:
    """Tokens of every rule at every limit on rounds, as ratios to FixedN(N_ref)."""
    rules: dict[str, dict[float, Place]] = {}
    for place in summary.places:
        if place.allowance == allowance:
            limit = float("inf") if place.max_rounds is None else place.max_rounds
            rules.setdefault(place.name, {})[limit] = place
    rows = tuple((name, *(_cell(at.get(limit)) for limit in ROUND_LIMITS)) for name, at in rules.items())
    points = f"{100 * allowance:g} point{'' if allowance == ALLOWANCE else 's'}"
    return Table(
        ("rule", *map(in_words, ROUND_LIMITS)),
        rows,
        caption=f"Tuned to lose at most {points}: ratio of tokens @ rounds (accuracy, points)",
        text_columns=(0,),
    )


def _cell(place: Place | None) -> str:
    if place is None:
        return NOTHING
    return f"{place.ratio.value:.3f} @ {place.rounds:.2f} ({place.difference.value:+.2f})"


def places_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """Every rule on all axes, with intervals; a limit that changes nothing is left out."""
    seen: dict[tuple[str, float, float, float], Place] = {}
    for place in summary.places:
        seen.setdefault((place.name, place.allowance, place.ratio.value, place.rounds), place)
    rows = tuple(
        (
            place.name,
            f"{100 * place.allowance:g}",
            in_words(place.max_rounds),
            span(place.ratio),
            span(place.difference),
            f"{place.rounds:.2f}",
            span(place.path_ratio),
            span(place.memory_ratio),
            f"{place.samples:.1f}",
            f"{place.peak:.1f}",
            "; ".join(f"{number(r)} @ {number(n)} / {number(d)}" for d, r, n in place.other_seeds) or NOTHING,
        )
        for place in seen.values()
    )
    columns = (
        *("rule", "may lose, points", "may wait", f"ratio of {COST_WORDS[cost_unit]}", "vs FixedN(N_ref), points"),
        *("rounds", *AXES, "samples", "at once", "other fold seeds"),
    )
    note = "Other fold seeds: ratio @ rounds / points. Ratios are to FixedN(N_ref); at once: sequences of a question."
    table = Table(columns, rows, caption="All axes", note=note, text_columns=(0, 2))
    return table.without(_hidden(cost_unit))
