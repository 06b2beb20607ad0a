"""Mathematical answers: one class for what is equal, whatever is compared first."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.errors import T2Error
from t2.grading.math import MathGrader
from t2.grading.math_form import canonical_form

ROOT = Path(__file__).resolve().parents[3]
GRADER = MathGrader()
EQUAL = (
    (r"\frac{1}{2}", "0.5", "50\\%", "1/2", r"\frac12", r"\dfrac{2}{4}", ".5", r"x = \frac{1}{2}"),
    (r"1\frac{1}{2}", "1.5", r"\frac{3}{2}", "1½", "3/2"),
    (r"2\sqrt{2}", r"\sqrt{8}", r"\sqrt 8", r"\frac{4}{\sqrt{2}}", r"2 \sqrt{2} \text{ cm}"),
    (r"\frac{\pi}{2}", r"0.5\pi", r"\pi/2"),
    (r"(x-1)(x+1)", "x^2-1", r"x^2 - 1", "-1+x^2", r"f(x) = x^2 - 1", r"y = x^2-1"),
    (r"\sin 2x", r"2\sin x\cos x"),
    ("x>2", r"(2,\infty)", r"x \in (2, \infty)", "2<x", "2x > 4"),
    ("1<x<2", "(1,2)"),
    (r"[1,2)", r"1 \le x < 2", r"\left[1, 2\right)"),
    (r"x<1 \text{ or } x>2", r"(-\infty,1)\cup(2,\infty)", r"(2,\infty) \cup (-\infty, 1)"),
    ("1,2", "2, 1", r"\{1,2\}", r"\{2, 1\}", r"1 \text{ and } 2", "x=1, x=2", r"x = 2 \text{ or } x = 1"),
    ("x=1,y=2", r"y = 2, x = 1"),
    (r"\pm 2", "2, -2"),
    (r"x^2+y^2=1", r"2x^2+2y^2=2", r"1 = x^2 + y^2"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{bmatrix} 1 \\ \frac{4}{2} \end{bmatrix}"),
    ("(1, 2, 3)", r"\left(1,2,3\right)"),
    (r"3+4i", "4i + 3"),
    (r"\text{Evelyn}", "Evelyn", r"\textbf{evelyn}", "Evelyn."),
    (r"\text{(C)}", "C", "(C)"),
    ("1,200", "1200", r"1{,}200", r"1,\!200", r"\$1200", r"1200\text{ km}"),
    ("2:3", "2 : 3"),
    ("5", "(5)", r"\left(5\right)", r"x=5", r"\{5\}", "3+2"),
    (r"\ln 4 - \ln 2", r"\ln 2"),
    (r"\emptyset", r"\varnothing"),
)
DIFFERENT = (
    *("3,5", "3.5", "35", "(3,5)", "[3,5]", "(5,3)", "{3,5,7}", "-5", "1/3", "0.3333", "2x", "x^2", r"2\pi", "6.28"),
    *(r"\sqrt{2}", "1.41421356", "x", "y", "X", r"\text{no}", r"\text{yes}", "A", "B", "2:5", r"\infty", r"-\infty"),
    *("x^2+y^2=1", "x^2+y^2=4", "x=1,y=2", "x=2,y=1", r"|x|", "x>2", r"x\ge 2", "(2,1)", "3i", "10^6", "106"),
)


def class_of(answer: str) -> str | None:
    return GRADER.answer_class(f"So $\\boxed{{{answer}}}$.")


@pytest.mark.parametrize("answers", EQUAL, ids=lambda answers: answers[0])
def test_one_answer(answers: tuple[str, ...]) -> None:
    classes = {answer: class_of(answer) for answer in answers}
    assert None not in classes.values(), classes
    assert len(set(classes.values())) == 1, classes
    assert [GRADER.gold_class(answer) for answer in answers] == list(classes.values())


def test_other_answers() -> None:
    classes = {answer: class_of(answer) for answer in (*DIFFERENT, *(answers[-1] for answers in EQUAL[:5]))}
    assert None not in classes.values(), classes
    same = [pair for pair in itertools.combinations(classes, 2) if classes[pair[0]] == classes[pair[1]]]
    assert not same


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "12_8",
            r"\cos 60^\circ",
            r"0.\overline{3}",
            r"1/0",
            r"\frac{",
            "",
            r"3 \mid 4",
            "1, 2, \\ldots",
            "?",
            "2(1)",
        ),
        *("about $5 to $6", r"the value of x is 2x+1", r"2x+1 \text{ where } x^{", r"7 \equiv 2 \pmod 5", "a" * 700),
    ],
)
def test_what_cannot_be_read_abstains_and_is_no_gold(answer: str) -> None:
    """math-verify takes 12_8 for 12, degrees for radians, and words for products of their letters."""
    assert class_of(answer) is None
    assert GRADER.gold_class(answer) is None


VERIFY_ALONE = {
    *(("1<x<2", "1,2"), ("1<x<2", "x=1,y=2"), ("(1,2)", "1,2"), ("(1,2)", "2, 1"), ("(1,2)", "x=1,y=2")),
    *(("(1,2)", "y = 2, x = 1"), ("1,2", "x=1,y=2"), ("1,2", "y = 2, x = 1"), ("2, 1", "x=1,y=2")),
    ("2, 1", "y = 2, x = 1"),
}
"""For `verify`, in one direction at least, an interval is the set of its ends, and values of x and y are a set."""
FORMS_ALONE = {(r"x<1 \text{ or } x>2", r"(-\infty,1)\cup(2,\infty)")}


def test_agrees_with_verify_but_where_that_is_no_equality() -> None:
    """`verify` follows the gold's format: "1<x<2" is (1,2), that is {1,2}, that is "x=1, y=2": no votes can use it."""
    from math_verify import parse, verify

    answers = [group[index] for group in EQUAL[:14] for index in (0, 1)]
    answers = [answer for answer in answers if "%" not in answer and "½" not in answer]
    parsed = {answer: parse(f"${answer}$") for answer in answers}
    verify_alone, forms_alone = set(), set()
    for one, other in itertools.combinations(answers, 2):
        theirs = verify(parsed[one], parsed[other]) or verify(parsed[other], parsed[one])
        if (class_of(one) == class_of(other)) != theirs:
            (verify_alone if theirs else forms_alone).add((one, other))
    assert (verify_alone, forms_alone) == (VERIFY_ALONE, FORMS_ALONE)


@pytest.mark.parametrize(("one", "other"), [("1/3", "0.333333"), ("x=1", "y=2")])
def test_pairs_that_verify_calls_equal_or_not(one: str, other: str) -> None:
    assert class_of(one) != class_of(other)


expressions = st.recursive(
    st.sampled_from(["x", "y", "1", "2", "3", r"\pi", r"\sqrt{2}"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: rf"\left({pair[0]} + {pair[1]}\right)"),
        st.tuples(inner, inner).map(lambda pair: rf"{{{pair[0]}}} \cdot {{{pair[1]}}}"),
        st.tuples(inner, inner).map(lambda pair: rf"\frac{{{pair[0]}}}{{{pair[1]} + 5}}"),
    ),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None)
@given(expressions, expressions)
def test_order_and_factors_do_not_count(one: str, other: str) -> None:
    """What is equal by algebra has one form: so equality is that of strings, transitive and free of order."""
    forms = {
        canonical_form(rf"({one}) + ({other})"),
        canonical_form(rf"({other}) + ({one})"),
        canonical_form(rf"\frac{{2 \cdot ({one}) + 2 \cdot ({other})}}{{2}}"),
    }
    assert len(forms) == 1
    assert None not in forms
    assert canonical_form(rf"({one}) + ({other}) + 1") not in forms


@given(st.fractions(max_denominator=10**6))
@settings(max_examples=50, deadline=None)
def test_every_fraction_is_its_own_class_however_it_is_read(value: object) -> None:
    assert class_of(str(value)) == str(value)


def test_a_tower_of_powers_is_killed_and_the_next_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from t2.grading import math

    monkeypatch.setattr(math, "_worker", lambda: math.Worker(math._canonical_form, "1", 2.0))
    math._form_of.cache_clear()
    grade = GRADER.grade(r"\boxed{9^{9^{9^{9}}}}")
    assert grade.answer_class is None
    assert grade.how in ("box: too slow", "box: too large")
    assert class_of(r"\sqrt{12}") == class_of(r"2\sqrt{3}") is not None
    math._form_of.cache_clear()


def test_how_it_was_reached() -> None:
    hows = {text: GRADER.grade(text).how for text in (r"\boxed{5}", r"\boxed{\sqrt 5}", r"#### \text{a few}", "so 5")}
    assert list(hows.values()) == ["box, number", "box, formula", "marker, words", "no marker"]


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(T2Error, match=r'Expected math-verify for the grader "math", got none\. Run: pip install'):
        MathGrader()


def test_naming_the_grader_loads_no_mathematics() -> None:
    """SymPy takes a second, and whoever grades numbers needs none of it."""
    heavy = ("sympy", "math_verify", "latex2sympy2_extended", "loky")
    code = (
        "import sys, t2.grading.given as g; g.GRADERS['math']().answer_class('#### 1/2');"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
