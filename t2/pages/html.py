"""One self-contained HTML page: headings, paragraphs, figures, tables. No script, nothing from outside, all escaped.

Texts may come from anywhere (a pool's name, an answer): they are escaped by the template, and control characters, lone
surrogates and marks that reverse the reading order are replaced before.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from t2.errors import T2Error
from t2.pages.table import Table
from t2.pages.text import clean


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
class Section:
    """A heading and what stands below it, in this order: paragraphs, figures, tables."""

    heading: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()


def render_page(
    title: str, sections: Sequence[Section], subtitle: str = "", lead: str = "", notes: Sequence[str] = ()
) -> str:
    """The page, top down: title, subtitle (what was measured), lead (the answer, set off), sections, list of notes."""
    return _template().render(
        title=clean(title),
        subtitle=clean(subtitle),
        lead=clean(lead),
        sections=[_clean_section(section) for section in sections],
        notes=[clean(note) for note in notes],
    )


def data_uri(png: bytes) -> str:
    """A PNG as a data URI.

    Raises:
        T2Error: it is no PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise T2Error(f"Expected a PNG picture, got bytes that start with {png[:8]!r}. Save the figure as PNG.")
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


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
        loader=PackageLoader("t2.pages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")
