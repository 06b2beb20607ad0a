"""The tables of the curse report, the same for terminal and page."""

from __future__ import annotations

from dataclasses import replace

from t2.curse.measured import CurseReport
from t2.curse.overscaling import PLAIN_RULE, Overscaling, Setting
from t2.pages.table import Table
from t2.pages.text import COST_WORDS, NOTHING, number, span
from t2.stats.reliability import target_title


def summary_table(report: CurseReport, cost_unit: str) -> Table:
    """The numbers to quote."""
    main, top = report.main, report.label_grid[-1]
    sizes = " to ".join(dict.fromkeys([f"{report.samples}", f"{report.most_samples}"]))
    rows = [
        ("questions x samples", f"{report.num_questions:,} x {sizes}"),
        ("accuracy of one sample, A(1), %", span(report.curve[0], 1, 100)),
        (f"accuracy of voting over {report.grid[-1]}, A({report.grid[-1]}), %", span(report.curve[-1], 1, 100)),
        ("accuracy of the greedy answer, %", span(report.greedy, 1, 100)),
        (f"N_D, one budget for all (up to {top}), samples", f"{main.n_d} [{main.n_d_low}, {main.n_d_high}]"),
        (f"N_D on the whole grid (up to {report.grid[-1]}), samples", f"{report.n_ref}"),
        ("mean N*, what a question needs, samples", span(main.mean_n_star)),
        ("M_D = mean N* / N_D", span(main.m_d)),
    ]
    if is_weighted(main, cost_unit):
        rows.append((f"M_D weighted with {cost_unit}", span(main.m_d_tokens)))
    unit = COST_WORDS["tokens"] if cost_unit == "tokens" else "samples: token counts are not known"
    rows.append(("cost is counted in", unit))
    return Table(
        ("quantity", "value [95% interval]"),
        tuple(rows),
        caption="In numbers",
        note=f"eps {main.setting.eps:g}, eps_D {main.setting.dataset_eps:g}; intervals from {report.num_resamples:,} "
        "bootstrap resamples of the questions.",
        marked_rows=(7,),
    )


def budget_table(report: CurseReport) -> Table:
    """Accuracy, N* and N_D, budget by budget."""
    rows = []
    for index, (n, point) in enumerate(zip(report.grid, report.curve, strict=True)):
        inside = index < len(report.label_grid)
        wanted = span(report.n_star_shares[index], 1, 100) if inside else NOTHING
        drawn = number(100 * report.n_d_shares[index], 1) if inside else NOTHING
        rows.append((f"{n}", span(point, 1, 100), wanted, drawn))
    return Table(
        ("budget N, samples", "accuracy A(N), %", "questions with N* = N, %", "resamples with N_D = N, %"),
        tuple(rows),
        caption="Budget by budget",
        note=f"N* and N_D are defined up to M/2 = {report.samples / 2:g}: near M a curve is one noisy draw.",
        text_columns=(),
        marked_rows=(report.grid.index(report.main.n_d),),
    )


def sweep_table(report: CurseReport, cost_unit: str) -> Table:
    """N_D and M_D at other settings."""
    weighted = is_weighted(report.main, cost_unit)
    columns = ("changed", "N_D", "mean N*", "M_D")
    rows = []
    for row in report.sweep:
        n_d = f"{row.n_d} [{row.n_d_low}, {row.n_d_high}]"
        cells = (changed(row.setting), n_d, span(row.mean_n_star), span(row.m_d))
        rows.append((*cells, span(row.m_d_tokens)) if weighted else cells)
    main = report.main.setting
    return Table(
        (*columns, f"M_D weighted with {cost_unit}") if weighted else columns,
        tuple(rows),
        caption="N_D and M_D under other rules",
        note=f"Marked: as asked, eps {main.eps:g}, eps_D {main.dataset_eps:g}, N up to {main.n_max}; the other rows "
        "change what they name and no more. Halves of the pool allow budgets up to M/4.",
        marked_rows=tuple(k for k, row in enumerate(report.sweep) if replace(row.setting, label=main.label) == main),
    )


def changed(setting: Setting) -> str:
    """What a row of the sweep is about."""
    return {
        PLAIN_RULE: f"{PLAIN_RULE}: eps 0, eps_D 0",
        "eps": f"eps {setting.eps:g}",
        "eps_D": f"eps_D {setting.dataset_eps:g}",
        "N_max": f"N up to {setting.n_max}",
    }.get(setting.label, f"{setting.samples} of each pool, N up to {setting.n_max}")


def type_table(report: CurseReport) -> Table:
    """Sample types and what each has to do with the curse."""
    rows = tuple(
        (
            row.name,
            span(row.share, 1, 100),
            number(row.mean_n_star),
            span(row.contribution, 2, 100),
            NOTHING if row.n_d_without is None else f"{row.n_d_without}",
            span(row.m_d_without),
            NOTHING if row.half_agreement is None else number(100 * row.half_agreement, 0),
        )
        for row in report.types
    )
    return Table(
        (
            "type",
            "share, %",
            "mean N*",
            "part of the rise, points",
            "N_D without it",
            "M_D without it",
            "same in other half, %",
        ),
        rows,
        caption="Sample types",
        note=f"The parts sum to the rise A({report.main.n_d}) - A(1) = {number(100 * report.rise)} points.",
    )


def reliability_table(report: CurseReport, cost_unit: str) -> Table:
    """How far the two halves of the pool agree."""
    whole, top = report.reliability_whole, report.label_grid[-1]
    rows = tuple(
        (target_title(name, top, cost_unit), span(half), span(whole[name])) for name, half in report.reliability.items()
    )
    return Table(
        ("target", "Spearman between halves", "stepped up to the whole pool"),
        rows,
        caption="Reliability of what a head may learn",
        note="Stepped up by Spearman-Brown, 2r / (1 + r): exact for means of samples, a guide for the others.",
    )


def is_weighted(main: Overscaling, cost_unit: str) -> bool:
    """Costs in samples weigh nothing: the index would be the plain one."""
    return cost_unit == "tokens" and main.m_d_tokens is not None
