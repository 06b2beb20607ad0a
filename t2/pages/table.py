"""`Table`: one table for page, terminal and Markdown. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table in a page; on a narrow screen it scrolls in its own box."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    note: str = ""
    """stands below"""
    text_columns: tuple[int, ...] = (0,)
    """left-aligned; the others are numbers and right-aligned"""
    marked_rows: tuple[int, ...] = ()
    """with a tinted background"""

    def __post_init__(self) -> None:
        """Reject rows that do not fit the columns."""
        if bad := next((row for row in self.rows if len(row) != len(self.columns)), None):
            raise ValueError(f"Expected {len(self.columns)} cells in each row, got {len(bad)}: {bad[:3]}...")


def markdown_table(table: Table) -> tuple[str, str]:
    """The table and its note."""
    lines = [table.columns, ("---",) * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines), table.note
