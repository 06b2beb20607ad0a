"""Questions before samples are paid for: where they came from, which are nearly alike, and golds that nobody reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.scripted import TINY_ARITH

from t2.cli import main
from t2.errors import T2Error
from t2.grading.grade import golds_of
from t2.grading.numeric import NumericGrader
from t2.pools.fill import fill
from t2.pools.load import load_pool
from t2.pools.prepare import prepare
from t2.pools.question_notes import question_notes
from t2.sampling import ScriptedSampler
from t2.spec import Grader, LabelJob, Question, Task
from t2.splits import SplitFractions
from t2.store.origins import add_origin, read_origins
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask, JsonlTask
from t2.tasks.fields import Fields


class MovingTask(Task):
    """Other questions from day to day, unless a pool has recorded which ones."""

    def __init__(self, today: str) -> None:
        self.day = today

    @property
    def grader(self) -> Grader:
        return NumericGrader()

    def questions(self) -> list[Question]:
        return [Question(f"{self.day}-{i}", f"{self.day}+{i}", str(int(self.day) + i), f"k{i}") for i in range(3)]

    def origin(self) -> dict[str, str]:
        return {"path": "days", "revision": self.day}

    def pin(self, origins: Sequence[Mapping[str, str]]) -> None:
        self.day = next((each["revision"] for each in origins if each["path"] == "days"), self.day)


def job_of(folder: Path, task: Task) -> LabelJob:
    return LabelJob(str(folder), TINY_ARITH, task, ScriptedSampler({}), samples_per_question=2)


def test_a_pool_that_is_filled_on_another_day_asks_the_same_questions(tmp_path: Path) -> None:
    first = prepare(job_of(tmp_path / "pool", MovingTask("1")))
    assert read_origins(PoolPaths(tmp_path / "pool")) == [{"path": "days", "revision": "1"}]
    assert prepare(job_of(tmp_path / "pool", MovingTask("2"))).questions == first.questions
    assert read_origins(PoolPaths(tmp_path / "pool")) == [{"path": "days", "revision": "1"}], "recorded once"
    assert prepare(job_of(tmp_path / "other", MovingTask("2"))).questions != first.questions


def test_what_only_looks_records_nothing(tmp_path: Path) -> None:
    assert question_notes(job_of(tmp_path / "pool", MovingTask("1")), SplitFractions()) == []
    assert not (tmp_path / "pool").exists()
    assert read_origins(PoolPaths(tmp_path / "pool")) == []
    add_origin(PoolPaths(tmp_path / "pool"), None)
    assert not (tmp_path / "pool").exists()


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    paths = PoolPaths(tmp_path)
    paths.origins.write_text('{"path": "days", "revision": 1', encoding="utf-8")
    with pytest.raises(T2Error, match=r"Expected a JSON object, got .*origins\.jsonl:1"):
        prepare(job_of(tmp_path, MovingTask("1")))


def test_reports_read_the_recorded_questions(tmp_path: Path) -> None:
    """`t2 report CONFIG` asks the task too: which of the pool's questions are meant."""
    first = MovingTask("1")
    answers = {question.id: {f"####{question.answer}": 1.0} for question in first.questions()}
    fill(replace(job_of(tmp_path / "pool", first), sampler=ScriptedSampler(answers)), SplitFractions())
    config = tmp_path / "config.yaml"
    task = {"class_path": f"{__name__}.MovingTask", "init_args": {"today": "2"}}
    pool = {"path": str(tmp_path / "pool"), "model": TINY_ARITH, "task": task, "samples_per_question": 2}
    config.write_text(json.dumps({"data": {"pool": pool}}))
    assert [question.id for question in load_pool(config).questions] == ["1-0", "1-1", "1-2"]


def test_golds_that_no_grader_reads_are_refused_before_sampling(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "question": f"{i}?", "answer": ["7", "about 3 or 4", "x"][i % 3]} for i in range(9)]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    job = job_of(tmp_path / "pool", JsonlTask(str(path)))
    with pytest.raises(
        T2Error,
        match=r"got 6 of 9 that it cannot \(first: 'about 3 or 4' for 'q1', 'x' for 'q2', .* for 'q4'\)\. Mend",
    ):
        prepare(job)
    assert not (tmp_path / "pool").exists()
    with pytest.raises(T2Error, match=r"got 1 of 1 that it cannot \('x' for 'q2'\)"):
        golds_of(NumericGrader(), JsonlTask(str(path)).questions()[2:3])


def test_the_preview_counts_questions_that_are_nearly_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"question": f"{i} pens cost {i + 1} cents. One?", "answer": "7"} for i in range(30)]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, rows[3]]), encoding="utf-8")
    fields = {"id": None}
    sampler = {"class_path": "ScriptedSampler", "init_args": {"answers": {}}}
    task = {"class_path": "JsonlTask", "init_args": {"path": str(path), "fields": fields, "unusable_rows": "drop"}}
    pool = {"path": str(tmp_path / "pool"), "model": "no/such-model", "task": task, "sampler": sampler}
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"data": {"pool": pool}}))
    near = "30 of 30 questions differ from one of another split in numbers alone. `dedup: numbers` of the task keeps"
    job = job_of(tmp_path / "pool", JsonlTask(str(path), fields=Fields(None), unusable_rows="drop"))
    dropped, said = question_notes(job, SplitFractions())
    assert said.startswith(near)
    assert dropped.startswith("1 unusable rows were left out, the first: ")
    with pytest.raises(SystemExit, match="2"):  # no model: what is said stands before it is loaded
        main(["label", "--config", str(config), "--preview", "2"])
    assert capsys.readouterr().out.splitlines()[:2] == [dropped, said]
    together = JsonlTask(str(path), fields=Fields(None), dedup="numbers", unusable_rows="drop")
    assert question_notes(job_of(tmp_path / "pool", together), SplitFractions()) == [dropped]
    (arith,) = question_notes(job_of(tmp_path / "pool", ArithTask(60)), SplitFractions())
    assert arith.endswith("in numbers alone."), "no advice where the task has no such setting"
