"""What a plan would have drawn of samples that were all drawn: walked by hand, by a plain loop, and its laws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from helpers.serving_heads import GRID, served
from hypothesis import given
from hypothesis import strategies as st

from t2.answering.plan import QuestionPlan
from t2.answering.planner import Planner
from t2.answering.question import Answered
from t2.errors import T2Error
from t2.policies.rules import ByTable, GreedyAnswer, OneBatch
from t2.policies.stoppers import PlanWithoutHead, StopByVotes
from t2.shadow.replay import ShadowRecord, replayed, shadow_record

ASC = Planner(served(StopByVotes(7, 0.9))[0]).plan(None)
PLANNED = Planner(served(PlanWithoutHead(7, 3.0, 0.5), greedy=False)[0]).plan(None)
NOW = datetime(2026, 11, 29, 12, 0, 0, 250_000, tzinfo=UTC)

answers = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 50)), min_size=1, max_size=12)


def of(drawn: Sequence[tuple[str | None, int]]) -> tuple[list[str | None], list[int]]:
    return [vote for vote, _ in drawn], [tokens for _, tokens in drawn]


def test_asc_by_hand() -> None:
    """Three equal votes are sure by 1 - 2^-4 = 0.94 > 0.9, two by 0.875: three, then one at a time."""
    assert isinstance(ASC.rule, ByTable)
    would = replayed(ASC, ["a", "a", "a", "b", "b"], [10, 30, 20, 5, 5])
    assert (would.rounds, would.tokens, would.critical_path, would.agrees) == ((3,), 60.0, 30.0, True)
    would = replayed(ASC, ["a", "b", "a", "a", "a", "a", "a"], [10, 30, 20, 5, 6, 7, 8])
    assert would.rounds[0] == 3
    assert would.samples == sum(would.rounds) > 3
    assert would.critical_path > 30


def test_the_vote_may_differ() -> None:
    would = replayed(ASC, ["a", "a", "a", "b", "b", "b", "b"], [1] * 7)
    assert would.agrees is False
    assert replayed(QuestionPlan(OneBatch(3), 3), ["a", "a", "b", "b", "b"], [1] * 5).agrees is False
    # Of a tie the class that was seen first wins, on both sides.
    assert replayed(QuestionPlan(OneBatch(1), 1), ["b", "a"], [1, 1]).agrees is True


def test_nobody_votes_on_both_sides_is_agreement_and_on_one_is_none() -> None:
    one = QuestionPlan(OneBatch(1), 1)
    assert replayed(one, [None, None], [1, 1]).agrees is True
    assert replayed(one, [None, "a"], [1, 1]).agrees is False
    assert replayed(one, [None, "a"], [1, 1]).confidence is None


def test_a_greedy_answer_agrees_with_nobody_knows_what() -> None:
    would = replayed(QuestionPlan(GreedyAnswer(), 1), ["a", "a", "b"], [10, 20, 60])
    assert (would.is_greedy, would.agrees, would.rounds) == (True, None, (1,))
    assert (would.tokens, would.critical_path) == (30.0, 30.0)


def test_a_plan_that_wants_more_than_was_drawn_is_cut() -> None:
    would = replayed(QuestionPlan(OneBatch(5), 5), ["a", "a"], [1, 2])
    assert (would.rounds, would.was_cut, would.agrees) == ((2,), True, True)
    would = replayed(ASC, ["a", "b", "c"], [1, 2, 3])  # it would go on, and all that there was has been used
    assert (would.samples, would.was_cut) == (3, True)
    assert not replayed(QuestionPlan(OneBatch(2), 2), ["a", "a"], [1, 2]).was_cut


def test_confidence_is_that_of_the_votes_it_saw() -> None:
    would = replayed(PLANNED, ["a"] * 7, [1] * 7)
    assert would.confidence == PLANNED.confidence(["a"] * would.samples)


@given(answers)
def test_a_rule_that_draws_all_agrees_and_saves_nothing(drawn: list[tuple[str | None, int]]) -> None:
    votes, tokens = of(drawn)
    would = replayed(QuestionPlan(OneBatch(len(votes)), len(votes)), votes, tokens)
    assert (would.rounds, would.agrees, would.was_cut) == ((len(votes),), True, False)
    assert (would.tokens, would.critical_path) == (sum(tokens), max(tokens))


@given(answers, st.sampled_from([ASC, PLANNED, QuestionPlan(OneBatch(3), 3)]), st.sampled_from([None, 1, 2]))
def test_the_walk_is_that_of_a_server(
    drawn: list[tuple[str | None, int]], plan: QuestionPlan, most_rounds: int | None
) -> None:
    """One round after the other, as whoever draws would ask the plan; a short pool cuts the last one."""
    plan = QuestionPlan(plan.rule, plan.most, plan.posterior, plan.last, most_rounds)
    votes, tokens = of(drawn)
    rounds: list[list[int]] = []
    used: list[int] = []
    wanted = plan.extra([], 0)
    while wanted and len(used) < len(votes):
        rounds.append(list(range(len(votes)))[len(used) : len(used) + wanted])
        used += rounds[-1]
        wanted = plan.extra([votes[i] for i in used], len(rounds)) if len(rounds[-1]) == wanted else wanted
    would = replayed(plan, votes, tokens)
    assert would.rounds == tuple(map(len, rounds))
    assert would.tokens == sum(tokens[i] for i in used)
    assert would.critical_path == sum(max(tokens[i] for i in one) for one in rounds)
    assert would.was_cut == bool(wanted)
    assert would.samples <= min(len(votes), max(GRID))


@given(answers)
def test_no_order_of_the_unused_samples_changes_what_is_drawn(drawn: list[tuple[str | None, int]]) -> None:
    votes, tokens = of(drawn)
    would = replayed(ASC, votes, tokens)
    used = would.samples
    other = replayed(ASC, votes[:used] + votes[used:][::-1], tokens[:used] + tokens[used:][::-1])
    assert (other.rounds, other.tokens, other.confidence) == (would.rounds, would.tokens, would.confidence)
    counts = Counter(vote for vote in votes if vote is not None).most_common()
    if len(counts) == 1 or (counts and counts[0][1] > counts[1][1]):  # no tie: the full vote does not change either
        assert other.agrees == would.agrees


def record(**changes: object) -> ShadowRecord:
    drawn = [Answered("so #### 4", "stop", 10), Answered("#### 4", "stop", 6), Answered("#### 5", "length", 64)]
    given = {"time": NOW, "request_id": "chat-1", "prompt_tokens": 12, **changes}
    return shadow_record(QuestionPlan(OneBatch(2), 2), "FixedN(2)", drawn, ["4", "4", None], **given)  # type: ignore[arg-type]


def test_a_record_holds_numbers_and_no_text_unless_asked() -> None:
    line = record(other_tokens=1).as_json()
    assert line == {
        "format": "t2-shadow",
        "format_version": 1,
        "time": "2026-11-29T12:00:00.250+00:00",
        "request_id": "chat-1",
        "policy": "FixedN(2)",
        "drawn": 3,
        "rounds": [2],
        "is_greedy": False,
        "was_cut": False,
        "agrees": True,
        "confidence": None,
        "drawn_tokens": 80,
        "tokens": 17.0,
        "drawn_path": 64,
        "path": 10.0,
        "prompt_tokens": 12,
    }
    told = record(prompt="What is 2+2?").as_json()["text"]
    assert told == {
        "prompt": "What is 2+2?",
        "answers": ["4", "4", None],
        "texts": ["so #### 4", "#### 4", "#### 5"],
    }


@pytest.mark.parametrize("changes", [{}, {"prompt": "ü \ud800"}, {"fell_back": True}])
def test_a_record_comes_back(changes: dict[str, object]) -> None:
    written = record(**changes)
    assert ShadowRecord.from_json(written.as_json(), "here") == written


@pytest.mark.parametrize(
    "wrong",
    [
        {"rounds": [4]},
        {"rounds": []},
        {"rounds": [2, 0]},
        {"drawn": 0},
        {"tokens": float("nan")},
        {"tokens": -1.0},
        {"confidence": 1.5},
        {"agrees": None},
    ],
)
def test_numbers_that_no_request_can_have_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(T2Error, match="Expected a request in shadow mode that can be"):
        ShadowRecord.from_json(record().as_json() | wrong, "here")


def test_no_samples_are_no_question() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        replayed(ASC, [], [])
