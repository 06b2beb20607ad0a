"""The samples of a loaded pool with their texts, each graded anew, so that it is known how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from t2.grading.given import GivenGrader
from t2.grading.grade import golds_of, grade_of
from t2.pools.load import LoadedPool
from t2.regrading.measure import GradedSample, QuestionGrades
from t2.spec import FINISHED, Grade, Grader
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths


def graded_questions(loaded: LoadedPool, grader: Grader) -> list[QuestionGrades]:
    """The pool's questions with the samples that it uses, in order of draw, the greedy answer first.

    Raises:
        T2Error: a gold answer that the grader cannot read.
    """
    golds = golds_of(grader, loaded.questions)
    wanted = {question.id for question in loaded.questions}
    samples: dict[str, dict[int, GradedSample]] = {question_id: {} for question_id in wanted}
    for row in _rows(loaded):
        if row["question_id"] in wanted and row["draw"] < loaded.pool.vote_QM.shape[1]:
            text = row["text"] if row.get("given_answer") is None else row["given_answer"]
            sample = GradedSample(row["draw"], text, row["finish_reason"] == FINISHED, _grade(grader, row))
            samples[row["question_id"]].setdefault(row["draw"], sample)  # of duplicates the first counts
    return [
        QuestionGrades(
            question.id, question.answer, gold, tuple(each for _, each in sorted(samples[question.id].items()))
        )
        for question, gold in zip(loaded.questions, golds, strict=True)
    ]


def _rows(loaded: LoadedPool) -> Iterator[dict[str, Any]]:
    reader = ShardReader(PoolPaths(loaded.root))
    reader.refresh()
    columns = ("question_id", "draw", "text", "finish_reason", "given_answer", "given_class")
    for table in reader.tables.values():
        yield from table.select([name for name in columns if name in table.column_names]).to_pylist()


def _grade(grader: Grader, row: dict[str, Any]) -> Grade:
    if isinstance(grader, GivenGrader):
        given = row.get("given_class")
        return Grade(given, "given: none" if given is None else "given")
    return grade_of(grader, row["text"], row["finish_reason"], row.get("given_answer"))
