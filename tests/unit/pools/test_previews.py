"""Samples of a preview: kept by their settings, taken over by the pool that is filled with the same, never twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.filled_pools import FRACTIONS, assert_complete, job_of, rows_of, scripts
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.pools.fill import fill
from t2.pools.prepare import Asked, prepare
from t2.pools.previews import preview_paths, take_over
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob, PromptSpec
from t2.tasks import ArithTask, JsonlTask


def previewed(job: LabelJob, questions: int = 3, samples: int = 2) -> Path:
    """Fills the preview of a job with a few samples of a few questions; gives its folder."""
    folder = Asked.of(job).previews.root
    task = ArithTask(questions)
    fill(replace(job, path=str(folder), task=task, samples_per_question=samples, engine_seed=None), FRACTIONS)
    return folder


def by_draw(pool: Path | str) -> dict[tuple[str, int], dict[str, Any]]:
    return {(row["question_id"], row["draw"]): row for row in rows_of(pool)}


def test_a_pool_takes_over_what_its_preview_has_drawn(tmp_path: Path) -> None:
    """Four rounds of tuning a prompt cost fourteen minutes, and every sample was thrown away."""
    job = job_of(tmp_path / "pool", engine_seed=5)
    folder = previewed(job)
    assert folder.parent == tmp_path / "pool.previews"
    kept = by_draw(folder)
    assert len(kept) == 9
    done = fill(job, FRACTIONS)
    assert (done.resumed, done.samples_done) == (9, 21)
    assert_complete(job.path, 6, 4)
    drawn = by_draw(job.path)
    assert {key: drawn[key] for key in kept} == kept  # seed, writer and attempt among them
    assert {row["attempt"] for row in drawn.values()} == {1, 2}
    assert by_draw(folder) == kept
    assert fill(job, FRACTIONS).samples_done == 0


@pytest.mark.parametrize("path", [".", "..", "pool", "pool/"])
def test_previews_lie_beside_the_pool_however_it_is_named(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "pool" / "in" if path == ".." else tmp_path / "pool" if path == "." else tmp_path)
    assert preview_paths(path, "m", "p", {}).root.resolve().parent == tmp_path / "pool.previews"


@pytest.mark.parametrize(
    "changed",
    [
        {"sampler": ScriptedSampler(scripts(ArithTask(6)), tokens_per_answer=5)},
        {"prompt": PromptSpec("{template}")},
    ],
    ids=["sampling", "prompt"],
)
def test_other_settings_have_previews_of_their_own(tmp_path: Path, changed: dict[str, Any]) -> None:
    (tmp_path / "t.jinja").write_text("<s>;{{ messages[-1].content }}=")
    if "prompt" in changed:
        changed = {"prompt": PromptSpec(str(tmp_path / "t.jinja"))}
    job = job_of(tmp_path / "pool")
    other = replace(job, **changed)
    folders = {previewed(job), previewed(other)}
    assert len(folders) == 2
    assert fill(job, FRACTIONS).resumed == 9
    assert {row["num_tokens"] for row in rows_of(job.path)} == {4}


def test_the_name_of_a_model_and_the_pool_s_size_change_no_settings(tmp_path: Path) -> None:
    job = job_of(tmp_path / "pool")
    same = replace(job, samples_per_question=7, task=ArithTask(50), engine_seed=3)
    assert Asked.of(job).previews == Asked.of(same).previews


def test_a_question_that_was_changed_meanwhile_is_asked_anew(tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"

    def job_with(second: str, answer: str) -> LabelJob:
        rows = [("a", "1+1", "2"), ("b", second, answer)]
        file.write_text("\n".join(json.dumps({"id": i, "question": q, "answer": a}) for i, q, a in rows))
        sampler = ScriptedSampler({"a": {"#2": 1.0}, "b": {f"#{answer}": 1.0}})
        return job_of(tmp_path / "pool", 2, JsonlTask(str(file)), sampler)

    job = job_with("1+2", "3")
    fill(replace(job, path=str(Asked.of(job).previews.root)), FRACTIONS)
    done = fill(job_with("2+2", "4"), FRACTIONS)
    assert (done.resumed, done.samples_done) == (3, 3)
    assert {row["text"] for row in rows_of(job.path) if row["question_id"] == "b"} == {"#4"}


@settings(max_examples=15)
@given(
    before=st.tuples(st.integers(0, 4), st.integers(1, 3)),
    preview=st.tuples(st.integers(1, 4), st.integers(1, 3)),
)
def test_nothing_is_lost_and_nothing_is_there_twice(
    tmp_path_factory: pytest.TempPathFactory, before: tuple[int, int], preview: tuple[int, int]
) -> None:
    """Whatever pool and preview hold, the union is there afterwards, and what the pool had stays as it was."""
    job = job_of(tmp_path_factory.mktemp("p") / "pool", 4)
    if before[0]:
        fill(replace(job, task=ArithTask(before[0]), samples_per_question=before[1]), FRACTIONS)
    folder = previewed(job, *preview)
    prepared = prepare(job)
    mine, theirs = by_draw(job.path), by_draw(folder)
    prompts = {q.id: ids for q, ids in zip(prepared.questions, prepared.prompts, strict=True)}
    assert prepared.previews is not None
    assert take_over(prepared.paths, prepared.previews, prompts) == len(theirs.keys() - mine.keys())
    assert by_draw(job.path) == theirs | mine
    assert len(rows_of(job.path)) == len(theirs | mine)
    assert take_over(prepared.paths, prepared.previews, prompts) == 0
