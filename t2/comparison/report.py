"""`t2 report`: heads x policies with intervals, as Markdown, JSON, pictures and one HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType

from t2.comparison.compare import Comparison
from t2.comparison.frontier_figure import Line, frontier_figure, pictured
from t2.comparison.ladder_figure import ladder_figure
from t2.comparison.limit_tables import PLANE_NOTE, limits_table, places_table, versus_table
from t2.comparison.plane_figure import plane_figure
from t2.comparison.summary import Summary
from t2.comparison.tables import (
    REPEATED_NOTE,
    claims_table,
    contenders_table,
    ladder_table,
    named_sentence,
    repeated_title,
    targets_table,
)
from t2.pages.html import Figure, Section, render_page
from t2.pages.pictures import png_of
from t2.pages.text import COST_WORDS, clean, number
from t2.store.files import write_bytes_atomically, write_text_atomically

HOW_TO_READ = (
    "FixedN(N) is the majority of N samples for every question, N_ref the smallest N that is enough for the whole "
    "dataset. Everything else spends less on some questions. Heads and controls look at a question before decoding, "
    "sequential rules at the answers so far.",
    "Start with the waste ladder: what each kind of knowledge saves where a point may be lost. Read each ratio with "
    "its accuracy. Then the claims: a and b say whether a head helps a rule that looks at answers, c whether deciding "
    "in one round saves anything, d and e whether it is the activations, or what text, length and plain regressions "
    "know too.",
    "Square brackets are 95% bootstrap intervals over questions. What is called best was named, and every setting was "
    "chosen, on other questions than those it is scored on.",
)
FRONTIER_CAPTION = (
    "Marks are the settings of a policy, lines what a coin for each question makes of two neighbours. A ring is what "
    "the settings got that were chosen out of fold to lose at most 1 point against FixedN(N_ref), the dotted line: the "
    "rows of the table. Eight of the contenders are drawn. Colour and line style say what a policy knows: nothing "
    "(black), activations (blue), the answers so far (green), both (red), what a control knows (orange)."
)


def markdown(summary: Summary, header: str, cost_unit: str = "tokens") -> str:
    """The report as Markdown."""
    parts = [header, contenders_table(summary, cost_unit).markdown()]
    parts += ["Claims", *claims_markdown(summary, cost_unit)]
    parts += ["What waiting buys", PLANE_NOTE, "![Tokens against critical path](plane.png)"]
    parts += [versus_table(summary, cost_unit).markdown(), limits_table(summary).markdown()]
    parts += [limits_table(summary, 0.005).markdown(), places_table(summary, cost_unit).markdown()]
    parts += ["Waste ladder", ladder_table(summary, cost_unit).markdown(), "![Waste ladder](ladder.png)"]
    if summary.targets:
        parts += ["Reliability of what a head may learn", targets_table(summary).markdown()]
    return "\n\n".join(parts) + "\n"


def claims_markdown(summary: Summary, cost_unit: str = "tokens") -> list[str]:
    """The claims as tables, and those on new questions."""
    parts = [claims_table(summary.claims, cost_unit).markdown(), named_sentence(summary)]
    if summary.repeated:
        again = replace(claims_table(summary.repeated, cost_unit), note="")
        parts += [repeated_title(summary.repeated), REPEATED_NOTE, again.markdown()]
    return parts


def write_report(
    summary: Summary,
    comparison: Comparison,
    folder: Path,
    title: str,
    header: str,
    notes: Sequence[str] = (),
    *,
    cost_unit: str = "tokens",
    first: Sequence[Section] = (),
    first_markdown: str = "",
    further: Mapping[str, object] = MappingProxyType({}),
) -> list[Path]:
    """Write report.json, report.md, index.html, frontier.png, ladder.png, plane.png and memory.png.

    `comparison` is the one of the first fold seed, for the picture, and `header` a paragraph on what was compared.
    `first` are sections above all others of the page, `first_markdown` stands above the comparison in report.md, and
    `further` are keys that report.json has besides the summary's.
    """
    cost = COST_WORDS[cost_unit]
    lines, heading = frontier_lines(comparison), clean(title, 90)
    pictures = {
        "frontier.png": png_of(frontier_figure(lines, heading, cost, comparison.reference)),
        "ladder.png": png_of(ladder_figure(summary.ladder, heading, cost)),
        "plane.png": png_of(plane_figure(summary.places, "path", heading, cost)),
        "memory.png": png_of(plane_figure(summary.places, "memory", heading, cost)),
    }
    texts = {
        "report.json": json.dumps(
            without_infinities({**asdict(summary), **further}), indent=1, ensure_ascii=False, allow_nan=False
        )
        + "\n",
        "report.md": first_markdown + markdown(summary, header, cost_unit),
        "index.html": render_page(title, [*first, *_sections(summary, pictures, cost_unit)], lead=header, notes=notes),
    }
    for name, text in texts.items():
        write_text_atomically(folder / name, text)
    for name, png in pictures.items():
        write_bytes_atomically(folder / name, png)
    return [folder / name for name in (*texts, *pictures)]


def without_infinities(value: object) -> object:
    """JSON has no word for infinity, which a price for a round may be: null."""
    if isinstance(value, dict):
        return {key: without_infinities(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(part) for part in value]
    return None if value == math.inf else value


def frontier_lines(comparison: Comparison) -> list[Line]:
    """The contenders in the frontier picture, each but the references with a ring at what its tuned settings got."""
    return pictured(
        Line(outcome.frontier, outcome.frontier.source in comparison.controls, outcome.tuned[-1])
        if outcome.kind != "reference"
        else Line(outcome.frontier)
        for outcome in comparison.outcomes.values()
        if outcome.frontier.is_swept or len(outcome.frontier.replays) == 1  # planned rounds are no line
    )


def _sections(summary: Summary, pictures: dict[str, bytes], cost_unit: str) -> list[Section]:
    cost = COST_WORDS[cost_unit]
    ladder = "; ".join(f"{rung.name} {number(rung.row.ratio.value)}" for rung in summary.ladder)
    sections = [
        Section("How to read this page", paragraphs=HOW_TO_READ),
        Section(
            f"Accuracy against {cost_unit}",
            figures=(
                Figure(pictures["frontier.png"], f"Lines: accuracy against {cost} a question.", FRONTIER_CAPTION),
            ),
        ),
        Section(
            "What waiting buys",
            (PLANE_NOTE,),
            figures=(
                Figure(pictures["plane.png"], f"Curves: {cost} against critical path, one for each rule."),
                Figure(pictures["memory.png"], f"Curves: {cost} against KV tokens held at once, one for each rule."),
            ),
            tables=(
                versus_table(summary, cost_unit),
                limits_table(summary),
                limits_table(summary, 0.005),
                places_table(summary, cost_unit),
            ),
        ),
        Section(
            "Waste ladder",
            figures=(Figure(pictures["ladder.png"], f"Dots: ratio of {cost} to FixedN(N_ref): {ladder}."),),
            tables=(ladder_table(summary, cost_unit),),
        ),
        Section("Claims", (named_sentence(summary),), tables=(claims_table(summary.claims, cost_unit),)),
        Section("All contenders", tables=(contenders_table(summary, cost_unit),)),
    ]
    if summary.repeated:
        again = claims_table(summary.repeated, cost_unit)
        sections.insert(4, Section(repeated_title(summary.repeated), (REPEATED_NOTE,), tables=(again,)))
    if summary.targets:
        sections.append(Section("Reliability of what a head may learn", tables=(targets_table(summary),)))
    return sections
