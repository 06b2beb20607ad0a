"""What `t2 report` writes of a comparison."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.compared import compared, summarised
from matplotlib.image import imread

from t2.comparison.identity import Key
from t2.comparison.report import markdown, write_report
from t2.comparison.tables import COLUMNS, cells
from t2.pages.text import span


def test_half_point_settings_are_shown() -> None:
    """They were computed and shown nowhere."""
    outcome = compared().outcomes[Key("Utility", "Oracle head")]
    (row,) = [row for row in summarised().rows if row.name == outcome.name]
    half, reference = outcome.tuned[0], compared().reference
    points, ratio = row.half_point
    assert points.value == pytest.approx(100 * float((half.correct - reference.correct).mean()))
    assert ratio.value == pytest.approx(float(half.generated_tokens.sum() / reference.generated_tokens.sum()))
    shown = dict(zip(COLUMNS, cells(row), strict=True))
    assert shown["tuned to 0.5 point: points"] == span(points)
    assert shown["tuned to 0.5 point: ratio"] == span(ratio)
    assert f"| {span(points)} | {span(ratio)} |" in markdown(summarised(), "header")


def test_report_files(tmp_path: Path) -> None:
    paths = write_report(summarised(), compared(), tmp_path, "<b>title</b>", "header")
    names = ["frontier.png", "index.html", "ladder.png", "memory.png", "plane.png", "report.json", "report.md"]
    assert sorted(path.name for path in paths) == names
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>title</b>" not in page
    texts = [page, (tmp_path / "report.md").read_text(encoding="utf-8")]
    for shown in ("Oracle head + HeadThenStop", "half of its own grades", "gain A(7) - A(1)", "reference"):
        assert all(shown in text for text in texts), shown
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [rung["knows"] for rung in found["ladder"]] == [rung.knows for rung in summarised().ladder]
    assert found["targets"][0]["half"]["value"] == summarised().targets[0].half.value
    greedy = next(row for row in found["rows"] if row["name"] == "Greedy")
    assert greedy["chosen"] == []
    assert imread(tmp_path / "ladder.png").shape[1] > 800


def test_a_pool_without_token_counts_says_that_its_cost_is_in_samples(tmp_path: Path) -> None:
    write_report(summarised(), compared(), tmp_path, "title", "header", cost_unit="samples")
    for name in ("report.md", "index.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "cost in samples" in text
        for said in ("generated tokens", "total tokens", "token ratio"):
            assert said not in text.replace("Generated tokens at settings", ""), said
