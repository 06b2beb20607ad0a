"""The golden files beside this one (spellings of numbers, places of answers, letters): every row comes out right."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from t2.grading.choice import ChoiceGrader
from t2.grading.numeric import NumericGrader

CASES = Path(__file__).parent / "cases"


def spellings() -> list[tuple[str, str, str]]:
    lines = (CASES / "spellings.tsv").read_text(encoding="utf-8").splitlines()
    return [(gold, answer, relation) for gold, answer, relation in (line.split("\t") for line in lines)]


def objects(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]


def grader_of(words: str) -> NumericGrader:
    """The grader that a row of extraction.jsonl names."""
    return {
        "marker ####": NumericGrader(),
        "last number, no marker": NumericGrader(require_marker=False),
        "marker \\boxed{": NumericGrader("\\boxed{"),
        "marker 'The answer is', case-insensitive, else last number": NumericGrader(
            "The answer is", require_marker=False
        ),
    }[words]


@pytest.mark.parametrize(("gold", "answer", "relation"), spellings())
def test_spelling_of_a_number(gold: str, answer: str, relation: str) -> None:
    """36 of 91 spellings were read right and 33 as another number, as 1,2 for 12 and 50% for 50."""
    grader = NumericGrader()
    assert grader.gold_class(gold) == str(Fraction(gold))
    read = grader.answer_class(f"so\n#### {answer}")
    assert (read == grader.gold_class(gold)) == (relation == "same"), read


@pytest.mark.parametrize("row", objects("extraction.jsonl"), ids=lambda row: row["name"])
def test_where_the_answer_stands(row: dict[str, str]) -> None:
    """Headings were read as answers, text after a box or marker lost it."""
    grade = grader_of(row["grader"]).grade(row["text"])
    assert grade.answer_class == row["reader_says"], grade.how


@pytest.mark.parametrize("row", objects("letters.jsonl"), ids=lambda row: row["text"])
def test_letter_of_a_choice(row: dict[str, str]) -> None:
    """(A), **A**, "A: copper" and a box were four wrong classes."""
    grader = ChoiceGrader()
    assert grader.grade(row["text"]).answer_class == row["reader_says"] == grader.gold_class(row["gold"])


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("3.333...", None),
        ("0.333…", None),
        ("3.3, 4.4", None),
        ("$12/hour", "12"),
        ("12/day", "12"),
        ("0.5 / person", "1/2"),
        ("12/x", None),
        ("12/hourglass", None),
    ],
)
def test_digits_that_go_on_are_no_number_and_a_rate_is_one(answer: str, read: str | None) -> None:
    """3.333... was 3333/1000, and $12/hour abstained."""
    assert NumericGrader().answer_class(f"#### {answer}") == read
