"""From rows to questions that may be sampled: what no row may be, and what no two rows may say. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from t2.errors import T2Error, quoted
from t2.json_lines import JsonObject, Unique
from t2.spec import Grader, Question

UnusableRows = Literal["refuse", "drop"]
"""What happens to rows that hold no question with its answer, and to those that repeat an earlier one."""
SHOWN = 3
"""Rows that an error names; it counts the others."""


@dataclass(frozen=True)
class CheckedRows:
    """Questions, and the rows that were left out of them."""

    questions: list[Question]
    dropped: list[str]
    """one line for each row that was left out: where, and why"""


@dataclass(frozen=True)
class RowRules:
    """What is to be done with rows that cannot be questions."""

    source: str
    """file or data set, for errors"""
    unusable: UnusableRows = "refuse"
    keeps_repeats: bool = False
    """rows with ids of their own may ask the same as others; their dedup keys keep them in one split"""
    limit: int | None = None
    """of the questions; None: all"""


def checked_questions(
    rows: Iterable[JsonObject],
    question_of: Callable[[JsonObject], Question],
    grader: Callable[[], Grader],
    rules: RowRules,
) -> CheckedRows:
    """The questions of all rows, in their order: the first of each; a smaller limit gives a prefix.

    Args:
        rows: in a fixed order.
        question_of: gives a row's question, or a `T2Error` that names the row.
        grader: gives the grader, which decides whether two rows that ask the same have the same answer. It is asked for
            only then.
        rules: of the data set.

    Raises:
        T2Error: an unusable row or a repeated one (unless they are dropped), or two rows that ask the same and have
            other answers; how many, and the first three.
    """
    ids = Unique(rules.source)
    unusable = list[tuple[int, T2Error]]()
    repeated, contradicting = list[str](), list[str]()
    known = dict[str, tuple[Question, int]]()
    questions = list[Question]()
    for row in rows:
        if rules.limit is not None and len(questions) >= rules.limit:
            break
        try:
            question = question_of(row)
        except T2Error as error:
            unusable.append((row.line, error))
            continue
        identity = " ".join(question.text.split())  # not its case: mW is not MW
        before, number = known.setdefault(identity, (question, row.line))
        if before is not question:
            pair = f"{quoted(question.text, 40)} in rows {number} and {row.line}"
            if not _same_answer(before.answer, question.answer, grader):
                contradicting.append(f"{pair} ({quoted(before.answer, 20)}, {quoted(question.answer, 20)})")
                continue
            if rules.unusable == "drop" or not rules.keeps_repeats:
                repeated.append(pair)
                continue
        ids.add(question.id, row.line)
        questions.append(question)
    if contradicting:
        raise T2Error(
            f"Expected one answer to each question of {rules.source}, got several to "
            f"{len(contradicting)}: {_counted(contradicting)}. Keep the right "
            "ones in a file of your own."
        )
    if rules.unusable == "refuse":
        _refuse(unusable, repeated, len(questions), rules.source)
    if not questions:
        raise T2Error(f"Expected questions in {rules.source}, got none. Check the path, the split and its fields.")
    dropped = [f"row {number} ({error})" for number, error in unusable] + [f"{pair}, asked twice" for pair in repeated]
    return CheckedRows(questions, dropped)


def _refuse(unusable: list[tuple[int, T2Error]], repeated: list[str], usable: int, source: str) -> None:
    if unusable:
        (_, error), *others = unusable
        rows = ", ".join(str(number) for number, _ in others[: SHOWN - 1])
        more = f" {len(others)} more rows cannot be used, the next: {rows}." if others else ""
        advice = " `unusable_rows: drop` leaves them out." if others and usable else ""
        raise T2Error(f"{error}{more}{advice}") from error
    if repeated:
        raise T2Error(
            f"Expected each question of {source} once, got {len(repeated)} again, with the same answer: "
            f"{_counted(repeated)}. `unusable_rows: drop` keeps the first of each."
        )


def dropped_notes(dropped: list[str]) -> list[str]:
    """What a user should know of rows that were left out; nothing where none was."""
    if not dropped:
        return []
    return [f"{len(dropped)} unusable rows were left out, the first: {'; '.join(dropped[:SHOWN])}"]


def _same_answer(one: str, other: str, grader: Callable[[], Grader]) -> bool:
    if one == other:
        return True
    first, second = (grader().gold_class(answer) for answer in (one, other))
    return first is not None and first == second


def _counted(things: list[str]) -> str:
    """Three of them, and how many more."""
    more = "" if len(things) <= SHOWN else f" and {len(things) - SHOWN} more"
    return f"{'; '.join(things[:SHOWN])}{more}"
