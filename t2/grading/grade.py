"""Grades of one sample: which class it votes for, and whether that class is right."""

from __future__ import annotations

from collections.abc import Sequence

from t2.errors import T2Error, quoted
from t2.spec import FINISHED, Grade, Grader, Question


def vote_of(grader: Grader, text: str, finish_reason: str) -> str | None:
    """The answer class that a sample votes for; None is an abstention (unparseable or truncated)."""
    return grader.answer_class(text) if finish_reason == FINISHED else None


def grade_of(grader: Grader, text: str, finish_reason: str, answer: str | None = None) -> Grade:
    """`vote_of` with how it was reached; an imported sample may have a bare `answer`, which is read instead."""
    if finish_reason != FINISHED:
        return Grade(None, f"not finished: {finish_reason}")
    if answer is None:
        return grader.grade(text)
    answer_class = grader.gold_class(answer)
    return Grade(answer_class, "bare answer: not read" if answer_class is None else "bare answer")


def golds_of(grader: Grader, questions: Sequence[Question]) -> list[str]:
    """The class of each question's gold answer.

    Raises:
        T2Error: some cannot be read, so that no sample could ever be right; says how many, and names the first three.
    """
    golds = [grader.gold_class(question.answer) for question in questions]
    unread = [question for question, gold in zip(questions, golds, strict=True) if gold is None]
    if unread:
        named = ", ".join(f"{quoted(question.answer, 40)} for {quoted(question.id, 40)}" for question in unread[:3])
        first = named if len(unread) <= 3 else f"first: {named}"
        raise T2Error(
            f"Expected gold answers that grader {grader.version!r} can read, got {len(unread)} of {len(questions)} "
            f"that it cannot ({first}). Mend the questions, or choose another grader."
        )
    return [gold for gold in golds if gold is not None]
