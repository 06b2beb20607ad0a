"""A pool that `t2 label` fills is looked at once, early, and what is wrong with it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.filled_pools import FRACTIONS, job_of, scripts

from t2.pools.fill import Progress, fill
from t2.preview import early
from t2.preview.early import EarlyLook
from t2.sampling import ScriptedSampler
from t2.spec import DEFAULT_GRID, LabelJob
from t2.store.writer import ShardWriter
from t2.tasks import ArithTask

NUM = 60


@pytest.fixture(autouse=True)
def _stored_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardWriter, "flush_if_due", ShardWriter.flush)


def job_in(folder: Path, unparsed: float, questions: int = NUM) -> LabelJob:
    task = ArithTask(questions)
    sampler = ScriptedSampler(scripts(task, right=(1 - unparsed) / 2, unparsed=unparsed), samples_per_request=4)
    return job_of(folder, 8, task, sampler, engine_seed=3)


def watched(job: LabelJob, said: list[str]) -> list[int]:
    """How many samples were there at each line that was said."""
    counts = []

    def note(now: Progress) -> None:
        before = len(said)
        look(now)
        counts.extend([now.samples_done] * (len(said) - before))

    look = EarlyLook(job, 0.02, DEFAULT_GRID, said.append)
    fill(job, FRACTIONS, note)
    return counts


def test_a_poor_pool_is_said_to_be_one_before_it_is_full(tmp_path: Path) -> None:
    said: list[str] = []
    [when] = watched(job_in(tmp_path / "pool", unparsed=0.4), said)
    assert said[0].startswith("After 32 questions: The grader reads no answer in ")
    assert early.LOOK_QUESTIONS * 9 <= when <= (early.LOOK_QUESTIONS + 2) * 9 < NUM * 9


def test_answers_that_are_read_are_not_warned_of(tmp_path: Path) -> None:
    """A tenth is not read. The greedy answers are all right, so what there is to say is about them."""
    said: list[str] = []
    watched(job_in(tmp_path / "pool", unparsed=0.1), said)
    assert [line for line in said if "over the greedy answer" not in line] == []


def test_a_small_or_a_large_pool_is_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    watched(job_in(tmp_path / "small", unparsed=0.4, questions=31), said)
    assert said == []
    monkeypatch.setattr(early, "LOOK_QUESTIONS", 4)
    fill(job_in(tmp_path / "large", unparsed=0.4, questions=20), FRACTIONS)
    job = job_in(tmp_path / "large", unparsed=0.4, questions=24)
    look = EarlyLook(job, 0.02, DEFAULT_GRID, said.append)
    look(Progress(0, 36, 0, resumed=180))
    assert said == []
    look = EarlyLook(job, 0.02, DEFAULT_GRID, said.append)
    look(Progress(0, 36, 0, resumed=36))
    assert len(said) == 1
