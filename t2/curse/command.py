"""From a pool or a config to the tables and files of `t2 curse`. Never trains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group

from t2.curse.measure import EPS, curse_report
from t2.curse.report import terminal_table, write_curse_report
from t2.errors import T2Error
from t2.hardware import one_thread
from t2.pools.load import load_pool
from t2.spec import DEFAULT_GRID


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
    """Load, measure, write.

    Args:
        source: folder of a pool, or a config.
        out: folder of the report.
        grader: by default the config's or the pool's own, see `load_pool`.
        eps: accuracy given up to call N enough; by default the config's `data.eps`, else 0.02.
        min_samples: leave out questions with fewer samples, see `load_pool`.

    Raises:
        T2Error: no pool, no grader, a bad setting, or a folder that cannot be written.
    """
    loaded = load_pool(source, grader, min_samples)
    grid, config_eps = _data_settings(Path(source))
    report = curse_report(loaded.pool, grid, next(e for e in (eps, config_eps, EPS) if e is not None))
    notes, unit, about = loaded.source_notes, loaded.cost_unit, loaded.description
    files = write_curse_report(report, out, f"Overscaling: {loaded.name}", notes, unit, about)
    return CurseAnswer(terminal_table(report, unit, notes, about), files)


def _data_settings(source: Path) -> tuple[tuple[int, ...], float | None]:
    """`data.grid` and `data.eps` of a config that `load_pool` has read; a pool's folder has neither.

    Raises:
        T2Error: a value of another type.
    """
    if source.is_dir():
        return DEFAULT_GRID, None
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser

    data: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))["data"]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--grid", type=list[int] | None)
    parser.add_argument("--eps", type=float | None)
    try:
        parsed = parser.parse_object({key: data[key] for key in ("grid", "eps") if key in data})
    except ArgumentError as error:
        raise T2Error(
            f"Expected `data.grid` as a list of budgets and `data.eps` as a number in {source}, got: "
            f"{' '.join(str(error).split())}"
        ) from error
    return DEFAULT_GRID if parsed.grid is None else tuple(parsed.grid), parsed.eps
