"""What a reader decides by, as Markdown: at most twelve rules on all axes, and the claims of planned rounds. Pure.

`key.md`, which docs/RESULTS.md quotes. Everything else that was measured is on the report's page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from t2.comparison.identity import LAST_LAYER, PLANNED, SHUFFLED, Role
from t2.comparison.limit_tables import versus_table
from t2.comparison.limits import Place, Versus, in_words
from t2.comparison.rows import Row
from t2.comparison.summary import Summary
from t2.comparison.tuning import ALLOWANCE
from t2.pages.table import Table
from t2.pages.text import COST_WORDS, NOTHING, number, span

MOST_ROWS = 12
_COLUMNS = ("rule", "ratio", "vs FixedN(N_ref), points", "rounds", "critical path", "KV tokens")
NOTE = (
    "Settings chosen out of fold to lose at most 1 point and to wait at most so often. Ratio: of generated tokens to "
    "those of FixedN(N_ref), as critical path (what is waited for) and KV tokens (held at once) are to its own. "
    "Brackets are 95% intervals over questions."
)


class Wanted(NamedTuple):
    """A rule that leads, if the comparison has it."""

    policy: str = ""
    source: str = ""
    role: str = ""
    max_rounds: float | None = None


def wanted(summary: Summary) -> tuple[Wanted, ...]:
    """Rules in the order of the table; the first head is the configured one."""
    sources = list(dict.fromkeys(row.source for row in summary.rows if row.source))
    head = next((source for source in sources if source not in summary.controls), "")
    last, shuffled = (next((s for s in sources if s.startswith(kind)), "-") for kind in (LAST_LAYER, SHUFFLED))
    return (
        Wanted("Utility", head, max_rounds=1.0),
        Wanted(PLANNED, head, max_rounds=1.25),
        Wanted(PLANNED, head, max_rounds=2.0),
        Wanted(PLANNED, last, max_rounds=2.0),
        Wanted(PLANNED, shuffled, max_rounds=2.0),
        Wanted(PLANNED, max_rounds=1.25),
        Wanted(PLANNED, max_rounds=2.0),
        Wanted("ASC"),
        Wanted("Doubling"),
        Wanted("PredictedN", "LayerwiseRegression", max_rounds=1.0),
    )


def key_places(summary: Summary) -> list[Place]:
    """Those of the wanted rules that there are."""
    found = [next((place for place in summary.places if _is(place, each)), None) for each in wanted(summary)]
    return [place for place in found if place is not None]


def _is(place: Place, rule: Wanted) -> bool:
    same = (place.policy, place.source, place.role) == (rule.policy, rule.source, rule.role)
    return same and not place.in_bins and (place.allowance, place.max_rounds) == (ALLOWANCE, rule.max_rounds)


def key_table(summary: Summary, cost_unit: str = "tokens") -> Table:
    """FixedN(N_ref), the greedy answer, and the rules that lead."""
    fixed = [row for row in summary.rows if row.role == Role.REFERENCE or (row.policy == "Greedy" and not row.source)]
    rows = [*map(_of_row, fixed), *map(_of_place, key_places(summary))]
    table = Table(_COLUMNS, tuple(rows[:MOST_ROWS]), note=NOTE.replace("generated tokens", COST_WORDS[cost_unit]))
    return table.without(_COLUMNS[-2:] if cost_unit == "samples" else ())


def _of_row(row: Row) -> tuple[str, ...]:
    return (row.name, span(row.ratio), span(row.difference), number(row.rounds), NOTHING, NOTHING)


def _of_place(place: Place) -> tuple[str, ...]:
    axes = (span(place.path_ratio), span(place.memory_ratio))
    numbers = (span(place.ratio), span(place.difference), number(place.rounds))
    limited = place.policy == PLANNED
    return (f"{place.name}, {in_words(place.max_rounds)}" if limited else place.name, *numbers, *axes)


def leading(versus: Sequence[Versus]) -> tuple[Versus, ...]:
    """The claims at 1, 1.25 and 2 rounds, and those against ASC."""
    limits = (1.0, 1.25, 2.0)
    return tuple(each for each in versus if each.first_rounds in limits)


def key_markdown(summary: Summary, header: str, cost_unit: str = "tokens") -> str:
    """The header, the rows and the claims."""
    claims = versus_table(replace(summary, versus=leading(summary.versus)), cost_unit)
    return "\n\n".join([header, key_table(summary, cost_unit).markdown(), claims.markdown()]) + "\n"
