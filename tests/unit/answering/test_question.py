"""A question while it is answered: votes, the text that is shown, and what it has cost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2.answering.plan import QuestionPlan
from t2.answering.question import Answered, QuestionInProgress
from t2.grading.numeric import NumericGrader
from t2.policies.rules import GreedyAnswer, OneBatch
from t2.spec import FINISHED


def asked(n: int = 5, probe: int = 1) -> QuestionInProgress:
    return QuestionInProgress(QuestionPlan(OneBatch(n), n), NumericGrader(), 20, 7, probe)


def drawn(text: str, tokens: int = 10, finish_reason: str = FINISHED) -> Answered:
    return Answered(text, finish_reason, tokens)


def test_the_shortest_text_of_the_winning_class_is_shown() -> None:
    question = asked()
    assert question.next_round() == 5
    texts = ["7 #### 7", "a long way to #### 8", "so #### 8.0", "it is #### 8", "#### 9"]
    question.take([drawn(text) for text in texts])
    assert question.next_round() == 0
    answer = question.answer()
    assert (answer.answer, answer.text) == ("8", "so #### 8.0")
    assert answer.votes == {"8": 3, "7": 1, "9": 1}
    assert (answer.samples, answer.rounds, answer.abstained) == (5, (5,), 0)
    assert answer.tokens == 51
    assert answer.prompt_tokens == 20


def test_a_tie_goes_to_the_class_of_the_first_sample_and_equal_lengths_to_the_first_text() -> None:
    question = asked(4)
    question.take([drawn("x #### 2"), drawn("x #### 1"), drawn("y #### 1"), drawn("y #### 2")])
    answer = question.answer()
    assert (answer.answer, answer.text) == ("2", "x #### 2")


def test_a_truncated_answer_costs_and_does_not_vote() -> None:
    question = asked(3)
    question.take([drawn("#### 1", 64, "length"), drawn("who knows"), drawn("#### 2", 5)])
    answer = question.answer()
    assert (answer.answer, answer.votes, answer.abstained) == ("2", {"2": 1}, 2)
    assert answer.tokens == 1 + 64 + 10 + 5


def test_no_answer_at_all() -> None:
    question = asked(2)
    question.take([drawn("?"), drawn("??")])
    answer = question.answer()
    assert (answer.answer, answer.text, answer.confidence, answer.votes) == (None, None, None, {})


def test_cancelled_samples_are_paid_and_have_no_vote() -> None:
    question = asked(5)
    question.rounds.append(5)
    question.add(drawn("#### 1", 4))
    question.abort(4, 30)
    answer = question.answer()
    assert (answer.samples, answer.tokens, answer.abstained) == (5, 1 + 4 + 30, 4)


def test_a_greedy_plan_asks_for_one() -> None:
    question = QuestionInProgress(QuestionPlan(GreedyAnswer(), 7), NumericGrader(), 20, 7)
    assert question.is_greedy
    assert question.next_round() == 1
    question.take([drawn("#### 3")])
    assert question.next_round() == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["#### 1", "#### 2", "no"]), st.integers(1, 50), st.sampled_from(["stop", "length"])),
        min_size=1,
        max_size=12,
    )
)
def test_everything_is_counted_once(samples: list[tuple[str, int, str]]) -> None:
    question = asked(len(samples), probe=0)
    question.take([Answered(text, reason, tokens) for text, tokens, reason in samples])
    answer = question.answer()
    assert answer.tokens == sum(tokens for _, tokens, _ in samples)
    assert answer.samples == sum(answer.votes.values()) + answer.abstained == len(samples)
    voted = [text for text, _, reason in samples if reason == "stop" and text != "no"]
    assert (answer.text is None) == (not voted)
    if voted:
        assert answer.text in voted
        assert answer.votes[answer.answer or ""] == max(answer.votes.values())


def test_mean_tokens_of_nothing() -> None:
    assert asked().answer().mean_tokens == pytest.approx(0.0)
