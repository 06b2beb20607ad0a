"""One self-contained HTML page: headings, paragraphs, figures, tables. No script, nothing from outside, all escaped.

Texts may come from anywhere (a pool's name, an answer): they are escaped by the template, and control characters, lone
surrogates and marks that reverse the reading order are replaced before.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from t2.errors import T2Error

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

OKABE_ITO = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
}
"""Okabe and Ito's palette, safe for colour blindness."""
LONGEST_TEXT = 2000
"""Characters of a text that a page shows; an answer may be a megabyte long."""
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Figure:
    """A picture in a page."""

    png: bytes
    alt: str
    """what it shows, for those who cannot see it"""
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture itself as a link target."""
        return data_uri(self.png)


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


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in this order: paragraphs, figures, tables."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def render_page(
    title: str, sections: Sequence[Section], subtitle: str = "", lead: str = "", notes: Sequence[str] = ()
) -> str:
    """The page as HTML.

    Args:
        title: heading and window title.
        sections: in order.
        subtitle: one line below the title: what was measured.
        lead: the answer in a sentence or two, set off.
        notes: sentences for a list at the end.
    """
    return _template().render(
        title=clean(title),
        subtitle=clean(subtitle),
        lead=clean(lead),
        sections=[_clean_section(section) for section in sections],
        notes=[clean(note) for note in notes],
    )


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` without characters that a page cannot show, cut to `longest`. Not escaped: the template does that."""
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", cut)


def data_uri(png: bytes) -> str:
    """A PNG as a data URI.

    Raises:
        T2Error: it is no PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise T2Error(f"Expected a PNG picture, got bytes that start with {png[:8]!r}. Save the figure as PNG.")
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def png_of(figure: MatplotlibFigure) -> bytes:
    """A Matplotlib figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _clean_section(section: Section) -> Section:
    return Section(
        clean(section.heading),
        tuple(clean(paragraph) for paragraph in section.paragraphs),
        tuple(replace(figure, alt=clean(figure.alt), caption=clean(figure.caption)) for figure in section.figures),
        tuple(_clean_table(table) for table in section.tables),
    )


def _clean_table(table: Table) -> Table:
    return replace(
        table,
        columns=tuple(clean(column) for column in table.columns),
        rows=tuple(tuple(clean(cell) for cell in row) for row in table.rows),
        caption=clean(table.caption),
        note=clean(table.note),
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("t2.reports", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
