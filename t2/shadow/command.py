"""From a log of shadow mode to the tables and files of `t2 shadow-report`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from t2.errors import T2Error
from t2.hardware import one_thread
from t2.pages.html import Figure, Section, render_page
from t2.pages.pictures import png_of
from t2.pages.terminal import rich_table
from t2.pages.text import clean, span
from t2.shadow.figure import shadow_figure
from t2.shadow.log import read_shadow_log
from t2.shadow.measure import ShadowReport, measured
from t2.shadow.tables import ABOUT, notes, rounds_table, samples_table, summary_table
from t2.store.files import write_bytes_atomically, write_text_atomically

FORMAT, FORMAT_VERSION = "t2-shadow-report", 1
JSON_FILE, PICTURE_FILE, PAGE_FILE = "shadow.json", "shadow.png", "index.html"


@dataclass(frozen=True)
class ShadowAnswer:
    """The report of `t2 shadow-report`, as text and as files."""

    text: Group
    """for a terminal"""
    files: list[Path]
    """the page last"""


@one_thread()
def shadow_report_of(log: Path, out: Path) -> ShadowAnswer:
    """Read a log, measure it, and write the report into the folder `out`.

    Raises:
        T2Error: no log, no request in it, a damaged line, or a folder that cannot be written.
    """
    report = measured(read_shadow_log(log))
    tables = [summary_table(report), rounds_table(report), samples_table(report)]
    text: list[RenderableType] = [Text(clean(report.verdict), style="bold"), Text()]
    text += [part for table in tables for part in (rich_table(table), Text())]
    text += [Text(f"- {clean(note)}") for note in notes(report)]
    return ShadowAnswer(Group(*text), _write(report, out))


def _write(report: ShadowReport, out: Path) -> list[Path]:
    head = {"format": FORMAT, "format_version": FORMAT_VERSION}
    values = json.dumps({**head, **report.as_json(), "notes": notes(report)}, indent=1, allow_nan=False)
    png = png_of(shadow_figure(report))
    files = [out / name for name in (JSON_FILE, PICTURE_FILE, PAGE_FILE)]
    try:
        write_text_atomically(files[0], values + "\n")
        write_bytes_atomically(files[1], png)
        write_text_atomically(files[2], _page(report, png))
    except OSError as error:
        raise T2Error(f"Expected a folder to write the report into, got {out}: {error}. Choose another.") from error
    return files


def _page(report: ShadowReport, png: bytes) -> str:
    whole = report.everything
    agreement = span(whole.agreement, 1, 100) if whole.agreement else "an unknown share"
    alt = (
        f"Bars: share of the requests by the samples that T2 would have drawn, {whole.samples.value:.1f} in the mean. "
        f"Points: how often its vote is that of all samples, {agreement} percent over all requests."
    )
    sections = [
        Section("The answer", ABOUT, (), (summary_table(report),)),
        Section("What T2 would have drawn", (), (Figure(png, alt),), (samples_table(report),)),
        Section("How long it would have waited", (), (), (rounds_table(report),)),
    ]
    subtitle = f"What T2 would have drawn on requests from {report.first} to {report.last}."
    return render_page("Shadow mode", sections, subtitle, report.verdict, notes(report))
