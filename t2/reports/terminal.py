"""The tables of a page in a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from t2.reports.page import Table, clean


def rich_table(table: Table) -> RichTable:
    """A page's table for the terminal. Cells are plain text: square brackets are no markup."""
    shown = RichTable(
        title=Text(clean(table.caption), style="bold"),
        title_justify="left",
        caption=Text(clean(table.note), style="dim") if table.note else None,
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for index, column in enumerate(table.columns):
        shown.add_column(Text(clean(column)), justify="left" if index in table.text_columns else "right")
    for index, row in enumerate(table.rows):
        style = "bold" if index in table.marked_rows else ""
        shown.add_row(*(Text(clean(cell), style=style) for cell in row))
    return shown
