"""Grades of one sample: which class it votes for, and whether that class is right."""

from __future__ import annotations

from t2.errors import T2Error, quoted
from t2.spec import FINISHED, Grader


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
