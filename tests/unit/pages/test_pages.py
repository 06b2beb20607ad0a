"""Reports as a reader gets them: the page is parsed, the pictures opened, the JSON read back, the terminal captured."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from rich.console import Console

from t2.curse.figures import budget_figure, curve_figure, rules_figure, type_figure
from t2.curse.measure import curse_report
from t2.curse.measured import CurseReport
from t2.curse.report import terminal_table, write_curse_report
from t2.curse.tables import changed
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.pages.html import Figure, Section, data_uri, render_page
from t2.pages.pictures import png_of
from t2.pages.table import Table
from t2.pages.terminal import rich_table
from t2.pages.text import LONGEST_TEXT, clean, number, span
from t2.stats.bootstrap import Interval

NASTY = "<script>alert(1)</script> & \"quotes\" 'single' {{ 7 * 7 }} [bold]"


class Page(HTMLParser):
    """Text, tags, and every address that a browser would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.addresses, self.rows = "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and self.rows[-1] and self.tags[-1] in ("td", "th"):
            self.rows[-1][-1] += data.strip("\n")


def small_pool(samples: int = 8, questions: int = 6) -> GradedPool:
    vote_QM = torch.tensor(
        [[int(draw * questions >= samples * q) for draw in range(samples)] for q in range(questions)]
    )
    return GradedPool(
        question_ids=tuple(f"q{i}" for i in range(questions)),
        dedup_keys=tuple(f"k{i}" for i in range(questions)),
        families=("",) * questions,
        sizes=(0,) * questions,
        vote_QM=vote_QM,
        right_QM=vote_QM == 0,
        tokens_QM=10 + torch.arange(questions)[:, None] + 0 * vote_QM,
        truncated_QM=vote_QM < 0,
        greedy_right_Q=vote_QM[:, 0] == 0,
        greedy_tokens_Q=vote_QM[:, 0] + 10,
        prompt_tokens_Q=vote_QM[:, 0] + 5,
        greedy_present_Q=vote_QM[:, 0] >= 0,
    )


@pytest.fixture(scope="module")
def report() -> CurseReport:
    return curse_report(small_pool(), (1, 3, 4, 8), num_resamples=20)


@pytest.fixture(scope="module")
def pictures(report: CurseReport) -> list[bytes]:
    drawn = [draw(report) for draw in (curve_figure, budget_figure, type_figure)]
    return [png_of(figure) for figure in (*drawn, rules_figure(report, "tokens"))]


def terminal(shown: object, width: int = 120) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_texts_are_escaped_and_come_back_whole(pictures: list[bytes]) -> None:
    figure, table = Figure(pictures[0], NASTY, NASTY), Table((NASTY, "n"), ((NASTY, "1"),), NASTY, NASTY)
    html = render_page(NASTY, [Section(NASTY, (NASTY,), (figure,), (table,))], NASTY, NASTY, [NASTY])
    page = Page(html)
    assert "script" not in page.tags
    head, section, table_parts = 4, 3, 4  # both titles, subtitle, lead; heading, paragraph, caption of the figure
    assert page.text.count(NASTY) == head + section + table_parts + 1
    assert [NASTY, "1"] in page.rows
    assert f'alt="{NASTY}"' not in html


def test_a_page_needs_nothing_from_outside(pictures: list[bytes]) -> None:
    page = Page(render_page("title", [Section("heading", (), (Figure(pictures[0], "alt"),))]))
    assert page.addresses == [data_uri(pictures[0])]
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert base64.b64decode(page.addresses[0].partition(",")[2]) == pictures[0]


def narrowest_table(html: str) -> float:
    """Pixels of the page's table where everything breaks that may, at 0.6 em a character (DejaVu Sans, a wide face)."""
    css = dict(re.findall(r"^ +([a-z.]+) \{([^}]*)\}", html, re.MULTILINE))
    em = 16 * float(re.search(r"font-size: ([\d.]+)rem", css["table"])[1])
    least = {kind: float(re.search(r"min-width: (\d+)rem", css[f"td.{kind}"])[1]) for kind in ("long", "wide")}
    widths: list[list[float]] = []
    for row in re.findall("<tr.*?</tr>", html):
        widths.append([])
        for tag, kinds, text in re.findall(r'<(t[dh])[^>]*?(?: class="([a-z ]+)")?>([^<]*)<', row):
            breaks = tag == "th" or {"text", "long", "wide"} & set(kinds.split())
            longest = max(map(len, text.split(" "))) if breaks else len(text)
            widths[-1].append(max([0.6 * em * longest, *(16 * least[kind] for kind in kinds.split() if kind in least)]))
    padding = 2 * 16 * float(re.search(r"padding: [\d.]+rem ([\d.]+)rem", html.partition("th, td {")[2])[1])
    return sum(max(column) + padding for column in zip(*widths, strict=True))


@pytest.mark.parametrize("seeds", ["", "0.87 / -0.25 / 3.27; 0.89 / -0.21 / 3.70"])
def test_wide_tables_of_a_report_fit_a_window_of_1200_pixels(seeds: str) -> None:
    """The ladder's last column was cut off: the page used 900 pixels of them, and texts broke too late."""
    heads = ("CurveHead", "OrdinalHead", "LayerwiseRegression")
    made_of = ", ".join(f"{head} + own and bins + Utility" for head in heads)
    numbers = ("0.79 [0.78, 0.81]", "-8.88 [-10.56, -7.21]", "0.93 [0.87, 1.01]")
    row: tuple[str, ...] = ("activations, then answers so far", "best control's HeadThenStop", *numbers, made_of)
    columns = ("knows of a question", "contender", "vs FixedN(N_ref), points", *("ratio at same accuracy",) * 2, "of")
    table = Table(columns, (row,), text_columns=(0, 1, 5))
    if seeds:
        row = ("d, in bins", "best one-round head by area", "best layer ridge + bins + Utility", *numbers, seeds)
        table = Table(("claim", *columns), (row,), text_columns=(0, 1, 2))
    html = render_page("t", [Section("h", tables=(table,))])
    window = min(1200, int(re.search(r"main \{ max-width: (\d+)px", html)[1]))
    assert narrowest_table(html) < window - 2 * 16
    narrow = narrowest_table(render_page("t", [Section("h", tables=(Table(("a", "b"), (("x", "1"),)),))]))
    assert narrow < 60, "a column of letters takes no more room than they need"


def test_a_list_of_numbers_breaks_between_its_members() -> None:
    table = Table(("a", "seeds"), (("x", "0.87 / 0.25; 0.89 / 0.21"), ("y", "0.5 [0.4, 0.6]")))
    html = render_page("t", [Section("h", tables=(table,))])
    assert '<td class="long">0.87\u00a0/\u00a00.25; 0.89\u00a0/\u00a00.21</td>' in html
    assert "<td>0.5 [0.4, 0.6]</td>" in html


@given(st.text(max_size=80))
def test_clean_texts_hold_nothing_that_cannot_be_shown(text: str) -> None:
    found = clean(text)
    assert len(found) == len(text)
    assert all(a == b or b == "\N{REPLACEMENT CHARACTER}" for a, b in zip(text, found, strict=True))
    assert not [c for c in found if ord(c) < 32 and c not in "\t\n"]
    assert clean(found) == found
    found.encode("utf-8")


def test_control_characters_are_replaced() -> None:
    bad = "a\x00b\x1b[31mc\x7fd\x85e\u202ef\ud800g\tH\n"
    assert clean(bad) == "a\ufffdb\ufffd[31mc\ufffdd\ufffde\ufffdf\ufffdg\tH\n"
    html = render_page(bad, [Section("h", (), (), (Table(("x",), ((bad,),)),))])
    assert "\x00" not in html
    assert html.encode("utf-8")


def test_a_megabyte_is_cut() -> None:
    html = render_page("t", [Section("h", (), (), (Table(("x",), (("z" * 1_000_000,),)),))])
    assert len(html) < 20_000
    assert f"{'z' * LONGEST_TEXT}… (1,000,000 characters)" in html


def test_rows_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="Expected 2 cells in each row, got 1"):
        Table(("a", "b"), (("1", "2"), ("3",)))


def test_a_picture_that_is_none() -> None:
    with pytest.raises(T2Error, match="Expected a PNG picture, got bytes that start with b'<svg'"):
        data_uri(b"<svg")


def test_terminal_cells_are_no_markup() -> None:
    shown = terminal(rich_table(Table(("[red]name", "n"), (("[bold]x[/bold]\x1b[2J", "[1, 2]"),), "[i]t", "[u]n")))
    for text in ("[red]name", "[bold]x[/bold]\ufffd[2J", "[1, 2]", "[i]t", "[u]n"):
        assert text in shown


@pytest.mark.parametrize(
    ("value", "digits", "shown"), [(-0.001, 2, "0.00"), (-0.01, 2, "-0.01"), (12.345, 1, "12.3"), (None, 2, "–")]
)
def test_numbers(value: float | None, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def test_spans() -> None:
    assert span(Interval(0.5, -0.00001, 0.75), 1, 100) == "50.0 [0.0, 75.0]"
    assert span(None) == "–"


def test_files_of_a_curse_report(report: CurseReport, tmp_path: Path) -> None:
    paths = write_curse_report(report, tmp_path / "new" / "folder", NASTY, ["a note <of> the pool"])
    assert [path.name for path in paths] == [
        "curse.json",
        "curve.png",
        "budgets.png",
        "types.png",
        "rules.png",
        "index.html",
    ]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(path.name for path in paths)
    page = Page(paths[-1].read_text(encoding="utf-8"))
    assert page.addresses == [data_uri(path.read_bytes()) for path in paths[1:5]]
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert report.verdict in page.text
    for note in ("a note <of> the pool", *report.notes):
        assert note in page.text
    for row in report.types:
        assert any(cells[0] == row.name and span(row.contribution, 2, 100) in cells for cells in page.rows)
    for swept in report.sweep:
        assert any(span(swept.m_d) in cells and span(swept.m_d_tokens) in cells for cells in page.rows)
    for n, point in zip(report.grid, report.curve, strict=True):
        assert any(cells[0] == str(n) and cells[1] == span(point, 1, 100) for cells in page.rows)
    for name, half in report.reliability.items():
        assert any(cells[1:] == [span(half), span(report.reliability_whole[name])] for cells in page.rows)


def test_json_holds_the_whole_report(report: CurseReport, tmp_path: Path) -> None:
    path = write_curse_report(report, tmp_path, NASTY, ["first"])[0]
    found = json.loads(path.read_text(encoding="utf-8"))
    assert (found["about"], found["cost_unit"]) == ("", "tokens")
    assert (found["format"], found["format_version"], found["title"]) == ("t2-curse", 1, NASTY)
    assert found["notes"] == ["first", *report.notes]
    expected = json.loads(json.dumps({**report.as_json(), "notes": found["notes"]}))
    assert {name: found[name] for name in expected} == expected
    assert found["main"]["m_d"] == vars(report.main.m_d)


def test_the_same_report_gives_the_same_files(report: CurseReport, tmp_path: Path) -> None:
    one = [path.read_bytes() for path in write_curse_report(report, tmp_path / "a", "t")]
    again = [path.read_bytes() for path in write_curse_report(report, tmp_path / "a", "t")]
    other = [path.read_bytes() for path in write_curse_report(report, tmp_path / "b", "t")]
    assert one == again == other


def test_costs_in_samples_are_labelled_so(report: CurseReport, tmp_path: Path) -> None:
    page = Page(write_curse_report(report, tmp_path, "t", cost_unit="samples")[-1].read_text(encoding="utf-8"))
    assert "weighted" not in page.text
    assert "tokens" not in page.text
    assert "tokens" not in terminal(terminal_table(report, "samples"))
    assert "samples: token counts are not known" in terminal(terminal_table(report, "samples"))
    assert "M_D weighted with tokens" in terminal(terminal_table(report))
    with pytest.raises(T2Error, match="Expected `cost_unit` to be one of tokens, samples, got 'euros'"):
        write_curse_report(report, tmp_path, "t", cost_unit="euros")


def test_a_folder_that_cannot_be_written(report: CurseReport, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(T2Error, match=r"Expected a folder to write the report into, got .*file"):
        write_curse_report(report, tmp_path / "file", "t")


def test_the_terminal_shows_what_the_page_does(report: CurseReport) -> None:
    shown = " ".join(terminal(terminal_table(report), 200).split())
    assert report.verdict in shown
    for part in (report.main.m_d, report.type_kappa, *report.reliability.values()):
        assert span(part) in shown
    for row in report.types:
        assert row.name in shown
    for note in report.notes:
        assert note in shown


def test_a_narrow_terminal_loses_nothing(report: CurseReport) -> None:
    """At 80 columns an ellipsis stood for the ends of long words."""
    narrow = terminal(terminal_table(report), 80)
    assert "…" not in narrow
    assert max(map(len, narrow.split("\n"))) <= 80
    for row in report.types:
        assert row.name in narrow
    letters = "".join(narrow.split())
    for half in report.reliability.values():
        assert all(number(part) in letters for part in (half.value, half.low, half.high))


def test_notes_and_what_was_measured_are_everywhere(report: CurseReport, tmp_path: Path) -> None:
    paths = write_curse_report(report, tmp_path, "t", ["a note [of] the pool"], about=NASTY)
    shown = terminal(terminal_table(report, notes=["a note [of] the pool"], about=NASTY), 200)
    for text in (Page(paths[-1].read_text(encoding="utf-8")).text, shown):
        assert "a note [of] the pool" in text
        assert NASTY in text
    assert json.loads(paths[0].read_text(encoding="utf-8"))["about"] == NASTY


def test_pictures_can_be_opened_and_differ(pictures: list[bytes]) -> None:
    for png in pictures:
        pixels = imread(io.BytesIO(png))
        assert pixels.shape[1] >= 1000
        assert pixels[..., :3].std() > 0.05  # not blank
    assert len(set(pictures)) == 4


def test_the_curve_is_drawn_where_the_report_says(report: CurseReport) -> None:
    axes = curve_figure(report).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["majority of N samples"].get_ydata().tolist() == [100 * point.value for point in report.curve]
    assert lines["majority of N samples"].get_xdata().tolist() == list(report.grid)
    assert report.greedy is not None
    assert set(lines["greedy answer"].get_ydata()) == {100 * report.greedy.value}
    assert set(lines[f"N_D = {report.main.n_d}"].get_xdata()) == {report.main.n_d}
    without = curve_figure(replace(report, greedy=None)).axes[0]
    assert "greedy answer" not in [line.get_label() for line in without.get_lines()]


def test_bars_are_the_shares(report: CurseReport) -> None:
    heights = [bar.get_height() for bar in budget_figure(report).axes[0].patches]
    assert heights == [100 * s.value for s in report.n_star_shares] + [100 * s for s in report.n_d_shares]
    left, middle, right = type_figure(report).axes
    assert [bar.get_width() for bar in left.patches] == [100 * row.share.value for row in report.types]
    assert [bar.get_width() for bar in middle.patches] == [100 * row.contribution.value for row in report.types]
    agreement = [100 * row.half_agreement for row in report.types if row.half_agreement is not None]
    assert agreement
    assert [bar.get_width() for bar in right.patches] == agreement


def test_every_rule_and_every_type_left_out_is_a_point(report: CurseReport) -> None:
    axes = rules_figure(report, "tokens").axes[0]
    shown = {c.get_label(): c.lines[0].get_xdata().tolist() for c in axes.containers}
    left_out = [row for row in report.types if row.share.value > 0 and row.m_d_without]
    assert left_out
    assert shown["M_D"] == [r.m_d.value for r in report.sweep] + [r.m_d_without.value for r in left_out]
    assert shown["M_D weighted with generated tokens"] == [r.m_d_tokens.value for r in report.sweep]
    names = [changed(row.setting) for row in report.sweep] + [f"without {row.name}" for row in left_out]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    in_samples = rules_figure(report, "samples").axes[0]
    assert [c.get_label() for c in in_samples.containers] == ["M_D"]
    assert in_samples.get_xlabel().endswith("(cost in samples)")


@pytest.mark.parametrize(("samples", "questions"), [(1, 1), (1, 3), (2, 1), (3, 2), (8, 1)])
def test_poor_pools_are_written_too(samples: int, questions: int, tmp_path: Path) -> None:
    report = curse_report(small_pool(samples, questions), (1, 3, 8), num_resamples=4)
    page = write_curse_report(report, tmp_path, "poor")[-1].read_text(encoding="utf-8")
    for shown in (Page(page).text, terminal(terminal_table(report))):
        assert not {"nan", "none", "inf"} & set(re.findall("[a-z]+", shown.lower()))
