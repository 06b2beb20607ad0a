"""docs/RESULTS.md quotes every key.md as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("update_results", ROOT / "scripts" / "update_results.py")
    assert spec is not None
    assert spec.loader is not None
    update_results = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(update_results)
    return update_results


def test_results_quote_the_reports_as_they_are() -> None:
    update_results = _script()
    text = update_results.RESULTS.read_text(encoding="utf-8")
    assert len(update_results.QUOTED.findall(text)) == 3
    assert update_results.quoted(text) == text, "Run python scripts/update_results.py"


def test_the_table_in_readme_is_that_of_the_report() -> None:
    key = (ROOT / "docs" / "results" / "tiny-arith" / "key.md").read_text(encoding="utf-8")
    table = [line.strip("| ").split(" | ") for line in key.splitlines() if line.startswith("| ")]
    report = {row[0]: dict(zip(table[0], row, strict=True)) for row in table if len(row) == len(table[0])}
    readme = (ROOT / "README.md").read_text(encoding="utf-8").partition("ratio to FixedN(N_ref) |")[2]
    rows = [line.strip("|").replace("*", "").split("|") for line in readme.partition("\n\n")[0].splitlines()[2:]]
    names = {"greedy answer": "Greedy"}
    for name, decides, *shown in ([cell.strip() for cell in row] for row in rows):
        found = report[names.get(name, name.partition(" (")[0] if "(ours" in name or "(our " in name else name)]
        for cell, column in zip(shown, ("accuracy, %", "generated tokens", "ratio"), strict=True):
            value = found[column]
            assert cell in (value, value.partition(" [")[0], value.partition(".")[0]), (name, column)
        if "rounds" in decides:
            assert f"{float(found['rounds']):.1f} rounds" in decides
    assert len(rows) == 7


def test_a_missing_end_takes_nothing_away() -> None:
    begin = "<!-- docs/results/tiny-arith/key.md -->\n"
    with pytest.raises(SystemExit, match="<!-- end -->"):
        _script().quoted(f"{begin}old\nprose\n{begin}old\n<!-- end -->\n")
