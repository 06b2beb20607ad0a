"""The curse report as files and for the terminal: `curse.json`, four figures, and one self-contained `index.html`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.text import Text

from t2.curse.figures import budget_figure, curve_figure, rules_figure, type_figure
from t2.curse.measured import CurseReport
from t2.curse.tables import budget_table, reliability_table, summary_table, sweep_table, type_table
from t2.errors import T2Error
from t2.pages.html import Figure, Section, render_page
from t2.pages.pictures import png_of
from t2.pages.terminal import rich_table
from t2.pages.text import COST_WORDS, clean, number, span
from t2.store.files import write_bytes_atomically, write_text_atomically

FORMAT, FORMAT_VERSION = "t2-curse", 1
DEFINITIONS = (
    "N* of a question is the smallest budget whose accuracy is within eps of its best; N_D of the data set is the "
    "same rule on the mean curve, within eps_D. The overscaling index is M_D = mean N* / N_D: below 1, one budget "
    "for all draws more than questions need on average. 1 - M_D is an oracle's waste, not what a prompt can reveal.",
    "M_D weighted with tokens is the sum of N* t over N_D times the sum of t, where t is the mean generated tokens "
    "of a question's samples: what the oracle generates, as a share of what one budget for all does.",
)
"""The second one where tokens are counted."""
ABOUT_CURVE = (
    "A(N) is the expected accuracy of a majority vote over N of a question's samples, exact over all subsets; a "
    "tie pays the correct answer its share, no vote pays nothing."
)
ABOUT_RELIABILITY = (
    "Reliability of a target is its rank correlation between the halves, over questions. Against a target from the "
    "whole pool, a head's correlation cannot be expected above about the square root of the last column."
)


def write_curse_report(
    report: CurseReport,
    folder: str | Path,
    title: str,
    notes: Sequence[str] = (),
    cost_unit: str = "tokens",
    about: str = "",
) -> list[Path]:
    """Write `curse.json`, `curve.png`, `budgets.png`, `types.png`, `rules.png` and `index.html` over what is there.

    `notes` are sentences about the pool, put before the report's own; `about` says in a sentence what was measured;
    `cost_unit` is "samples" where the pool has no token counts. Returns what was written, the page last.

    Raises:
        T2Error: an unknown unit, or a folder that cannot be written.
    """
    if cost_unit not in COST_WORDS:
        raise T2Error(f"Expected `cost_unit` to be one of {', '.join(COST_WORDS)}, got {cost_unit!r}.")
    folder = Path(folder)
    all_notes = (*notes, *report.notes)
    pictures = {
        "curve.png": png_of(curve_figure(report)),
        "budgets.png": png_of(budget_figure(report)),
        "types.png": png_of(type_figure(report)),
        "rules.png": png_of(rules_figure(report, cost_unit)),
    }
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "title": title, "about": about, "cost_unit": cost_unit}
    values = json.dumps({**head, **report.as_json(), "notes": all_notes}, indent=1, allow_nan=False)
    subtitle = f"How much of self-consistency one budget for all wastes. Questions: {report.num_questions:,}. {about}"
    sections = _sections(report, pictures, cost_unit)
    page = render_page(title, sections, subtitle.strip(), report.verdict, all_notes)
    try:
        write_text_atomically(folder / "curse.json", values + "\n")
        for name, png in pictures.items():
            write_bytes_atomically(folder / name, png)
        write_text_atomically(folder / "index.html", page)
    except OSError as error:
        raise T2Error(f"Expected a folder to write the report into, got {folder}: {error}. Choose another.") from error
    return [folder / name for name in ("curse.json", *pictures, "index.html")]


def terminal_table(report: CurseReport, cost_unit: str = "tokens", notes: Sequence[str] = (), about: str = "") -> Group:
    """What was measured, verdict, tables and notes for a terminal; arguments as those of `write_curse_report`."""
    tables = [summary_table(report, cost_unit), budget_table(report), sweep_table(report, cost_unit)]
    tables.append(type_table(report))
    if report.reliability:
        tables.append(reliability_table(report, cost_unit))
    parts = [Text(clean(about))] if about else []
    parts += [Text(clean(report.verdict), style="bold"), Text()]
    remarks = [_agreement(report)] if report.type_agreement else []
    all_notes = [Text(f"- {clean(note)}") for note in (*remarks, *notes, *report.notes)]
    return Group(*parts, *(part for table in tables for part in (rich_table(table), Text())), *all_notes)


def _sections(report: CurseReport, pictures: dict[str, bytes], cost_unit: str) -> list[Section]:
    """The page, top down: the answer, the curve, what questions need, what triggers it, how sure all that is."""
    n_d, first, last = report.main.n_d, span(report.curve[0], 1, 100), span(report.curve[-1], 1, 100)
    alts = {
        "curve.png": f"Line: accuracy is {first} percent with one sample and {last} percent with {report.grid[-1]}.",
        "budgets.png": "Bars: share of the questions by N*, and share of the bootstrap resamples by N_D; "
        f"N_D of the data set is {n_d}.",
        "types.png": "Bars: share of the questions of each type, its part of the rise, and how far the halves agree.",
        "rules.png": "Points: M_D with its interval under each rule, and with each sample type left out.",
    }
    curve, budgets, types, rules = ((Figure(pictures[name], alt),) for name, alt in alts.items())
    about_types = (
        "The type of a question is what its curve does up to M/2, with a tolerance of "
        f"{report.type_tolerance:g}: flat (always right, never right, indifferent), rising, falling, rise then fall, "
        "fall then rise. The paper names five types, but its list could not be read, so these are ours."
    )
    about_parts = (
        f"Each type adds its part to the rise of the data set's curve from 1 to N_D = {n_d} samples, "
        f"{number(100 * report.rise)} points. The table also leaves a type out and computes N_D and M_D anew."
    )
    definitions = DEFINITIONS if cost_unit == "tokens" else DEFINITIONS[:1]
    sections = [
        Section("The answer", definitions, (), (summary_table(report, cost_unit),)),
        Section("Accuracy against samples", (ABOUT_CURVE,), curve),
        Section("What questions need, and what the data set needs", (), budgets, (budget_table(report),)),
        Section("What triggers it", (about_types, about_parts), types, (type_table(report),)),
        Section("Other rules", (), rules, (sweep_table(report, cost_unit),)),
    ]
    if report.reliability:
        table = reliability_table(report, cost_unit)
        sections.append(Section("How sure is it", (_agreement(report), ABOUT_RELIABILITY), (), (table,)))
    elif report.type_agreement:
        sections.append(Section("How sure is it", (_agreement(report),)))
    return sections


def _agreement(report: CurseReport) -> str:
    """How far sample types are reproducible, in one sentence."""
    kappa = f", Cohen's kappa {span(report.type_kappa)}" if report.type_kappa else ""
    return (
        "The types computed from either half of a question's samples are the same for "
        f"{span(report.type_agreement, 1, 100)}% of the questions{kappa}."
    )
