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
    assert len(update_results.QUOTED.findall(text)) == 4
    assert update_results.quoted(text) == text, "Run python scripts/update_results.py"


def test_a_missing_end_takes_nothing_away() -> None:
    begin = "<!-- docs/results/tiny-arith/key.md -->\n"
    with pytest.raises(SystemExit, match="<!-- end -->"):
        _script().quoted(f"{begin}old\nprose\n{begin}old\n<!-- end -->\n")
