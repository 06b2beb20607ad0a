"""What a user should know of a pool's questions before samples are paid for."""

from __future__ import annotations

from pathlib import Path

from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.origins import read_origins
from t2.store.schema import PoolPaths
from t2.tasks.keys import near_across_splits


def question_notes(job: LabelJob, fractions: SplitFractions) -> list[str]:
    """The task's own notes, and how many questions are nearly those of another split.

    Raises:
        T2Error: the questions cannot be read.
    """
    job.task.pin(read_origins(PoolPaths(Path(job.path))))
    questions = job.task.questions()
    notes = job.task.notes()
    if near := near_across_splits(questions, fractions):
        advice = (
            " `dedup: numbers` of the task keeps such questions in one split." if hasattr(job.task, "dedup") else ""
        )
        notes.append(f"{near} of {len(questions)} questions differ from one of another split in numbers alone.{advice}")
    return notes
