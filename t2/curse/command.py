"""From a pool or a config to the tables and files of `t2 curse`. Never trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Group

from t2.curse.measure import EPS, curse_report
from t2.curse.report import terminal_table, write_curse_report
from t2.hardware import one_thread
from t2.pools.load import load_pool
from t2.spec import DEFAULT_GRID
from t2.stats.warnings import pool_warnings


@dataclass(frozen=True)
class CurseAnswer:
    """The report of `t2 curse`, as text and as files."""

    text: Group
    """for a terminal"""
    files: list[Path]
    """the page last"""


@one_thread()
def curse_of(
    source: str, out: Path, grader: str | None = None, eps: float | None = None, min_samples: int | None = None
) -> CurseAnswer:
    """Load a pool, measure it, and write the report into the folder `out`.

    `source`, `grader` and `min_samples` are those of `load_pool`; `eps` is the accuracy given up to call N enough, by
    default the config's `data.eps`, else 0.02.

    Raises:
        T2Error: no pool, no grader, a bad setting, or a folder that cannot be written.
    """
    loaded = load_pool(source, grader, min_samples)
    data = loaded.data
    if eps is None:
        eps = data.eps if data else EPS
    grid = data.grid if data and data.grid is not None else DEFAULT_GRID
    report = curse_report(loaded.pool, grid, eps)
    notes = (*loaded.source_notes, *pool_warnings(loaded.pool, eps, grid))
    unit, about = loaded.cost_unit, loaded.description
    files = write_curse_report(report, out, f"Overscaling: {loaded.name}", notes, unit, about)
    return CurseAnswer(terminal_table(report, unit, notes, about), files)
