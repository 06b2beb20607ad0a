"""Grades of one sample: which class it votes for, and whether that class is right."""

from __future__ import annotations

from collections.abc import Iterable

from t2.errors import T2Error, quoted
from t2.spec import FINISHED, Grader, Question


def vote_of(grader: Grader, text: str, finish_reason: str) -> str | None:
    """The answer class that a sample votes for; None is an abstention (unparseable or truncated)."""
    return grader.answer_class(text) if finish_reason == FINISHED else None


def gold_of(grader: Grader, answer: str, question_id: str) -> str:
    """The class of the gold answer.

    Raises:
        T2Error: the grader cannot read it, so no sample could ever be right.
    """
    gold = grader.gold_class(answer)
    if gold is None:
        raise T2Error(
            f"Expected an answer that grader {grader.version!r} can read, got {quoted(answer)} for question "
            f"{quoted(question_id)}. Mend the question file or choose another grader."
        )
    return gold


def check_golds(grader: Grader, questions: Iterable[Question]) -> None:
    """Make sure that the grader reads every gold answer, before a sample is paid for.

    Raises:
        T2Error: it does not; how many, the first three, and what to do.
    """
    asked = list(questions)
    unread = [question for question in asked if grader.gold_class(question.answer) is None]
    if len(unread) == 1:
        gold_of(grader, unread[0].answer, unread[0].id)  # which says it of one
    if unread:
        first = ", ".join(f"{quoted(question.answer, 40)} ({quoted(question.id, 20)})" for question in unread[:3])
        raise T2Error(
            f"Expected answers that grader {grader.version!r} can read, got {len(unread)} of {len(asked)} that it "
            f"cannot, the first: {first}. Choose another grader (`task.grader`), or mend or leave out those questions."
        )
