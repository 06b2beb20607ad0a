"""Graders: which texts are one answer, and what abstains."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.errors import T2Error
from t2.grading.exact import ExactGrader, normalise
from t2.grading.grade import golds_of, vote_of
from t2.grading.numbers import read_number
from t2.grading.numeric import NumericGrader
from t2.pools.grader import PoolGrader
from t2.spec import Question
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths

NUMERIC = NumericGrader()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,200", 1200),
        ("$1200.00", 1200),
        ("2400/2", 1200),
        ("2,400 / 2 pens", 1200),
        ("1.2e3", 1200),
        ("+1200 dollars.", 1200),
        (" 1200,", 1200),
        ("0.5", Fraction(1, 2)),
        ("1/2", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("50e-2", Fraction(1, 2)),
        ("-7", -7),
        ("−7", -7),  # U+2212, what typeset answers use
        ("x = -7", -7),
        ("1/3", Fraction(1, 3)),
        ("0.3333333333", Fraction(3333333333, 10**10)),  # exact: not a third
        ("-0", 0),
        ("1 1/2", Fraction(3, 2)),
        ("٤٢", 42),
        ("התשובה היא 42", 42),
        ("答案是42个", 42),
        ("3 + 4 = 7", 7),
        ("x = 5", 5),
        ("58 km/h", 58),
        ("12-year-old", 12),
        ("negative 3", -3),
        ("minus five", -5),
        ("1,23,456", 123456),
        ("1.234.567", 1234567),
        ("42. That is 6 times 7.", 42),
        ("3 📝", 3),
    ],
)
def test_value_of_a_number(text: str, value: Fraction | int) -> None:
    assert read_number(text).value == value


@pytest.mark.parametrize("text", ["", "none", "3 or 4", "3, 4", "10-5", "1.2.3", "5/0", "0/0", "-", "1/2/3"])
def test_no_single_number_abstains(text: str) -> None:
    assert read_number(text).value is None


def test_sign_before_a_currency_is_kept() -> None:
    """Currency signs are ignored, but the minus in front of one was ignored with it: -$5 voted for 5."""
    assert read_number("-$5").value == -5


@pytest.mark.parametrize("text", ["9" * 4000 + "e999", "1" * 3000 + "." + "1" * 3000, "9" * 5000])
def test_runaway_digits_abstain(text: str) -> None:
    """Python refuses to print integers beyond 4300 digits, a looping model writes such numbers: the grader crashed."""
    assert NUMERIC.answer_class(f"#### {text}") is None


@given(st.fractions(max_denominator=10**6))
def test_every_fraction_is_its_own_class(value: Fraction) -> None:
    assert NUMERIC.answer_class(f"so\n#### {value}") == str(value)
    assert NUMERIC.answer_class(f"#### {value.numerator * 7}/{value.denominator * 7}") == str(value)


@given(st.text(max_size=60))
def test_no_text_crashes_a_grader(text: str) -> None:
    for grader in (NUMERIC, NumericGrader(require_marker=False), ExactGrader(), ExactGrader("")):
        for output in (text, f"#### {text}"):
            answer = grader.answer_class(output)
            assert answer is None or answer


def test_equal_values_are_one_class() -> None:
    outputs = ["#### 1,200", "#### $1200.00", "####1200", "#### 2400/2", "steps 7\n#### 1200\nThat is 3 words."]
    assert {NUMERIC.answer_class(text) for text in outputs} == {NUMERIC.gold_class("1200")}


def test_last_marker_counts() -> None:
    assert NUMERIC.answer_class("#### 4\nno, wait\n#### 5") == "5"
    assert NUMERIC.answer_class("####\n5\n6") == "5"
    assert NumericGrader("#").answer_class("12+7=19#19") == "19"


def test_missing_marker() -> None:
    assert NUMERIC.answer_class("It is 5.") is None
    assert NUMERIC.answer_class("#### ") is None
    loose = NumericGrader(require_marker=False)
    assert loose.answer_class("3 and 2 make 5.") == "5"
    assert loose.answer_class("3 and 2\n#### 6") == "6"
    assert loose.answer_class("no number") is None


def test_missing_marker_keeps_a_typeset_minus() -> None:
    """Without a marker the last number was found before U+2212 was read as a minus, so its sign was lost."""
    assert NumericGrader(require_marker=False).answer_class("It is −5.") == "-5"


def test_versions_tell_settings_apart() -> None:
    graders = [NUMERIC, NumericGrader("#"), NumericGrader(require_marker=False), ExactGrader(), ExactGrader("")]
    assert len({grader.version for grader in graders}) == len(graders)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "2π",
            "2 pi",
            "2x",
            "2 x",
            "x2",
            "√2",
            "\\sqrt{2}",
            "x^2",
            "(1,2)",
            "[1, 2]",
            "{1, 2}",
            "±5",
            "5!",
            "5?",
            "5+",
        ),
        *("2x = 10", "f(3) = 10", "> 5", "x < 5", "at least 5", "5 or 6", "5 (or 6)", "not 5", "7:30", "3 to 1", "3-5"),
        *("1000 (binary)", "5 (mod 7)", "negative10", "-40är", "- 5 apples", "Total - 5", "5万", "3 * 4", "3i", "46_m"),
        *(
            "74,399,14",
            "12,0000",
            "Step 2",
            "The first is 3. The second is 4.",
            "2^0.5",
            "10^99999",
            "1\x002",
            "1\u202e2",
        ),
        *("one two", "two or three", "several", "5M", "5B", "3 dozen", "-+5", "--5", "5--", "1 3/2", "(5 cm)"),
    ],
)
def test_a_reader_would_not_be_sure(text: str) -> None:
    assert NUMERIC.answer_class(f"#### {text}") is None
    assert NUMERIC.gold_class(text) is None


@pytest.mark.parametrize("text", ["Paris", " paris ", "PARIS.", "ｐａｒｉｓ", "Paris .", "pa\u0072is"])
def test_exact_normalisation(text: str) -> None:
    assert normalise(text) == "paris"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("10⁶", "106"), ("mW", "MW"), ("Co", "CO"), ("1½", "11/2"), ("x₁", "x1"), ("kHz", "KHz"), ("10①", "101")),
        *(("3.5", "35"), ("-5", "5"), ("a b", "ab")),
    ],
)
def test_different_texts_are_different_answers(one: str, other: str) -> None:
    """NFKC made 106 of 10⁶, and case folding made mW of MW: wrong answers were right."""
    assert ExactGrader().answer_class(f"#### {one}") != ExactGrader().answer_class(f"#### {other}")
    assert ExactGrader("").gold_class(one) != ExactGrader("").gold_class(other)


@given(st.text(max_size=40))
def test_a_normalised_text_stays_as_it_is(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_exact_grader() -> None:
    grader = ExactGrader()
    assert grader.answer_class("Think.\n#### New  York\nDone") == grader.gold_class("new york.") == "new york"
    assert grader.answer_class("New York") is None
    assert grader.answer_class("#### .") is None
    assert grader.answer_class("####") is None
    assert ExactGrader("").answer_class("Straße\n 5") == "strasse 5"
    assert grader.gold_class("3.5") == "3.5"
    assert grader.gold_class("3.5") != grader.gold_class("35")


@pytest.mark.parametrize("reason", ["length", "abort", "timeout", ""])
def test_unfinished_answers_abstain_even_if_they_parse(reason: str) -> None:
    assert vote_of(NUMERIC, "#### 5", "stop") == "5"
    assert vote_of(NUMERIC, "#### 5", reason) is None


def test_unreadable_gold_answer() -> None:
    """sqrt(2), x^2 and (1,2) were taken for 2, 2 and 12: samples were paid for and graded by the wrong answer."""
    answers = ["$1,200", "\\sqrt{2}", "x^2", "(1,2)", "about 3 or 4"]
    questions = [Question(f"q{index}", "?", answer, "k") for index, answer in enumerate(answers)]
    assert golds_of(NUMERIC, questions[:1]) == ["1200"]
    with pytest.raises(T2Error, match=r"got 1 of 2 that it cannot \('x\^2' for 'q2'\)\. Mend"):
        golds_of(NUMERIC, [questions[0], questions[2]])
    with pytest.raises(
        T2Error, match=r"got 4 of 5 that it cannot \(first: '.*sqrt\{2\}' for 'q1', .* '\(1,2\)' for 'q3'\)"
    ):
        golds_of(NUMERIC, questions)


def test_a_loop_of_spaces_takes_no_time() -> None:
    """The pattern of a number took cubic time on white space: 800 spaces took seconds, 8,000 most of an hour."""
    assert NumericGrader().answer_class(f"#### 7{' ' * 1_000_000}apples") == "7"


def test_the_id_of_a_question_without_samples_is_cut(tmp_path: Path) -> None:
    """Ids come from users' files and may be megabytes; the whole of one was in the message."""
    nothing = PoolGrader(ShardReader(PoolPaths(tmp_path)), NUMERIC)
    question = Question("i" * 1_000_000, "1+1", "2", "1 1")
    with pytest.raises(T2Error, match=r"got none for 1 of 1 \(first: 'i+\.\.\.\)\. Finish the pool") as caught:
        nothing.pool([question], [0])
    assert len(str(caught.value)) < 200
