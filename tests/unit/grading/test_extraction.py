"""Where the final answer stands in an output."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.grading.choice import ChoiceGrader
from t2.grading.exact import ExactGrader
from t2.grading.extraction import BOX, bare, final_answer
from t2.grading.math import MathGrader
from t2.grading.numeric import NumericGrader
from t2.spec import Grader


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#### 42", "42"),
        ("#### 42\n#### Explanation\nSix times seven.", "42"),
        ("#### 4\nno, wait\n#### 5", "5"),
        ("####\n5\n6", "5"),
        ("##### 5", "5"),
        ("#### **Final Answer:** 42", "42"),
        ("#### Answer\n\n42", "42"),
        ("#### Step 1\n2+3=5\n\\boxed{40}", "40"),
        ("\\boxed{7} so\n#### 42", "42"),
        ("#### $\\boxed{42}$ apples", "42"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{50}\\%", "50%"),
        ("\\fbox{5}", "5"),
        ("<think>#### 1</think>#### 2", "2"),
        ("#### 1</think>so\n#### 2", "2"),  # the block began in the prompt
        ("<think>a<think>b</think>\n#### 2", "2"),
        ("<THINK>x</THINK>#### 2", "2"),
        ("#### 2<|im_end|>\n<|im_start|>user\n#### 3", "2"),
        ("<|im_start|>assistant\n#### 2", "2"),
        ("#### 5<think>\n#### 6", "5"),
        ("#### 2</s>#### 3", "2"),
        ("Question: 3+4?\n#### 7", "7"),
        ("#### 7\nQuestion: 1+1?\n#### 2", "7"),
        ("#### 7\n\n**Problem 2:** 1+1?\n#### 2", "7"),
        ("####\u200b 4\u200b2\ufeff", "42"),
        ("#### 42\r\nbye", "42"),
    ],
)
def test_answers(text: str, answer: str) -> None:
    assert final_answer(text, "####").answer == answer


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", "no marker"),
        ("It is 5.", "no marker"),
        ("####", "nothing after the marker"),
        ("#### 4\nno, wait\n####", "nothing after the marker"),
        ("#### Step 1\nx\n#### Step 2\ny", "headings alone"),
        ("<think>\n#### 5", "think block without an end"),
        ("so \\boxed{42", "box without an end"),
        ("\\boxed{7}, no, \\boxed{42", "box without an end"),
        ("\\boxed{ }", "empty box"),
        ("-\\boxed{5}", "sign before the box"),
        ("#### 5</think>", "no marker"),
    ],
)
def test_no_answer_and_why(text: str, how: str) -> None:
    found = final_answer(text, "####")
    assert (found.answer, found.how) == (None, how)


def test_a_marker_of_words_in_any_case_and_spacing() -> None:
    assert final_answer("THE  answer Is 42.", "The answer is").answer == "42"
    assert final_answer("#### 42", "The answer is").how == "no marker"
    assert final_answer("#### 42 or \\boxed{7}", BOX).answer == "7"
    assert final_answer("so the final answer is: **B**\nbye", "####", phrase=True).answer == "B"
    assert final_answer("the answer is 5\n#### 6", "####", phrase=True).answer == "6"


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        *(("**a**", "a"), ("$a$", "a"), ("`a`", "a"), ("\\(a\\)", "a"), ('"a".', "a"), (" a. ", "a"), ("...", "...")),
        *(("$5 and $6", "$5 and $6"), ("2**3**4", "2**3**4"), ("**a** and **b**", "a and b"), ("5%", "5%")),
    ],
)
def test_what_is_put_around_an_answer(text: str, inner: str) -> None:
    assert bare(text) == inner


@given(st.text(max_size=40))
def test_nothing_is_left_to_unwrap(text: str) -> None:
    assert bare(bare(text)) == bare(text)


GRADERS = [NumericGrader(), NumericGrader(require_marker=False), ExactGrader(), MathGrader(), ChoiceGrader()]
SIGNS = [
    "#### ",
    "\\boxed{",
    "}",
    "<think>",
    "</think>",
    "The answer is ",
    "\n",
    "42",
    "A",
    "\\frac",
    "{",
    "$",
    "**",
    "Q: a\n",
]


@given(st.lists(st.sampled_from(SIGNS), max_size=12).map("".join))
def test_no_arrangement_of_signs_crashes_and_every_grade_says_how(text: str) -> None:
    for grader in [grader for grader in GRADERS if not isinstance(grader, MathGrader)]:
        grade = grader.grade(text)
        assert grade.how
        assert grade.answer_class == grader.answer_class(text)


@pytest.mark.parametrize("grader", GRADERS, ids=lambda grader: grader.version)
@pytest.mark.parametrize(
    "unit",
    [
        *("9", " ", "#", "#### ", "\\boxed{", "{", "<think>", "</think>", "</s>", "**a", "1,2 ", "1 ", "\x00", "("),
        *("\n", "\u202e21", "\nQ: a", "the answer is ", "\\frac{1}{", "$"),
    ],
    ids=repr,
)
def test_long_outputs_take_no_time(grader: Grader, unit: str) -> None:
    """Patterns that look for an end from every start take minutes on what a looping model writes."""
    text = unit * (300_000 // len(unit))
    for output in (f"#### {text}", f"#### 5\n{text}", f"\\boxed{{{text}}}"):
        start = time.perf_counter()
        grader.grade(output)
        assert time.perf_counter() - start < 5, output[:20]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 1\x002", None),  # what a control character hides, nobody sees
        ("#### 42\x07", None),
        ("#### \u202e21\u202c", None),  # shown as 12
        ("#### \u200f42\u200f", "42"),
        ("#### \u2067٤٢\u2069", "42"),
        ("#### ٤٢٫٥", "85/2"),
        ("#### ۱۲۰۰", "1200"),
        ("#### ٥٠٪", "1/2"),
        ("התשובה:\n#### 42 שקלים", "42"),
    ],
)
def test_control_characters_and_right_to_left_text(text: str, number: str | None) -> None:
    assert NumericGrader().answer_class(text) == number
