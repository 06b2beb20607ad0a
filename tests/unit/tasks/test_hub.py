"""Data sets: every format, what is none, and a hub of our own whose data set changes from one day to the next."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from t2.config import read_data
from t2.errors import T2Error
from t2.spec import Question
from t2.tasks import HubTask
from t2.tasks.fields import Extract

ROOT = Path(__file__).resolve().parents[3]
ROWS = [{"question": f"What is {i}+1?", "answer": str(i + 1), "kind": "sum", "terms": 2} for i in range(5)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def written(folder: Path, suffix: str, rows: list[dict[str, Any]] | None = None, name: str = "test") -> Path:
    rows = ROWS if rows is None else rows
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix == "json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif suffix in ("jsonl", "ndjson"):
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    else:
        between = {"csv": ",", "tsv": "\t"}[suffix]
        lines = [list(rows[0]), *(list(map(str, row.values())) for row in rows)]
        path.write_text("".join(f"{between.join(cells)}\n" for cells in lines), encoding="utf-8")
    return path


def asked(path: Path | str, **arguments: Any) -> list[Question]:
    return HubTask(str(path), **arguments).questions()


@pytest.mark.parametrize("suffix", ["parquet", "json", "jsonl", "ndjson", "csv", "tsv"])
def test_a_file_of_every_format(suffix: str, tmp_path: Path) -> None:
    path = written(tmp_path, suffix)
    questions = asked(path, family="kind", size="terms")
    assert [(q.text, q.answer, q.family, q.size) for q in questions] == [
        (f"What is {i}+1?", str(i + 1), "sum", 2) for i in range(5)
    ]
    assert questions == asked(written(tmp_path / "again", "jsonl"), family="kind", size="terms")
    assert asked(path, family="kind", size="terms", limit=2) == questions[:2]
    assert asked(path, split="train") == asked(path), "a file is one split, whatever a preset says"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_a_folder_with_splits(suffix: str, streaming: bool, tmp_path: Path) -> None:
    written(tmp_path / "set", suffix)
    written(tmp_path / "set", suffix, [{**ROWS[0], "question": "Another?"}], name="train")
    assert [q.answer for q in asked(tmp_path / "set", streaming=streaming)] == ["1", "2", "3", "4", "5"]
    assert [q.text for q in asked(tmp_path / "set", split="train", streaming=streaming)] == ["Another?"]
    with pytest.raises(T2Error, match=r"Expected a data set, got .*validation.*(Unknown|Bad) split"):
        asked(tmp_path / "set", split="validation", streaming=streaming)
    with pytest.raises(T2Error, match=r"Expected a data set, got .*'main' not found"):
        asked(tmp_path / "set", name="main", streaming=streaming)


def test_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    """`datasets` makes a date of 2024-01-01, 7.0 of 007 and nothing of NA."""
    rows = [{"question": f"{answer}?", "answer": answer} for answer in ("2024-01-01", "007", "NA", "0.50", "null")]
    for suffix in ("json", "jsonl", "csv", "parquet"):
        questions = asked(written(tmp_path, suffix, rows), grader="exact")
        assert [q.answer for q in questions] == ["2024-01-01", "007", "NA", "0.50", "null"]


def test_a_date_is_no_text(tmp_path: Path) -> None:
    """A folder is read by `datasets`: what it makes of a text is refused, not voted on."""
    written(tmp_path / "set", "jsonl", [{"question": "When?", "answer": "2024-01-01"}])
    with pytest.raises(T2Error, match=r"Expected a text as `answer`, got datetime\.datetime\(2024, 1, 1"):
        asked(tmp_path / "set")


def test_a_shuffled_limit_is_a_prefix_too(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [{"question": f"{i}?", "answer": "1"} for i in range(50)])
    first, more, other = (asked(path, limit=limit, shuffle_seed=seed) for limit, seed in ((10, 0), (30, 0), (10, 1)))
    assert first == more[:10]
    assert first != asked(path, limit=10)
    assert first != other
    assert set(asked(path, shuffle_seed=0)) == set(asked(path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"question,answer\n", "Expected questions in .*a.csv, got none"),
        ("a.csv", b"", "Expected questions in .*a.csv, got none"),
        ("a.csv", b"question,question\nx,1\n", "Expected each column once, got 'question' twice"),
        (
            "a.csv",
            b"question,answer\nHow, many?,1\n",
            r"Expected 2 cells, got 3 at .*a.csv:2\. Quote texts with commas",
        ),
        ("a.csv", b'question,answer\n"open', r"Expected a CSV file in UTF-8, got .*unexpected end of data"),
        ("a.csv", b"question,answer\ncaf\xe9,1\n", "Expected a CSV file in UTF-8, got"),
        ("a.csv", b"question,answer\n,1\n", r"Expected the field 'question', got '' at .*a.csv:2"),
        ("a.json", b"[]", "Expected at least one question, got an empty list"),
        ("a.json", b"[1]", "Expected a JSON object, got 1 at .*a.json, row 1"),
        ("a.json", b'[{"question": "x", "question": "y"}]', "each key once, got 'question' twice"),
        ("a.json", b"[" * 100_000, "Expected a JSON object, got"),
        ("a.json", b'[{"question": "\\ud800", "answer": 1}]', r"half a surrogate pair in `question` of .*, row 1"),
        ("a.jsonl", b"", "Expected at least one question, got an empty file"),
        ("a.parquet", b"PAR1 not", "Expected a data set, got .*Parquet"),
        ("a.parquet", b"", "Expected a data set, got"),
        ("a.txt", b"How many?", r"Expected a file that ends in \.parquet, .*, got .*a\.txt"),
        (
            "a.jsonl",
            b'{"q": "x", "answer": 1}',
            r"columns \['question', 'answer'\] .* got none called 'question': it has 'q, answer'",
        ),
    ],
)
def test_files_that_are_none(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(T2Error, match=message) as caught:
        asked(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "parquet")
    with pytest.raises(
        T2Error, match=r"Expected the columns .*got none called 'problem': it has 'question, answer, kind, terms'"
    ):
        asked(path, question="problem")
    with pytest.raises(T2Error, match="none called 'subject'"):
        asked(path, family="subject")


@pytest.mark.parametrize(
    "path",
    [
        "data/none.parquet",
        "/no/such/folder",
        "./openai/gsm8k",
        "../openai/gsm8k",
        "gsm8k",
        "a/b/c",
        "https://x.org/a/b",
    ],
)
def test_what_is_no_hub_id(path: str) -> None:
    """Nothing that looks like a path is asked of the hub."""
    with pytest.raises(
        T2Error, match=r"or the hub id NAMESPACE/NAME as the `path` of a data set, got .*: no such file"
    ):
        asked(path)


def test_a_path_that_looks_like_a_hub_id_without_a_network() -> None:
    with pytest.raises(
        T2Error, match=r"Expected a data set, got 'data/mine test': Couldn't reach 'data/mine' on the Hub"
    ):
        asked("data/mine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "Expected `limit` of at least 1, got 0"),
        ({"extract": Extract(index_from=0)}, "Expected `choices` beside `index_from`"),
        ({"grader": "maths"}, "Expected a grader among .*'numeric'.*, got 'maths'"),
        ({"grader": "given"}, "Expected a grader among .*, got 'given'"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        _ = HubTask("a/b", **arguments).grader


def test_notes_say_what_was_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [*ROWS, ROWS[0], {"question": "?", "answer": None}])
    task = HubTask(str(path), unusable_rows="drop")
    assert len(task.questions()) == 5
    count, dropped = task.notes()
    assert count == f"5 questions of {path}"
    assert dropped.startswith("2 unusable rows were left out, the first: row 7 (Expected the field 'answer'")
    assert "in rows 1 and 6, asked twice" in dropped
    assert task.origin() is None


@pytest.mark.parametrize(
    ("grader", "version"),
    [
        ("exact", "exact-"),
        ("{class_path: t2.grading.exact.ExactGrader, init_args: {marker: '=>'}}", "exact-2-=>"),
        ("t2.grading.exact.ExactGrader", "exact-"),
    ],
)
def test_a_config_names_a_grader_or_brings_its_own(grader: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    task = f"{{class_path: HubTask, init_args: {{path: a/b, grader: {grader}}}}}"
    path.write_text(f"data: {{pool: {{path: p, model: m, task: {task}}}}}", encoding="utf-8")
    assert read_data(path).pool.task.grader.version.startswith(version)


ON_THE_HUB = """
import io, json, os, sys
import pyarrow as pa, pyarrow.parquet as pq
from helpers.small_hub import small_hub

def table(add):
    content = io.BytesIO()
    rows = [{"question": f"{i}+{add}?", "answer": str(i + add)} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), content)
    return {"test.parquet": content.getvalue()}

old, new = "1" * 40, "2" * 40
commits = {old: table(1)}
with small_hub("ours/tiny", commits) as os.environ["HF_ENDPOINT"]:
    from t2.errors import T2Error
    from t2.tasks import HubTask

    def ask(origins=(), **arguments):
        task = HubTask("ours/tiny", **arguments)
        try:
            task.pin(origins)
            return [question.text for question in task.questions()], task.origin(), task.notes()
        except T2Error as error:
            return str(error)

    first = ask()
    streamed = ask(streaming=True)
    commits[new] = table(2)
    task = HubTask("ours/tiny")
    moved = ask()
    said = {
        "first": first, "streamed": streamed, "moved": moved,
        "pinned": ask([first[1]]), "by revision": ask(revision=old),
        "other split": ask([{**first[1], "split": "train"}]), "main": ask([first[1]], revision="main"),
        "no such revision": ask(revision="none"), "no such name": ask(name="main"), "no such column": ask(answer="a"),
        "no such data set": None,
    }
    try:
        HubTask("ours/none").questions()
    except T2Error as error:
        said["no such data set"] = str(error)
    late = HubTask("ours/tiny")  # has been asked before it is pinned, as by a preview
    late.questions()
    late.pin([first[1]])
    said["pinned late"] = [question.text for question in late.questions()]
print(json.dumps(said))
"""
OFFLINE = """
import json
from t2.errors import T2Error
from t2.tasks import HubTask

task = HubTask("ours/tiny")
other = HubTask("ours/tiny")
other.pin([{"path": "ours/tiny", "split": "test", "revision": "3" * 40}])
try:
    other.questions()
except T2Error as error:
    print(json.dumps([[question.text for question in task.questions()], task.origin(), str(error)]))
"""


def run(code: str, home: Path, offline: bool) -> Any:
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    settings = {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": paths,
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    """Over HTTP, through the libraries as they are: a pool filled on another day asks the same questions."""
    old, new = "1" * 40, "2" * 40
    said = run(ON_THE_HUB, tmp_path, offline=False)
    texts, origin, notes = said["first"]
    assert texts == ["0+1?", "1+1?", "2+1?"]
    assert origin == {"path": "ours/tiny", "split": "test", "revision": old}
    assert notes == [f"3 questions of ours/tiny test at commit {old}"]
    assert said["streamed"] == said["first"] == said["pinned"] == said["by revision"]
    assert said["pinned late"] == texts
    assert said["moved"][0] == ["0+2?", "1+2?", "2+2?"]
    assert said["moved"][1]["revision"] == new
    assert said["other split"] == said["moved"], "what is recorded of another split says nothing of this one"
    assert f"Expected revision {old} of ours/tiny, which this pool was filled from, got 'main' ({new})" in said["main"]
    assert "Revision Not Found" in said["no such revision"]
    assert "'main' not found. Available: ['default']" in said["no such name"]
    assert "got none called 'a': it has 'question, answer'" in said["no such column"]
    assert said["no such data set"].startswith("Expected a data set, got 'ours/none test': ")
    assert not [text for text in said.values() if isinstance(text, str) and "\n" in text]
    # Without a network, from the cache: the same commit, and no other one in its place.
    texts, origin, refused = run(OFFLINE, tmp_path, offline=True)
    assert [texts, origin] == said["moved"][:2] or [texts, origin] == said["first"][:2]
    assert (
        f"Expected revision '{'3' * 40}' of ours/tiny, got only {origin['revision']}, from the local cache" in refused
    )


def test_importing_tasks_loads_no_data_sets() -> None:
    """`datasets` takes a second to import, and few configs need it."""
    code = "import sys, t2.tasks; print('datasets' in sys.modules, 'reasoning_gym' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_streaming_reads_no_more_than_the_limit(tmp_path: Path) -> None:
    written(tmp_path / "set", "parquet", [{"question": f"{i}?", "answer": "1"} for i in range(20_000)])
    begun = time.monotonic()
    assert len(asked(tmp_path / "set", streaming=True, limit=3)) == 3
    assert time.monotonic() - begun < 60
    assert not list((tmp_path / "cache").rglob("*.arrow")), "nothing is copied into the cache"
