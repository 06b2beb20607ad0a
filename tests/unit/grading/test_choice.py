"""Letters of multiple choice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.errors import T2Error
from t2.grading.choice import LETTERS, ChoiceGrader

GRADER = ChoiceGrader()


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *(
            ("B", "B"),
            ("(B).", "B"),
            ("#### b", "B"),
            ("#### J", "J"),
            ("#### A. copper", "A"),
            ("#### (A) copper", "A"),
        ),
        *(("#### B: vitamin C", "B"), ("#### The answer is (A)", "A"), ("#### Option A (copper)", "A")),
        *(
            ("The correct answer is option D.", "D"),
            ("**Final Answer: (B) copper**", "B"),
            ("The answer is B) tin", "B"),
        ),
        *(("\\boxed{A}, no, \\boxed{D}", "D"), ("\\boxed{\\textbf{(E)}\\ 12}", "E"), ("#### I think B", "B")),
        *(
            ("<think>\\boxed{A}</think>\\boxed{B}", "B"),
            ("#### A\nQ: next?\n#### B", "A"),
            ("#### A) 5\n\nNote: B", "A"),
        ),
        *(("#### A or B", None), ("#### A, B", None), ("#### Both A and B", None), ("#### A: B", None)),
        *(("#### not A", None), ("#### K", None), ("#### none", None), ("#### A copper wire", None)),
        *(("I think it is A", None), ("Answer: A or maybe B", None), ("The answer is C because of D.", None)),
        *(("#### neither B", None), ("", None), ("#### AB", None), ("#### vitamin-C", None)),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert GRADER.answer_class(text) == letter


@given(
    st.sampled_from(LETTERS), st.sampled_from(["{}", "({})", "**{}**", "{}.", "{}: a b", "Option {}", "$\\text{{{}}}$"])
)
def test_every_letter_in_every_dress(letter: str, dress: str) -> None:
    answer = dress.format(letter)
    assert GRADER.answer_class(f"so\n#### {answer}") == GRADER.gold_class(answer) == letter


def test_texts_of_choices() -> None:
    grader = ChoiceGrader(["yes", "no", "maybe"])
    assert [grader.answer_class(f"#### {text}") for text in ("Yes.", "no", "(C)", "D", "perhaps")] == [
        *("A", "B", "C", None, None)
    ]
    assert grader.gold_class("maybe") == "C"
    assert (
        len({grader.version, GRADER.version, ChoiceGrader(4).version, ChoiceGrader(["no", "yes", "maybe"]).version})
        == 4
    )


@pytest.mark.parametrize("choices", [1, 11, ["a"], ["same", "Same"]])
def test_bad_choices(choices: int | list[str]) -> None:
    with pytest.raises(T2Error, match=r"Expected (2 to 10 choices|choices that differ), got .* `choices`"):
        ChoiceGrader(choices)
