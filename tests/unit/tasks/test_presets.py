"""Every preset of configs/tasks reads a small file of our own in the layout of its data set, through both programs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from t2.config import read_data
from t2.spec import Question
from train import main

ROOT = Path(__file__).resolve().parents[3]
PRESETS = sorted((ROOT / "configs" / "tasks").glob("*.yaml"))

Rows = list[dict[str, Any]]


def parquet(rows: Rows, path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def lines(rows: Rows, path: Path) -> Path:
    path.with_suffix(".jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path.with_suffix(".jsonl")


def table(rows: Rows, path: Path) -> Path:
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path.with_suffix(".csv")


def gpqa(number: int) -> dict[str, Any]:
    wrong = {f"Incorrect Answer {i}": f"{number + i} kelvin\n" for i in (1, 2, 3)}
    return {
        "Record ID": f"rec{number}",
        "Question": f"How warm is star {number}?",
        "Correct Answer": f"{number} kelvin",
        **wrong,
        "High-level domain": "Physics",
    }


LAYOUTS: dict[str, tuple[Callable[[Rows, Path], Path], Rows, list[str]]] = {
    "gsm8k": (
        parquet,
        [
            {"question": "Ana has 3 pens and buys 4. How many?", "answer": "She has 3+4=<<3+4=7>>7 pens.\n#### 7"},
            {"question": "A shelf costs $1,000, two cost?", "answer": "Twice 1,000.\n#### 2,000"},
        ],
        ["7", "2,000"],
    ),
    "math500": (
        lines,
        [
            {
                "problem": "Halve $1$.",
                "solution": r"It is $\boxed{\frac{1}{2}}$.",
                "answer": r"\frac{1}{2}",
                "subject": "Prealgebra",
                "level": 1,
                "unique_id": "test/prealgebra/0.json",
            },
            {
                "problem": "Where is $x^2<4$?",
                "solution": r"On $\boxed{(-2,2)}$.",
                "answer": "(-2,2)",
                "subject": "Algebra",
                "level": 2,
                "unique_id": "test/algebra/1.json",
            },
        ],
        [r"\frac{1}{2}", "(-2,2)"],
    ),
    "amc23": (
        parquet,
        [
            {"id": 0, "question": "What is $3^3$?", "answer": 27.0, "url": "https://example.org/1"},
            {"id": 1, "question": "What is $6^2$?", "answer": 36.0, "url": "https://example.org/2"},
        ],
        ["27.0", "36.0"],
    ),
    "aime24": (
        parquet,
        [
            {"id": 60, "problem": "Find $m+n$.", "solution": "By hand.", "answer": "033", "url": "", "year": "2024"},
            {"id": 61, "problem": "Find $m-n$.", "solution": "By hand.", "answer": "204", "url": "", "year": "2024"},
        ],
        ["033", "204"],
    ),
    "aime25": (
        lines,
        [{"problem": "Find $b$.", "answer": "70", "id": "0"}, {"problem": "Find $c$.", "answer": "588", "id": "1"}],
        ["70", "588"],
    ),
    "svamp": (
        parquet,
        [
            {
                "ID": f"chal-{number}",
                "Body": f"Eva has {number} nuts and eats {number - 3}.",
                "Question": "How many are left?",
                "Equation": "( 9.0 - 3.0 )",
                "Answer": "3.0",
                "Type": "Subtraction",
            }
            for number in (5, 9)
        ],
        ["3.0", "3.0"],
    ),
    "gpqa": (table, [gpqa(number) for number in range(40)], []),
    "mmlu_pro": (
        parquet,
        [
            {
                "question_id": 70 + number,
                "question": "Which is the largest?",
                "options": [f"{number}", f"{number + 1}", f"{number + 2}"][: 2 + number % 2],
                "answer": "BC"[number % 2],
                "answer_index": 1 + number % 2,
                "cot_content": "",
                "category": "math",
                "src": "ours",
            }
            for number in range(6)
        ],
        [],
    ),
}


def questions_of(preset: Path, tmp_path: Path, **changes: object) -> list[Question]:
    """What a config with this preset asks, after some of its arguments are replaced."""
    task = yaml.safe_load(preset.read_text(encoding="utf-8"))
    task["init_args"] |= changes
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"data": {"pool": {"path": "p", "model": "m", "task": "task.yaml"}}}))
    return read_data(config).pool.task.questions()


def test_there_is_a_layout_for_each() -> None:
    assert {preset.stem for preset in PRESETS} == set(LAYOUTS)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_reads_its_layout(preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    write, rows, answers = LAYOUTS[preset.stem]
    path = str(write(rows, tmp_path / "rows"))
    questions = questions_of(preset, tmp_path, path=path, grader="exact")
    assert len(questions) == len(rows) == len({question.id for question in questions})
    if answers:
        assert [question.answer for question in questions] == answers
    # The same ids from a file of another format: they are made of texts.
    assert questions_of(preset, tmp_path, path=str(lines(rows, tmp_path / "again")), grader="exact") == questions


def test_gpqa_letters_are_no_function_of_the_column(tmp_path: Path) -> None:
    """The right answer is always the first column."""
    rows = LAYOUTS["gpqa"][1]
    questions = questions_of(ROOT / "configs/tasks/gpqa.yaml", tmp_path, path=str(table(rows, tmp_path / "rows")))
    letters = [question.answer for question in questions]
    assert set(letters) == set("ABCD")
    assert max(map(letters.count, "ABCD")) < 20
    for row, question in zip(rows, questions, strict=True):
        assert f"\n{question.answer}. {row['Correct Answer']}" in question.text
        assert question.text.startswith(f"{row['Question']}\nA. ")
        assert question.family == "Physics"


def test_mmlu_pro_takes_all_subjects(tmp_path: Path) -> None:
    """The data set is sorted by subject: its first rows are of one."""
    rows = [{**LAYOUTS["mmlu_pro"][1][0], "question": f"Which, {i}?", "category": "ab"[i // 100]} for i in range(200)]
    path = str(lines(rows, tmp_path / "rows"))
    ask = questions_of
    few = ask(ROOT / "configs/tasks/mmlu_pro.yaml", tmp_path, path=path, limit=20)
    more = ask(ROOT / "configs/tasks/mmlu_pro.yaml", tmp_path, path=path, limit=50)
    assert {question.family for question in few} == {"a", "b"}
    assert more[:20] == few


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_preset_is_one_line_in_a_config_of_both_programs(
    preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Relative to the working folder, as it stands in the comment of each preset."""
    monkeypatch.chdir(ROOT)
    line = f"configs/tasks/{preset.name}"
    assert f"task: {line}" in preset.read_text(encoding="utf-8").splitlines()[0]
    config = tmp_path / "config.yaml"
    pool = {"path": "p", "model": "m", "task": line}
    config.write_text(yaml.safe_dump({"data": {"pool": pool}, "model": {"head": "PriorHead"}}), encoding="utf-8")
    said = yaml.safe_load(preset.read_text(encoding="utf-8"))["init_args"]
    task: Any = read_data(config).pool.task
    assert (task.data.path, task.data.split, task.data.name) == (said["path"], said["split"], said.get("name"))
    if preset.stem in ("gsm8k", "gpqa"):
        with pytest.raises(SystemExit, match="0"):
            main(["fit", "--config", str(config), "--data.pool.task.init_args.limit=7", "--print_config"])
        printed = yaml.safe_load(capsys.readouterr().out)["data"]["pool"]["task"]["init_args"]
        assert printed["limit"] == 7
        assert {key: printed[key] for key in said if key != "extract"} == {
            key: value for key, value in said.items() if key != "extract"
        }
