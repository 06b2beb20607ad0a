"""`t2 report`: heads x policies with intervals, as one Markdown table, JSON, a picture and one HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from t2.evaluation.bootstrap import Interval
from t2.evaluation.comparison import Comparison
from t2.evaluation.figures import frontier_figure
from t2.evaluation.summary import Row, Summary
from t2.reports.page import Figure, Section, Table, png_of, render_page
from t2.store.files import write_atomically, write_text_atomically

COLUMNS = (
    "policy",
    "accuracy, %",
    "vs FixedN(N_ref), points",
    "generated tokens",
    "ratio",
    "total tokens",
    "re-prefilled",
    "samples",
    "rounds",
    "peak",
    "area, points",
    "other fold seeds: points / ratio / area",
)
CLAIMS = {
    "a": "HeadThenStop against the best-tuned of ASC, ESC and Doubling",
    "b": "HeadThenStop against NoHeadThenStop: what the activations add",
    "c": "The best one-round head against FixedN(N_ref)",
}


def span(value: Interval, digits: int) -> str:
    """`value [low, high]`."""
    return f"{value.value:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`."""
    others = "; ".join(f"{d:+.2f} / {r:.2f} / {a:+.2f}" for d, r, a in row.other_seeds)
    return (
        row.name,
        span(row.accuracy, 1),
        span(row.difference, 2),
        span(row.tokens, 0),
        span(row.ratio, 2),
        f"{row.total_tokens:.0f}",
        f"{row.total_tokens_reprefilled:.0f}",
        f"{row.samples:.1f}",
        f"{row.rounds:.2f}",
        f"{row.peak:.1f}",
        span(row.area, 2) if row.area else "",
        others,
    )


def claims(summary: Summary) -> tuple[str, ...]:
    """What the report claims, a sentence each."""
    over = "; ".join(f"{name} {span(value, 2)}" for name, value in summary.area_over_controls.items())
    return (
        *(
            f"{letter}. {CLAIMS[letter]}: {pair.first} against {pair.second}: token ratio {span(pair.ratio, 2)}, "
            f"accuracy difference {span(pair.difference, 2)} points."
            for letter, pair in summary.pairs.items()
        ),
        f"d. Area of {summary.best_head} minus that of each control, points: {over}.",
    )


def markdown(summary: Summary, header: str) -> str:
    """The report as Markdown."""
    lines = [header, "", f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(cells(row))} |" for row in summary.rows]
    lines += ["", "Claims (paired over questions, everything named and tuned out of fold):", ""]
    lines += [f"- {claim}" for claim in claims(summary)]
    lines += ["", "Waste ladder (generated tokens at settings chosen to lose at most 1 point):", ""]
    lines += [f"- {row.name}: ratio {span(row.ratio, 2)} at {span(row.difference, 2)} points" for row in summary.ladder]
    return "\n".join([*lines, ""])


def write_report(
    summary: Summary, comparison: Comparison, folder: Path, title: str, header: str, notes: Sequence[str] = ()
) -> list[Path]:
    """Write report.json, report.md, frontier.png and index.html."""
    shown = [
        outcome.frontier
        for name, outcome in comparison.outcomes.items()
        if name in ("Greedy", "FixedN", "ASC", "NoHeadThenStop", "OwnOracle") or name in _pictured(comparison)
    ]
    png = png_of(frontier_figure(shown, title))
    table = Table(columns=COLUMNS, rows=tuple(cells(row) for row in summary.rows))
    ladder = Table(
        columns=("policy", "ratio of generated tokens", "accuracy against FixedN(N_ref), points"),
        rows=tuple((row.name, span(row.ratio, 2), span(row.difference, 2)) for row in summary.ladder),
    )
    sections = [
        Section("Accuracy against tokens", figures=(Figure(png, "Accuracy against generated tokens"),)),
        Section("Waste ladder", tables=(ladder,)),
        Section("Claims", paragraphs=claims(summary)),
        Section("All contenders", tables=(table,)),
    ]
    files = {
        folder / "report.json": json.dumps(asdict(summary), indent=1) + "\n",
        folder / "report.md": markdown(summary, header),
        folder / "index.html": render_page(title, sections, lead=header, notes=notes),
    }
    for path, text in files.items():
        write_text_atomically(path, text)
    picture = folder / "frontier.png"
    write_atomically(picture, lambda scratch: _write_bytes(scratch, png))
    return [*files, picture]


def _pictured(comparison: Comparison) -> list[str]:
    heads = [o.source for o in comparison.outcomes.values() if o.name.endswith("+ HeadASC")][:1]
    return [f"{head} + {policy}" for head in heads for policy in ("Utility", "HeadThenStop")]


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
