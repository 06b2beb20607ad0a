"""README, guide and the pages below docs/ say what is so: links, names of code, commands, figures, lengths."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache, wraps
from pathlib import Path

import pytest

import train
from t2 import cli

ROOT = Path(__file__).resolve().parents[2]
README, GUIDE, SERVING, ARCHITECTURE = (
    ROOT / name for name in ("README.md", "docs/GUIDE.md", "docs/SERVING.md", "docs/ARCHITECTURE.md")
)
CURRENT = (README, ROOT / "CONTRIBUTING.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/LOG.md"}))
"""Pages that describe what is; docs/LOG.md says what was."""
REAL, EMBEDDED = (ROOT / "docs/results" / name for name in ("qwen2.5-coder-1.5b_math-steps", "tiny-arith"))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", without_code(read(path)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_readme_and_architecture_are_short() -> None:
    assert len(read(README).splitlines()) <= 150
    assert len(read(ARCHITECTURE).splitlines()) <= 120


@pytest.mark.parametrize("page", CURRENT, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(read(page))):
        if target.startswith(("http:", "https:")):
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{page.name} -> {target}"
        assert not anchor or anchor in anchors(path), f"{page.name} -> {target}"


@cache
def source_of(dotted: str) -> tuple[str, str] | None:
    """Text of the module that a dotted name begins with, and what follows; None if there is no such module."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = ROOT.joinpath("t2", *parts[:length])
        for path in (module.with_suffix(".py"), module / "__init__.py"):
            if path.exists():
                return read(path), ".".join(parts[length:])
    return None


def is_defined(dotted: str) -> bool:
    source = source_of(dotted)
    if source is None:
        return False
    text, rest = source
    return all(re.search(rf"^\s*(?:class |def )?{name}\b", text, re.MULTILINE) for name in rest.split(".") if name)


ROOMS = {path.stem for path in (ROOT / "t2").iterdir() if path.suffix == ".py" or path.is_dir()}
NOT_CODE = ("calibration.mode", "sampling.end_token_ids")
"""Keys of a config or of a pool that begin like the name of a room."""


@pytest.mark.parametrize("page", [p for p in CURRENT if p.name != "DECISIONS.md"], ids=lambda p: p.name)
def test_code_that_is_named_is_there(page: Path) -> None:
    for name in set(re.findall(r"`([^`\s]+)`", without_code(read(page)))):
        if re.fullmatch(r"[\w/]+/\w+\.py", name):
            assert (ROOT / name).exists() or (ROOT / "t2" / name).exists(), f"{page.name}: {name}"
        elif re.fullmatch(r"[a-z_]\w*(\.\w+)+", name) and name.split(".")[0] in ROOMS and name not in NOT_CODE:
            assert name.endswith((".py", ".json", ".yaml")) or is_defined(name), f"{page.name}: {name}"


def test_architecture_lists_the_rooms_in_import_order() -> None:
    order = re.findall(
        r'"(\w+)"', read(ROOT / "tests/unit/test_import_rules.py").partition("ORDER = (")[2].partition("\n)")[0]
    )
    table = read(ARCHITECTURE).partition("| room | what is in it |")[2].partition("\n\n")[0]
    listed = [room for row in table.strip().splitlines() for room in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert listed == order


def commands() -> Iterator[list[str]]:
    """Commands of README, guide and serving, as lists of arguments."""
    for page in (README, GUIDE, SERVING):
        for line in read(page).splitlines():
            if re.match(r"( {4})?(t2 [a-z]|python train\.py)", line):
                yield shlex.split(line, comments=True)


def test_t2_takes_the_commands_that_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name, function in list(cli.COMMANDS.items()):

        def record(*, name: str = name, **_: object) -> None:
            called.append(name)

        monkeypatch.setitem(cli.COMMANDS, name, wraps(function)(record))
    shown = [command[1:] for command in commands() if command[0] == "t2"]
    for arguments in shown:
        cli.main(arguments)
    assert called == [arguments[0] for arguments in shown]
    assert set(called) == set(cli.COMMANDS)


def test_train_takes_the_commands_that_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command for each set of options; those in the guide's shell blocks are run as a whole elsewhere."""
    monkeypatch.chdir(ROOT)
    shown = {
        tuple(part for part in command if part.startswith("--") or part in ("fit", "cross_validate")): command[2:]
        for command in commands()
        if command[0] == "python" and "mine.yaml" not in command
    }
    assert len(shown) >= 4
    for arguments in shown.values():
        with pytest.raises(SystemExit, match="0"):
            train.main([*arguments, "--print_config"])
        assert "PriorHead" in capsys.readouterr().out


def rows_of(pool: Path) -> dict[str, dict[str, str]]:
    """The key rows of a pool's report, by policy and column."""
    table = [line.strip("| ").split(" | ") for line in read(pool / "key.md").splitlines() if line.startswith("| ")]
    rows = [row for row in table if len(row) == len(table[0])]
    return {row[0]: dict(zip(table[0], row, strict=True)) for row in rows}


def table_after(heading: str) -> list[list[str]]:
    """Rows of README's first table after a heading."""
    below = read(README).partition(f"## {heading}\n")[2]
    lines = below.partition("|---|")[2].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_which_rule_has_the_figures_of_the_report() -> None:
    report, table = rows_of(REAL), table_after("Which rule for you?")
    for _, rule, rounds, ratio, points in table:
        row = report[rule.partition(":")[0]]
        assert (ratio, points) == (row["ratio"], row["vs FixedN(N_ref), points"]), rule
        assert rounds == f"{float(row['rounds']):.1f}", rule
    assert len(table) == 5


def test_results_have_the_figures_of_the_reports() -> None:
    table = table_after("Results")
    for rule, *cells in table:
        rows = [rows_of(pool)[rule.partition(" (")[0]] for pool in (REAL, EMBEDDED)]
        assert cells == [row[column] for row in rows for column in ("ratio", "vs FixedN(N_ref), points")], rule
    assert 5 <= len(table) <= 8


def test_every_interval_in_readme_stands_in_a_report() -> None:
    reports = "".join(read(path) for path in (ROOT / "docs/results").glob("*/report.md"))
    intervals = re.findall(r"-?\d[\d.]*\s\[-?[\d.]+, -?[\d.]+\]", read(README))
    assert len(intervals) > 20
    for interval in intervals:
        assert interval.replace("\n", " ") in reports, interval


def test_asc_in_the_guide_draws_what_the_guide_says(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", read(GUIDE), re.DOTALL) if "ASC" in b)
    exec(block, {})
    assert capsys.readouterr().out.split() == ["2", "0", "3", "1"]
    assert [int(n) for n in re.findall(r"# .*?: (?:draw )?(\d)", block)] == [2, 0, 3]
