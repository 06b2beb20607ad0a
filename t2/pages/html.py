"""One self-contained HTML page: headings, paragraphs, figures, tables. No script, nothing from outside, all escaped.

Texts may come from anywhere (a pool's name, an answer): they are escaped by the template, and control characters, lone
surrogates and marks that reverse the reading order are replaced before.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from typing import Any

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
    content = {"title": title, "subtitle": subtitle, "lead": lead, "sections": tuple(sections), "notes": tuple(notes)}
    # All of it at once, so that no text is forgotten; a picture's bytes and a table's numbers stay as they are.
    return _template().render({name: _cleaned(value) for name, value in content.items()})


def data_uri(png: bytes) -> str:
    """A PNG as a data URI.

    Raises:
        T2Error: it is no PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise T2Error(f"Expected a PNG picture, got bytes that start with {png[:8]!r}. Save the figure as PNG.")
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _cleaned(value: Any) -> Any:
    """The same with every text in it made fit to be shown: of a tuple, of a dataclass, however deep."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return tuple(map(_cleaned, value))
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _cleaned(part) for name, part in vars(value).items()})
    return value


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
