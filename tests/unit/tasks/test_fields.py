"""From a row to a question: where answers stand, choices and their letters, keys, and rows that are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.json_lines import object_of
from t2.spec import Question
from t2.splits import SplitFractions
from t2.tasks.checked_rows import CheckedRows, RowRules, checked_questions
from t2.tasks.fields import LETTERS, AnswerField, Extract, Fields, question_of
from t2.tasks.keys import Dedup, near_across_splits, near_key

COLUMNS = ["right", "wrong 1", "wrong 2", "wrong 3"]


def made(row: dict[str, Any], fields: Fields, number: int = 1, dedup: Dedup = "exact") -> Question:
    return question_of(object_of(row, f"rows:{number}", number), fields, dedup)


@pytest.mark.parametrize(
    ("extract", "whole", "answer"),
    [
        (Extract(), " 7 ", " 7 "),
        (Extract(after="####"), "#### is no mark. 2+1=3\n#### 3 ", "3"),
        (Extract(after="####"), "3", None),
        (Extract(after="####"), "3 ####  ", None),
        (Extract(boxed=True), r"\boxed{1}, so \boxed{ \frac{1}{2} }.", r"\frac{1}{2}"),
        (Extract(boxed=True), r"$\fbox{7}$", "7"),
        (Extract(boxed=True), r"\boxed {7}", "7"),
        (Extract(boxed=True), r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (Extract(boxed=True), r"\boxed{\boxed{3}}", "3"),
        (Extract(boxed=True), r"\boxed{1} and \boxed{2", None),
        (Extract(boxed=True), "no box", None),
        (Extract(boxed=True), r"\boxed{20}\%", "20%"),  # read as an answer of the LLM is, or it could never be right
        (Extract(boxed=True), r"-\boxed{5}", None),
        (Extract(after="So", boxed=True), r"\boxed{1} So \boxed{2} it is", "2"),
        (Extract(pattern=r"is (\d+)"), "It is 3, no, it is 4.", "4"),
        (Extract(pattern=r"\d+"), "3 or 4", "4"),
        (Extract(pattern=r"\d+"), "none", None),
        (Extract(pattern=r"a(b)?c"), "ac", None),
    ],
)
def test_where_an_answer_stands(extract: Extract, whole: str, answer: str | None) -> None:
    assert extract.answer_in(whole) == answer


@given(
    st.recursive(
        st.sampled_from(["1", r"\{", " ", r"\\"]), lambda inner: st.lists(inner).map("".join).map("{{{}}}".format)
    )
)
def test_a_box_ends_where_its_braces_do(content: str) -> None:
    assert Extract(boxed=True).answer_in(rf"\boxed{{0}} x \boxed{{a{content}b}} y}}") == f"a{content}b"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Extract(boxed=True, pattern="x"), "at most one of `boxed`, `pattern`, `index_from` and `by_text`"),
        (lambda: Extract(index_from=0, by_text=True), "at most one of"),
        (lambda: Extract(pattern="(x"), r"a regular expression as `pattern`, got '\(x'"),
        (lambda: Fields(answer=AnswerField(index_from=0)), "Expected `choices` beside `index_from`"),
        (lambda: Fields(answer=AnswerField(by_text=True)), "Expected `choices` beside `index_from` or `by_text`"),
    ],
)
def test_what_does_not_go_together(make: Any, message: str) -> None:
    with pytest.raises(T2Error, match=message):
        make()


MMLU = Fields(None, answer=AnswerField(index_from=0), choices="choices")


def test_choices_stand_below_the_question_and_are_part_of_it() -> None:
    """MMLU asks "Which is true?" with several lists of choices."""
    one = made({"question": "Which is true?\n", "choices": ["this", "that "], "answer": 1}, MMLU)
    other = made({"question": "Which is true?\n", "choices": ["this", "it"], "answer": 1}, MMLU)
    assert one.text == "Which is true?\nA. this\nB. that"
    assert one.answer == other.answer == "B"
    assert one.id != other.id
    assert one.dedup_key != other.dedup_key


def test_the_same_choices_in_another_order_ask_the_same() -> None:
    one = made({"question": "Which?", "choices": ["this", "that"], "answer": 1}, MMLU)
    other = made({"question": "Which?", "choices": ["that", "this"], "answer": 0}, MMLU)
    assert (one.answer, other.answer) == ("B", "A")
    assert one.dedup_key == other.dedup_key
    assert one.id != other.id


@pytest.mark.parametrize(
    ("where", "value", "letter"),
    [
        (AnswerField(index_from=0), 2, "C"),
        (AnswerField(index_from=0), 2.0, "C"),
        (AnswerField(index_from=1), "1", "A"),
        (AnswerField(by_text=True), "y", "B"),
        (AnswerField(), "c", "C"),
        (AnswerField(), " B ", "B"),
        (AnswerField(pattern=r"\((\w)\)"), "(A) because", "A"),
    ],
)
def test_letters(where: AnswerField, value: object, letter: str) -> None:
    row = {"question": "Which?", "choices": ["x", "y", "z"], "answer": value}
    assert made(row, Fields(None, answer=where, choices="choices")).answer == letter


@pytest.mark.parametrize(
    ("where", "row", "message"),
    [
        (
            AnswerField(index_from=0),
            {"answer": 3},
            r"one of 3 choices as 'answer', got the number '3' \(counted from 0\)",
        ),
        (AnswerField(index_from=1), {"answer": 0}, r"the number '0' \(counted from 1\)"),
        (AnswerField(index_from=0), {"answer": 1.5}, r"the number '1\.5'"),
        (AnswerField(index_from=0), {"answer": "B"}, r"the number 'B'"),
        (AnswerField(), {"answer": "D"}, r"'D', which is no letter up to C, at rows:1"),
        (AnswerField(), {"answer": "x"}, r"'x', which is no letter up to C"),
        (AnswerField(by_text=True), {"answer": "w"}, r"'w', which is none of them, at rows:1"),
        (AnswerField(), {"choices": ["x"]}, r"Expected 2 to 26 choices, got 1 at rows:1"),
        (AnswerField(), {"choices": [str(i) for i in range(27)]}, r"Expected 2 to 26 choices, got 27"),
        (AnswerField(), {"choices": "x"}, r"Expected a list of texts as `choices`, got 'x' in rows:1"),
        (AnswerField(), {"choices": ["x", None]}, r"Expected a text as `choices`, got nothing in rows:1"),
        (AnswerField(), {"choices": ["x", " "]}, r"Expected texts as `choices`, got an empty one in rows:1"),
        (AnswerField(), {"choices": ["x", ["y"]]}, r"Expected a text as `choices`, got \['y'\]"),
        (AnswerField(), {"choices": ["x", "\ud800"]}, "half a surrogate pair in `choices`"),
        (AnswerField(), {"choices": ["x ", "x", "y"]}, r"Expected one right choice, got 'x' more than once at rows:1"),
    ],
)
def test_choices_that_are_none(where: AnswerField, row: dict[str, object], message: str) -> None:
    whole = {"question": "Which?", "choices": ["x", "y", "z"], "answer": "A", **row}
    with pytest.raises(T2Error, match=message):
        made(whole, Fields(None, answer=where, choices="choices"))


choices_of_a_row = st.lists(
    st.text("abc xyz", min_size=1).filter(str.strip), min_size=4, max_size=4, unique_by=str.strip
)


@given(choices_of_a_row, st.permutations(range(1, 4)))
def test_the_order_of_wrong_columns_does_not_matter(choices: list[str], order: list[int]) -> None:
    fields = Fields(None, answer=AnswerField("right"), choices=COLUMNS)
    one = dict(zip(COLUMNS, choices, strict=True))
    other = dict(zip(COLUMNS, [choices[0], *(choices[i] for i in order)], strict=True))
    first, second = (made({"question": "Which?", **row}, fields) for row in (one, other))
    assert first == second
    assert f"\n{first.answer}. {choices[0].strip()}" in first.text


@given(choices_of_a_row)
def test_another_right_column_changes_nothing_but_the_letter(choices: list[str]) -> None:
    """What is shown must not tell which column is right."""
    row = {"question": "Which?", **dict(zip(COLUMNS, choices, strict=True))}
    asked = [made(row, Fields(None, answer=AnswerField(name), choices=COLUMNS)) for name in COLUMNS]
    assert len({question.text for question in asked}) == 1
    assert {question.answer for question in asked} == set("ABCD")


def test_letters_of_columns_are_evenly_spread() -> None:
    fields = Fields(None, answer=AnswerField("right"), choices=COLUMNS)
    rows = [{"question": f"Which, {i}?", **{name: f"{name}" for name in COLUMNS}} for i in range(400)]
    counts = Counter(made(row, fields).answer for row in rows)
    assert all(60 < counts[letter] < 140 for letter in LETTERS[:4])


def test_several_columns_with_a_letter_stay_in_their_order() -> None:
    fields = Fields(None, choices=["A", "B"])
    assert made({"question": "Which?", "A": "x", "B": "y", "answer": "B"}, fields).text == "Which?\nA. x\nB. y"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "Expected a text as `answer`, got True"),
        (float("nan"), "Expected a text as `answer`, got nan"),
        (float("inf"), "Expected a text as `answer`, got inf"),
        (b"7", "Expected a text as `answer`, got b'7'"),
        ([7], r"Expected a text as `answer`, got \['7'\]"),
        ({"x": 7}, "Expected a text as `answer`, got"),
        ("", "Expected the field 'answer', got ''"),
        (None, "Expected the field 'answer', got nothing"),
        ("\udc00", "half a surrogate pair in `answer` of rows:1"),
    ],
)
def test_values_of_python_that_are_no_text(value: object, message: str) -> None:
    """Parquet has types that JSON has not."""
    with pytest.raises(T2Error, match=message):
        made({"question": "How many?", "answer": value}, Fields(None))


@pytest.mark.parametrize(
    ("value", "text"), [(7, "7"), (27.0, "27.0"), (1e22, "1e+22"), (2**70, str(2**70)), ("007", "007")]
)
def test_numbers_of_python(value: object, text: str) -> None:
    assert made({"question": "How many?", "answer": value}, Fields(None)).answer == text


def checked(rows: Iterable[tuple[str, str]], **rules: Any) -> CheckedRows:
    """Rows of question and answer, as a data set without ids."""
    objects = [object_of({"question": q, "answer": a}, f"rows:{i}", i) for i, (q, a) in enumerate(rows, 1)]
    return checked_questions(
        objects, lambda row: question_of(row, Fields(None)), NumericGrader, RowRules("rows", **rules)
    )


def test_repeated_rows_are_refused_or_dropped() -> None:
    rows = [("1+1?", "2"), ("2+2?", "4"), ("1+1?", "2.0"), ("1+1? ", "2"), ("2+2?", "4"), ("2+2?", "4")]
    with pytest.raises(
        T2Error, match=r"each question of rows once, got 4 again, .*'1\+1\?' in rows 1 and 3; .* and 1 more"
    ):
        checked(rows)
    result = checked(rows, unusable="drop")
    assert [question.text for question in result.questions] == ["1+1?", "2+2?"]
    assert len(result.dropped) == 4


@pytest.mark.parametrize("unusable", ["refuse", "drop"])
def test_contradicting_rows_are_always_refused(unusable: str) -> None:
    rows = [("1+1?", "2"), ("2+2?", "4"), ("1+1?", "3"), ("3+3?", "6"), ("1+1?", "5")]
    with pytest.raises(
        T2Error, match=r"got several to 2: '1\+1\?' in rows 1 and 3 \('2', '3'\); '1\+1\?' in rows 1 and 5"
    ):
        checked(rows, unusable=unusable)


def test_case_makes_other_questions() -> None:
    assert len(checked([("How many W is 1 mW?", "0.001"), ("How many W is 1 MW?", "1000000")]).questions) == 2


def test_unusable_rows_are_counted() -> None:
    rows = [("1+1?", "2"), ("", "3"), ("2+2?", ""), ("", ""), ("3+3?", "6")]
    with pytest.raises(
        T2Error, match=r"field 'question', got '' at rows:2\..* 2 more rows cannot be used, the next: 3, 4"
    ):
        checked(rows)
    result = checked(rows, unusable="drop")
    assert [question.text for question in result.questions] == ["1+1?", "3+3?"]
    assert len(result.dropped) == 3
    with pytest.raises(T2Error, match="Expected questions in rows, got none"):
        checked(rows[1:4], unusable="drop")
    with pytest.raises(T2Error, match="Expected questions in rows, got none"):
        checked([])


rows_of_few_texts = st.lists(st.tuples(st.sampled_from(["", "a?", "b?", "c? ", "c?", "d?"]), st.just("1")), min_size=1)


@given(rows_of_few_texts, st.integers(1, 6), st.integers(0, 6))
def test_a_smaller_limit_gives_a_prefix(rows: list[tuple[str, str]], limit: int, more: int) -> None:
    rows = [("first?", "1"), *rows]
    few = checked(rows, unusable="drop", limit=limit).questions
    assert checked(rows, unusable="drop", limit=limit + more).questions[: len(few)] == few
    assert len(few) <= limit
    assert len({question.id for question in few}) == len(few)


def test_near_keys() -> None:
    assert near_key("Ana has 3  pens.") == near_key("ana has 1,200.50 pens.") == "ana has # pens."
    assert near_key("Ana has 3 pens.") != near_key("Bob has 3 pens.")
    row = {"question": "Ana has 3 pens", "answer": "3"}
    assert made(row, Fields(None)).dedup_key == "ana has 3 pens"
    assert made(row, Fields(None), dedup="numbers").dedup_key == "ana has # pens"
    assert made({**row, "dedup_key": "own"}, Fields(None), dedup="numbers").dedup_key == "own"


def test_near_questions_of_other_splits_are_counted() -> None:
    rows = [{"question": f"{i} pens cost {i} cents?", "answer": "1"} for i in range(40)]
    rows += [{"question": "How many hats?", "answer": "1"}]
    exact = [made(row, Fields(None)) for row in rows]
    together = [made(row, Fields(None), dedup="numbers") for row in rows]
    assert near_across_splits(exact, SplitFractions()) == 40
    assert near_across_splits(together, SplitFractions()) == 0
