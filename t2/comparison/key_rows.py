"""The rows of a comparison that a reader sees first, as Markdown: `key.md`, which docs/RESULTS.md quotes. Pure."""

from __future__ import annotations

from dataclasses import replace

from t2.comparison.report import claims_markdown
from t2.comparison.rows import Row
from t2.comparison.summary import Summary
from t2.comparison.tables import contenders_table, without_setting

_COLUMNS = (
    *("policy", "setting", "accuracy, %", "vs FixedN(N_ref), points", "generated tokens", "cost in samples", "ratio"),
    *("total tokens", "samples", "rounds", "area, points"),
)
_VARIANTS = ("FixedN", "ASC, short answers first", "ESC, window answer", "DSC by other-fold mean correct")
"""References of which another row says nearly the same, or which nobody could run."""
_ORACLES = ("BayesOracle", "OwnOracle")
_OF_ALL_HEADS = ("HeadThenStop", "bins + Utility", "PredictedN")
_OF_FIRST_HEAD = (*_OF_ALL_HEADS, "HeadASC", "Utility", "own and bins + Utility", "bins + BatchBudget")


def key_rows(summary: Summary) -> list[str]:
    """Names of the rows: the first head with all its policies, other heads and controls with the leading ones."""
    named = dict.fromkeys(row.source for row in summary.rows if row.source)
    first_head = next(source for source in named if source not in summary.controls)

    def is_key(row: Row) -> bool:
        if not row.source:
            return row.name not in _VARIANTS
        policy = row.name.removeprefix(f"{row.source} + ")
        if row.source in summary.controls:
            return policy == "bins + Utility"
        if row.source == first_head:
            return policy in _OF_FIRST_HEAD or row.name == f"DSC by {first_head}"
        return policy in _OF_ALL_HEADS

    names = [row.name for row in summary.rows if is_key(row)]
    return sorted(names, key=lambda name: name in _ORACLES)


def key_markdown(summary: Summary, header: str, cost_unit: str = "tokens") -> str:
    """The header, the rows and the claims."""
    names = key_rows(summary)
    table = contenders_table(summary, cost_unit).only(_COLUMNS)
    by_name = {cells[0]: cells for cells in table.rows}
    key = replace(table, rows=tuple(by_name[name] for name in names), note="")
    missed = without_setting(row for row in summary.rows if row.name in names)
    return "\n\n".join([header, key.markdown(), *missed, *claims_markdown(summary, cost_unit)]) + "\n"
