"""The rows of a comparison that a reader sees first, as Markdown: `key.md`, which docs/RESULTS.md quotes. Pure."""

from __future__ import annotations

from dataclasses import replace

from t2.comparison.identity import ORACLES, Role
from t2.comparison.report import claims_markdown
from t2.comparison.rows import Row
from t2.comparison.summary import Summary
from t2.comparison.tables import contenders_table, without_setting

_COLUMNS = (
    *("policy", "setting", "accuracy, %", "vs FixedN(N_ref), points", "generated tokens", "cost in samples", "ratio"),
    *("total tokens", "samples", "rounds", "area, points"),
)
_HIDDEN = ("FixedN", "DSC")
"""Policies without a source of which another row says nearly the same, or which nobody could run."""
_OF_CONTROLS = {("Utility", True)}
"""Policies, and whether in bins."""
_OF_HEADS = {*_OF_CONTROLS, ("HeadThenStop", False), ("PredictedN", False)}
_OF_FIRST_HEAD = {
    *_OF_HEADS,
    *(("Utility", False), ("BlendedUtility", False), ("BatchBudget", True), ("DSC", False)),
}


def key_rows(summary: Summary) -> list[int]:
    """Places in `summary.rows`: the first head with all its policies, other heads and controls with the leading ones.

    Oracles come last.
    """
    first_head = next(row.source for row in summary.rows if row.source and row.source not in summary.controls)

    def is_key(row: Row) -> bool:
        if not row.source:
            return row.role == Role.REFERENCE or row.policy not in _HIDDEN
        if row.source in summary.controls:
            return (row.policy, row.in_bins) in _OF_CONTROLS
        return (row.policy, row.in_bins) in (_OF_FIRST_HEAD if row.source == first_head else _OF_HEADS)

    places = [place for place, row in enumerate(summary.rows) if is_key(row)]
    return sorted(places, key=lambda place: summary.rows[place].policy in ORACLES)


def key_markdown(summary: Summary, header: str, cost_unit: str = "tokens") -> str:
    """The header, the rows and the claims."""
    table, places = contenders_table(summary, cost_unit).only(_COLUMNS), key_rows(summary)
    key = replace(table, rows=tuple(table.rows[place] for place in places), note="")
    exceptions = without_setting(summary.rows[place] for place in sorted(places))
    return "\n\n".join([header, key.markdown(), *exceptions, *claims_markdown(summary, cost_unit)]) + "\n"
