"""The tables of a page in a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from t2.pages.table import Table
from t2.pages.text import clean

_SHORT = 16
"""Characters of the longest name in a column of names that is not broken however narrow the terminal is."""


def rich_table(table: Table) -> RichTable:
    """A page's table for the terminal. Cells are plain text: square brackets are no markup."""
    drawn = RichTable(
        title=Text(clean(table.caption), style="bold"),
        title_justify="left",
        caption=Text(clean(table.note), style="dim") if table.note else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        is_text = index in table.text_columns
        longest = max(len(text) for text in (column, *(row[index] for row in table.rows)))
        drawn.add_column(
            Text(clean(column)),
            justify="left" if is_text else "right",
            no_wrap=is_text and longest <= _SHORT,
            overflow="fold",  # an ellipsis would lose letters
        )
    for index, row in enumerate(table.rows):
        style = "bold" if index in table.marked_rows else ""
        drawn.add_row(*(Text(clean(cell), style=style) for cell in row))
    return drawn
