"""`t2 evaluate`: the report of a comparison, and above it the head as it was exported and what live runs have shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from t2.comparison.compare import Comparison
from t2.comparison.report import write_report
from t2.comparison.rows import Row
from t2.comparison.summary import Summary
from t2.judging.as_exported import AsExported
from t2.judging.live_run import LiveRow
from t2.pages.html import Section
from t2.pages.table import Table
from t2.pages.text import NOTHING, number, span
from t2.store.files import write_text_atomically

SHORT_RIVALS = ("Greedy", "ASC")
"""Policies whose rows the short table has besides those of the waste ladder."""


@dataclass(frozen=True)
class LiveEvaluated:
    """Live runs of one engine."""

    rows: dict[str, LiveRow]
    """by policy, in the order in which they ran"""
    num_questions: int
    num_fitted: int
    """other questions, on which settings and tables were fitted; 0: too few, nothing was fitted"""


@dataclass(frozen=True)
class Evaluated:
    """All that `t2 evaluate` found besides the comparison."""

    head: str
    """name of its folder or repository"""
    pool: str
    num_questions: int
    """that were evaluated"""
    num_samples: int
    """fewest of a question"""
    left_out: int | None
    """questions that the head has learned from; None: it does not say which these are"""
    cost_unit: str
    exported: AsExported
    live: LiveEvaluated | None
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"{self.head} on {self.pool}"

    @property
    def left_out_sentence(self) -> str:
        if self.left_out is None:
            return "The head has no record of the questions it has learned from: some of these may be among them."
        return f"{self.left_out} questions that the head has learned from are left out."


def rivals_table(evaluated: Evaluated, summary: Summary, short: bool = False) -> Table:
    """The head as exported, the reference, and the best of each kind of rival.

    A `short` table, for a terminal, has intervals only of what is compared.
    """
    rivals = [rung.row for rung in summary.ladder] + [row for row in summary.rows if row.policy in SHORT_RIVALS]
    named: list[tuple[str, AsExported | Row]] = [(f"{evaluated.exported.policy}, as exported", evaluated.exported)]
    named += [(row.name, row) for row in rivals]
    return Table(
        ("policy", "accuracy, %", "vs FixedN(N_ref), points", evaluated.cost_unit, "ratio"),
        tuple((name, *_rival_cells(row, short)) for name, row in named),
        caption=evaluated.title,
        note=f"{evaluated.num_questions} questions; 95% intervals. N_ref = {summary.n_ref}. Settings of all rows but "
        "the first are chosen out of fold on these questions, to lose at most 1 point. Cost is generated "
        f"{evaluated.cost_unit} a question.",
        marked_rows=(0,),
    )


def _rival_cells(row: AsExported | Row, short: bool) -> tuple[str, ...]:
    accuracy, tokens = row.accuracy, row.tokens
    cells = (number(accuracy.value, 1), number(tokens.value, 0)) if short else (span(accuracy, 1), span(tokens, 0))
    return (cells[0], span(row.difference), cells[1], span(row.ratio))


def exported_section(evaluated: Evaluated, summary: Summary) -> Section:
    """How the head does with the setting that it carries."""
    exported = evaluated.exported
    shares = ", ".join(f"{n}: {100 * share:.0f}%" for n, share in (exported.budget_shares or {}).items() if share)
    spread = f"Questions by samples: {shares}." if shares else f"It waits {exported.rounds:.2f} rounds a question."
    axes = f"Critical path {span(exported.path_ratio)}, KV tokens at once {span(exported.memory_ratio)}"
    sentences = [
        evaluated.left_out_sentence,
        f"{exported.policy} draws {exported.samples:.1f} samples a question ({exported.total_tokens:.0f} total "
        f"{evaluated.cost_unit}). {spread} {axes} of FixedN(N_ref)'s.",
    ]
    if exported.promise:
        sentences.append(exported.promise.verdict)
    return Section("As exported", tuple(sentences), tables=(rivals_table(evaluated, summary),))


LIVE_COLUMNS = (
    *("policy", "accuracy, %", "replay, %", "live - replay, points", "cost", "replayed cost", "live - replay, cost"),
    *("samples", "rounds", "seconds", "sequences at once", "KV cache, %", "prefix hits, %", "agrees"),
)
IN_TERMINAL = {"accuracy, %": "right, %", "replay, %": "replay", "replayed cost": "replay"}
IN_TERMINAL |= {"sequences at once": "at once", "KV cache, %": "KV, %", "prefix hits, %": "hits, %"}
"""Shorter titles of the live table's columns in a terminal."""
NOT_IN_TERMINAL = ("live - replay, points", "live - replay, cost", "samples")
"""Columns of the live table that a terminal has no room for."""


def live_table(evaluated: Evaluated) -> Table:
    """Every live run: what it got and paid, what the engine did, whether replay had predicted it."""
    assert evaluated.live is not None
    live = evaluated.live
    fitted = f"settings and N_ref from {live.num_fitted} other questions" if live.num_fitted else "nothing was fitted"
    return Table(
        LIVE_COLUMNS,
        tuple(_live_cells(name, row) for name, row in live.rows.items()),
        caption=f"Live, {live.num_questions} questions",
        note=f"One draw of each question on one engine, one policy after the other, prefix cache emptied between; "
        f"{fitted}. Cost is generated {evaluated.cost_unit} a question. A policy agrees with its replay if 0 lies in "
        "the intervals of both differences; all of them hold together with about 95% probability. Sequences at once "
        "and KV cache are peaks.",
    )


def _live_cells(name: str, row: LiveRow) -> tuple[str, ...]:
    """In the order of `LIVE_COLUMNS`."""
    measured, replay, engine, agrees = row.live.measured, row.replay, row.live.engine, row.agreement
    facts = (NOTHING,) * 3
    if engine is not None:
        facts = (f"{engine.peak_running}", f"{100 * engine.peak_kv_use:.0f}", f"{100 * engine.prefix_hit_rate:.0f}")
    return (
        name,
        number(100 * float(measured.correct.mean()), 1),
        number(100 * float(replay.correct.mean()), 1),
        span(agrees.accuracy, 1, 100),
        number(float(measured.generated_tokens.mean()), 0),
        number(float(replay.generated_tokens.mean()), 0),
        span(agrees.generated_tokens, 1),
        number(float(measured.samples.mean()), 1),
        number(float(measured.rounds.mean())),
        number(row.live.seconds, 1),
        *facts,
        "yes" if agrees.holds else "no",
    )


def write_evaluation(
    evaluated: Evaluated, summary: Summary, comparison: Comparison, folder: Path, fold_seeds: Sequence[int]
) -> list[Path]:
    """Write the files of a comparison with the head's own rows on top, and these alone as key.md."""
    header = (
        f"{evaluated.num_questions} questions x {evaluated.num_samples} samples; {evaluated.left_out_sentence} N_ref = "
        f"{summary.n_ref}; bins, atoms, settings and N_ref fitted out of fold on these questions (5 folds, fold seeds "
        f"{', '.join(map(str, fold_seeds))}), settings to lose at most 1 point against FixedN(N_ref); 95% bootstrap "
        "intervals over questions at the first fold seed."
    )
    sections = [exported_section(evaluated, summary)]
    if evaluated.live:
        sections.append(Section("Live on the engine", tables=(live_table(evaluated),)))
    key = _markdown(sections, evaluated.notes)
    paths = write_report(
        summary,
        comparison,
        folder,
        evaluated.title,
        header,
        evaluated.notes,
        cost_unit=evaluated.cost_unit,
        first=sections,
        first_markdown=f"{key}\n## Comparison\n\n",
        further=record_of(evaluated),
    )
    write_text_atomically(folder / "key.md", key)
    return [*paths, folder / "key.md"]


def record_of(evaluated: Evaluated) -> dict[str, object]:
    """The keys that `t2 evaluate` adds to report.json."""
    exported = asdict(evaluated.exported)
    if evaluated.exported.promise:
        exported["promise"] |= {"within": evaluated.exported.promise.within}
    return {
        "head": evaluated.head,
        "pool": evaluated.pool,
        "num_questions": evaluated.num_questions,
        "left_out": evaluated.left_out,
        "cost_unit": evaluated.cost_unit,
        "as_exported": exported,
        "notes": list(evaluated.notes),
    }


def _markdown(sections: Iterable[Section], notes: Iterable[str]) -> str:
    lines: list[str] = []
    for section in sections:
        lines += [f"## {section.heading}", ""]
        lines += [line for paragraph in section.paragraphs for line in (paragraph, "")]
        for table in section.tables:
            lines += [table.markdown(), ""]
    lines += [f"- {note}" for note in notes]
    return "\n".join([*lines, ""])
