"""The questions of a pool when a task brings new ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from t2.errors import T2Error, quoted
from t2.spec import Question


def merge_questions(old: Iterable[Question], new: Iterable[Question]) -> list[Question]:
    """The old questions, then those that are new; family, size and dedup key are the new ones'.

    Raises:
        T2Error: an id is there with another text or answer.
    """
    merged = {question.id: question for question in old}
    for question in new:
        before = merged.get(question.id, question)
        merged[question.id] = question
        if (before.text, before.answer) != (question.text, question.answer):
            raise T2Error(
                f"Expected question {quoted(question.id)} as it is in the pool ({quoted(before.text, 40)} -> "
                f"{quoted(before.answer, 40)}), got {quoted(question.text, 40)} -> {quoted(question.answer, 40)}. "
                "Give changed questions new ids."
            )
    return list(merged.values())
