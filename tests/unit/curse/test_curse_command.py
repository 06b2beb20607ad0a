"""`t2 curse` from its source to its files: which grid, which eps, which grader, and what the reader is told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from t2.curse.command import CurseAnswer, curse_of
from t2.errors import T2Error
from t2.importing.command import import_file
from t2.spec import DEFAULT_GRID

ROOT = Path(__file__).parents[3]
NUM_SAMPLES = 8


@pytest.fixture
def pool(tmp_path: Path) -> Callable[..., Path]:
    """An imported pool: question q has q mod 9 right answers of 8, then wrong ones."""

    def make(num: int = 12, samples: int = NUM_SAMPLES, tokens: int | None = 5, model: str | None = None) -> Path:
        common = {} if tokens is None else {"tokens": tokens}
        rows = [
            {
                "id": f"q{q}",
                "question": f"question {q}",
                "answer": "7",
                "samples": [{"answer": 7 if s < q % 9 else f"w{s % 3}", **common} for s in range(samples)],
            }
            for q in range(num)
        ]
        (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        import_file(str(tmp_path / "s.jsonl"), str(tmp_path / "pool"), model=model)
        return tmp_path / "pool"

    return make


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., str]:
    """A config of that pool, with what else stands under `data`."""

    def write(samples: int = NUM_SAMPLES, **data: Any) -> str:
        task = {"class_path": "PoolTask", "init_args": {"path": str(tmp_path / "pool")}}
        job = {"path": str(tmp_path / "pool"), "model": "m", "task": task, "samples_per_question": samples}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({"data": {"pool": job, **data}}), encoding="utf-8")
        return str(tmp_path / "c.yaml")

    return write


def found(answer: CurseAnswer) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(answer.files[0].read_text(encoding="utf-8"))
    return content


def shown(answer: CurseAnswer, width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(answer.text)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def test_grid_and_eps_are_the_configs(pool: Callable[..., Path], config: Callable[..., str], tmp_path: Path) -> None:
    """`t2 curse CONFIG` took the default grid and eps whatever the config said."""
    pool()
    got = found(curse_of(config(grid=[1, 2, 4], eps=0.3), tmp_path / "out"))
    assert (got["grid"], got["label_grid"], got["main"]["setting"]["eps"]) == ([1, 2, 4], [1, 2, 4], 0.3)


def test_an_option_beats_the_config_and_the_config_the_default(
    pool: Callable[..., Path], config: Callable[..., str], tmp_path: Path
) -> None:
    folder, out = pool(), tmp_path / "out"
    assert found(curse_of(config(eps=0.3), out, eps=0.1))["main"]["setting"]["eps"] == 0.1
    assert found(curse_of(config(eps=0.0), out))["main"]["setting"]["eps"] == 0.0
    assert found(curse_of(str(folder), out, eps=0.0))["main"]["setting"]["eps"] == 0.0
    for source in (config(), config(grid=None), str(folder)):
        got = found(curse_of(source, out))
        assert got["grid"] == [n for n in DEFAULT_GRID if n <= NUM_SAMPLES]
        assert got["main"]["setting"]["eps"] == 0.02


def test_a_grid_beyond_the_pool_is_cut_and_that_is_said(
    pool: Callable[..., Path], config: Callable[..., str], tmp_path: Path
) -> None:
    pool()
    answer = curse_of(config(grid=[1, 2, 8, 64]), tmp_path / "out")
    assert found(answer)["grid"] == [1, 2, 8]
    assert "The grid was cut from 64 to 8 samples" in shown(answer)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"grid": "many"}, r"Expected a list of int or null as `data\.grid` in .*c\.yaml, got 'many'"),
        ({"grid": [1, "x"]}, r"Expected a list of int or null as `data\.grid` in .*got .*1, 'x'"),
        ({"grid": [1, 2.5]}, r"Expected a list of int or null as `data\.grid` in .*got .*1, 2\.5"),
        ({"eps": "small"}, r"Expected float as `data\.eps` in .*c\.yaml, got 'small'"),
        ({"grid": [3, 5]}, r"Expected a rising grid of budgets that starts at 1, got \[3, 5\]\. Change `data\.grid`"),
        ({"grid": [1, 5, 5]}, "Expected a rising grid of budgets"),
        ({"grid": []}, "Expected a rising grid of budgets"),
        ({"grid": [0, 1]}, "Expected a rising grid of budgets"),
        ({"eps": -0.1}, r"Expected `data\.eps` in \[0, 1\), got -0\.1"),
        ({"eps": float("nan")}, r"Expected `data\.eps` in \[0, 1\), got nan"),
        ({"eps": None}, r"Expected `data\.eps` in \[0, 1\), got None"),
    ],
)
def test_bad_settings_are_one_line(
    pool: Callable[..., Path], config: Callable[..., str], tmp_path: Path, data: dict[str, Any], message: str
) -> None:
    pool()
    with pytest.raises(T2Error, match=message) as caught:
        curse_of(config(**data), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_folder_of_a_labelled_pool_needs_a_grader(tmp_path: Path) -> None:
    """A guess, the number after ####, read no answer of this pool, and the report was of abstentions."""
    folder = str(ROOT / "assets" / "pools" / "tiny-arith")
    with pytest.raises(T2Error, match=r"does not record how its answers are read\. Name the config that fills it"):
        curse_of(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    answer = curse_of(folder, tmp_path / "out", grader="numeric")
    assert "grader 'numeric-3-####-1' reads no answer in any of them. Is it the right one?" in shown(answer)
    assert found(answer)["verdict"].startswith("Nothing to measure: no sample of any question is correct")


def test_its_config_says_how_it_is_graded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    answer = curse_of("configs/tiny-arith.yaml", tmp_path / "out")
    got = found(answer)
    assert (got["num_questions"], got["samples"], got["grid"]) == (600, 32, [1, 3, 5, 7, 9, 12, 16, 24, 32])
    assert got["curve"][0]["value"] == pytest.approx(0.74, abs=0.03)
    assert "Pool tiny-arith: samples of tiny-arith; grader numeric-3-#-1; cost in tokens." in shown(answer)
    assert got["about"] in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_the_terminal_says_what_the_import_did_not_know(pool: Callable[..., Path], tmp_path: Path) -> None:
    """Notes on the pool stood on the page and in the JSON alone: the terminal did not say that cost is in samples."""
    answer = curse_of(str(pool(tokens=None)), tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    for text in (shown(answer), page, " ".join(found(answer)["notes"])):
        assert "Cost is in samples, not tokens" in text
    for text in (shown(answer), page):
        assert "grader given; cost in samples." in text
        assert "weighted" not in text
    assert found(answer)["cost_unit"] == "samples"


def test_questions_with_few_samples_can_be_left_out(tmp_path: Path) -> None:
    rows = [
        {"id": q, "question": f"q{q}", "answer": 7, "samples": [{"answer": 7 + s % 2} for s in range(1 if q else 8)]}
        for q in range(3)
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_file(str(tmp_path / "s.jsonl"), str(tmp_path / "pool"))
    whole = curse_of(str(tmp_path / "pool"), tmp_path / "out")
    assert found(whole)["verdict"].startswith("Not measured: with 1 samples a question no budget but 1 is allowed")
    assert shown(whole).count("samples a question; budgets stop at the smallest") == 1
    assert "A larger `min_samples` leaves out the questions that have few." in shown(whole)
    cut = curse_of(str(tmp_path / "pool"), tmp_path / "out", min_samples=2)
    assert (found(cut)["num_questions"], found(cut)["samples"]) == (1, 8)
    assert "2 of 3 questions are left out: they have fewer than 2 samples." in shown(cut)
    assert found(cut)["verdict"].startswith("Not decided: one question")


def test_names_are_escaped(pool: Callable[..., Path], tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\u202e\x1b[31m"
    folder = pool(model=evil)
    folder = folder.rename(folder.with_name("<script>alert(2)<\u2215script>"))
    answer = curse_of(str(folder), tmp_path / "out")
    page = answer.files[-1].read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd\ufffd[31m" in page
    assert "&lt;script&gt;alert(2)" in page
    assert "\x1b" not in shown(answer)
    assert f"samples of {evil}" in found(answer)["about"]
