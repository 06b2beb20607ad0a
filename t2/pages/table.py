"""`Table`: one table for the page (page.html.j2), the terminal (`rich_table`) and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Table:
    """Cells as text under titled columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    note: str = ""
    """stands below"""
    text_columns: tuple[int, ...] = (0,)
    """left-aligned; the others are numbers and right-aligned"""
    marked_rows: tuple[int, ...] = ()
    """set off: tinted on the page, bold in the terminal"""

    def __post_init__(self) -> None:
        if bad := next((row for row in self.rows if len(row) != len(self.columns)), None):
            raise ValueError(f"Expected {len(self.columns)} cells in each row, got {len(bad)}: {bad[:3]}...")

    def only(self, titles: Collection[str]) -> Table:
        """The columns with these titles, in the order of the table; a title that no column has picks none."""
        kept = [index for index, title in enumerate(self.columns) if title in titles]
        return replace(
            self,
            columns=tuple(self.columns[index] for index in kept),
            rows=tuple(tuple(row[index] for index in kept) for row in self.rows),
            text_columns=tuple(place for place, index in enumerate(kept) if index in self.text_columns),
        )

    def without(self, titles: Collection[str]) -> Table:
        """All columns but those with these titles."""
        return self.only([title for title in self.columns if title not in titles])

    def titled(self, new: Mapping[str, str]) -> Table:
        """The same with other titles: old title -> new one, for columns that get one."""
        return replace(self, columns=tuple(new.get(title, title) for title in self.columns))

    def markdown(self) -> str:
        """The table in Markdown, its note as a paragraph below; without the caption."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        return f"{table}\n\n{self.note}" if self.note else table
