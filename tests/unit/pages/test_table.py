"""`Table`: picking and renaming columns, and that all renderers show the same cells."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.pages.table import Table

TABLE = Table(
    ("policy", "ratio", "made of", "rounds"),
    (("FixedN", "1.00", "-", "1"), ("a|b", "0.50", "heads", "2")),
    caption="Rows",
    note="below",
    text_columns=(0, 2),
    marked_rows=(1,),
)


def test_columns_are_picked_by_title_and_keep_what_they_are() -> None:
    found = TABLE.only({"rounds", "made of", "of no column"})
    assert found.columns == ("made of", "rounds")
    assert found.rows == (("-", "1"), ("heads", "2"))
    assert found.text_columns == (0,)
    assert (found.caption, found.note, found.marked_rows) == ("Rows", "below", (1,))
    assert TABLE.without(["policy", "ratio"]) == found


@given(st.sets(st.sampled_from(TABLE.columns)))
def test_picking_and_leaving_out_are_complements(titles: set[str]) -> None:
    others = [title for title in TABLE.columns if title not in titles]
    assert TABLE.only(titles) == TABLE.without(others)
    for row, whole in zip(TABLE.only(titles).rows, TABLE.rows, strict=True):
        assert dict(zip(TABLE.only(titles).columns, row, strict=True)) == {
            title: cell for title, cell in zip(TABLE.columns, whole, strict=True) if title in titles
        }


def test_titles_change_and_nothing_else() -> None:
    found = TABLE.titled({"ratio": "r", "of no column": "x"})
    assert found.columns == ("policy", "r", "made of", "rounds")
    assert found.titled({"r": "ratio"}) == TABLE


@pytest.mark.parametrize("note", ["below", ""])
def test_markdown(note: str) -> None:
    lines = Table(("a", "b"), (("x|y", "1"),), note=note).markdown().split("\n")
    assert lines == ["| a | b |", "| --- | --- |", "| x/y | 1 |", *(["", "below"] if note else [])]
