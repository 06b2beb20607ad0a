"""`scripts/same_reports.py`, which shows that a change of code moved no number."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

REPORT: dict[str, Any] = {
    "n_ref": 24,
    "rows": [{"name": "ASC", "ratio": {"value": 0.1}}, {"name": "ESC", "ratio": {"value": 0.3}}],
    "claims": [{"letter": "a", "first": "x", "second": "y", "points": [1.0, None]}],
}


def main(arguments: list[str]) -> int:
    """Of the script."""
    path = Path(__file__).parents[2] / "scripts" / "same_reports.py"
    spec = importlib.util.spec_from_file_location("same_reports", path)
    assert spec is not None
    assert spec.loader is not None
    same_reports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(same_reports)
    return int(same_reports.main(arguments))


def written(folder: Path, content: dict[str, Any], name: str = "report.json") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return str(folder)


def changed(**parts: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(REPORT)), **parts}


@pytest.mark.parametrize("name", ["report.json", "curse.json"])
def test_the_same_is_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folders = [written(tmp_path / side, REPORT, name) for side in ("before", "after")]
    assert main(folders) == 0
    assert "everything else is the same to the last digit" in capsys.readouterr().out


def test_the_last_digit_counts_and_its_path_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "ASC", "ratio": {"value": 0.1 + 2**-56}}, REPORT["rows"][1]]
    folders = [written(tmp_path / "before", REPORT), written(tmp_path / "after", changed(rows=rows))]
    assert main(folders) == 1
    assert "DIFFERS: differs /rows/ASC/ratio/value 0.1 -> 0.10000000000000002" in capsys.readouterr().out
    assert main([*folders, "--changed", "/ASC/ratio"]) == 0
    assert main([*folders, "--changed", "/ESC/ratio"]) == 1


def test_a_dropped_row_is_one_line_and_shifts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**REPORT["rows"][1], "policy": "ESC"}]
    folders = [written(tmp_path / "before", REPORT), written(tmp_path / "after", changed(rows=rows))]
    assert main(folders) == 1
    assert [line for line in capsys.readouterr().out.splitlines() if "DIFFERS" in line] == [
        "  DIFFERS: removed /rows/ASC"
    ]
    assert main([*folders, "--dropped", "ASC"]) == 0
    shown = capsys.readouterr().out
    assert "may differ: removed /rows/ASC" in shown
    assert "may differ: added /rows/ESC/policy" in shown


@pytest.mark.parametrize(
    "parts",
    [
        {"rows": REPORT["rows"][::-1]},
        {"n_ref": 24.0},
        {"claims": [{"letter": "a", "first": "x", "second": "y", "points": [1.0, 0.0]}]},
        {"claims": [{"letter": "a", "first": "x", "second": "y", "points": [1.0]}]},
        {"rows": None},
    ],
)
def test_anything_else_is_a_difference(tmp_path: Path, parts: dict[str, Any]) -> None:
    assert main([written(tmp_path / "before", REPORT), written(tmp_path / "after", changed(**parts))]) == 1


def test_a_folder_without_a_report(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"Expected report\.json or curse\.json in"):
        main([str(tmp_path), str(tmp_path)])
