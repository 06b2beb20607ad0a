"""Each sign on both sides of its threshold, and intervals of few questions that do not claim to know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.graded_pools import any_pools, graded_pool
from helpers.seeds import shifted
from hypothesis import given
from torch import Tensor

from t2.grading.graded import GradedPool
from t2.pools.load import load_pool
from t2.stats import warnings
from t2.stats.warnings import num_at_one, pool_warnings, share_truncated, share_unread, voting_gain
from t2.voting import ABSTAINED

POOLS = Path(__file__).resolve().parents[3] / "assets" / "pools"
RISING = [0, 1, 0, 2, 0, 3, 0, 4, 0, 5]
"""Half of the votes, and no rival: voting finds it, one sample does so half the time."""


def pool_of(num: int, votes: list[int] = RISING, **changed: Any) -> GradedPool:
    return graded_pool([votes] * num, **changed)


def warned(pool: GradedPool) -> str:
    return "\n".join(pool_warnings(pool, eps=0.02))


def first(num: int, of: int, width: int = 10) -> Tensor:
    """True for so many samples of all, question by question."""
    return (torch.arange(of * width) < num).reshape(of, width)


@pytest.mark.parametrize(("num", "is_said"), [(10, False), (11, True)])
def test_truncation_beyond_a_twentieth(num: int, is_said: bool) -> None:
    truncated_QM = first(num, 20)
    pool = pool_of(20)
    pool = replace(pool, truncated_QM=truncated_QM, vote_QM=pool.vote_QM.masked_fill(truncated_QM, ABSTAINED))
    assert share_truncated(pool) == num / 200
    assert ("5.5% of the samples are truncated (more than 5%)" in warned(pool)) == is_said
    assert "truncated" in warned(pool) or not is_said
    assert "reads no answer" not in warned(pool)  # a truncated sample is not the grader's fault


@pytest.mark.parametrize(("num", "is_said"), [(36, False), (37, True)])
def test_answers_that_are_not_read_beyond_a_fifth_of_the_finished(num: int, is_said: bool) -> None:
    pool = pool_of(20)
    truncated_QM = first(200, 20) & (torch.arange(10) == 9)  # the last sample of each
    unread_QM = first(num, 20, width=9)
    unread_QM = torch.cat([unread_QM, torch.ones(20, 1, dtype=torch.bool)], 1)
    pool = replace(pool, truncated_QM=truncated_QM, vote_QM=pool.vote_QM.masked_fill(unread_QM, ABSTAINED))
    assert share_unread(pool) == num / 180
    assert ("The grader reads no answer in 20.6% of the finished samples (more than 20%)" in warned(pool)) == is_said


@pytest.mark.parametrize(("num", "is_said"), [(18, False), (19, True)])
def test_one_sample_is_enough_beyond_nine_tenths(num: int, is_said: bool) -> None:
    pool = graded_pool([[0] * 10] * (num - 4) + [[1] * 10] * 4 + [RISING] * (20 - num))  # easy, hopeless, rising
    assert num_at_one(pool, 0.02) == num
    assert ("N* is 1 for 19 of 20 questions (more than 90%)" in warned(pool)) == is_said


def test_few_samples_say_nothing_about_n_star() -> None:
    assert num_at_one(pool_of(20, [0] * 5), 0.02) is None
    assert num_at_one(pool_of(20, [0] * 6), 0.02) == 20


@pytest.mark.parametrize(
    ("num", "wins", "said"),
    [
        (400, 0, "gains +0.0 points [-0.7, +0.7] over the greedy answer: less than 1 point, surely. A budget head is"),
        (60, 0, "over the greedy answer on 60 questions, too few to say that it gains nothing"),
        (300, 60, ""),
        (60, 1, ""),
    ],
)
def test_a_gain_over_greedy(num: int, wins: int, said: str) -> None:
    greedy_Q = torch.arange(num) >= wins  # the vote is right everywhere
    text = warned(pool_of(num, greedy_right_Q=greedy_Q))
    assert said in text
    assert ("greedy" in text) == bool(said)


@pytest.mark.parametrize("least", [0.5, 0.9, 1.5])
def test_the_interval_decides_what_is_sure(monkeypatch: pytest.MonkeyPatch, least: float) -> None:
    gain = voting_gain(pool_of(300, greedy_right_Q=torch.ones(300, dtype=torch.bool)))
    assert gain is not None
    monkeypatch.setattr(warnings, "LEAST_GAIN", least)
    assert gain.is_nothing == (gain.points.high < least)
    assert gain.is_nothing != gain.is_unknown


def test_sixteen_questions_do_not_know_that_voting_gains_nothing() -> None:
    """A preview of 16 said +0.0 points, and the user gave up; the truth was +6.3."""
    gain = voting_gain(pool_of(16, greedy_right_Q=torch.ones(16, dtype=torch.bool)))
    assert gain is not None
    assert gain.points.value == 0
    assert gain.points.low < -6.3 < 6.3 < gain.points.high


@pytest.mark.statistical
@pytest.mark.parametrize(("wins", "losses"), [(0.10, 0.04), (0.02, 0.01), (0.3, 0.05)])
def test_intervals_of_few_questions_hold_the_truth(wins: float, losses: float) -> None:
    """95% of them should; without the two further questions not half of them do where differences are rare."""
    generator = torch.Generator().manual_seed(shifted(3))
    held = 0
    for _ in range(200):
        kind_Q = torch.multinomial(torch.tensor([1 - wins - losses, wins, losses]), 16, True, generator=generator)
        votes = [[1, 1] if kind == 2 else [0, 0] for kind in kind_Q.tolist()]
        gain = voting_gain(graded_pool(votes, greedy_right_Q=kind_Q != 1))
        assert gain is not None
        held += gain.points.low <= 100 * (wins - losses) <= gain.points.high
    assert held >= 178  # 190 expected at 95%, standard deviation 3


def test_without_a_greedy_answer_there_is_nothing_to_gain_over() -> None:
    none = pool_of(5, greedy_present_Q=torch.zeros(5, dtype=torch.bool))
    assert voting_gain(none) is None
    assert voting_gain(pool_of(5, [0])) is None
    some = pool_of(5, greedy_present_Q=torch.arange(5) < 3)
    assert (gain := voting_gain(some)) is not None
    assert gain.num_questions == 3


@given(any_pools())
def test_any_pool_is_looked_at(pool: GradedPool) -> None:
    for sentence in pool_warnings(pool, eps=0.02):
        assert sentence.endswith(".")
        assert "nan" not in sentence
        assert "-0.0 " not in sentence


@pytest.mark.parametrize(("num", "is_said"), [(100, True), (101, False)])
def test_of_voting_nothing_is_said_where_hardly_anything_votes(num: int, is_said: bool) -> None:
    """A grader that reads nothing made a budget head "the wrong tool", on the best of pools."""
    pool = pool_of(20, [0] * 10)
    text = warned(replace(pool, vote_QM=pool.vote_QM.masked_fill(first(num, 20), ABSTAINED)))
    assert "reads no answer" in text
    assert ("N* is 1" in text) == is_said


def test_a_pool_that_is_worth_a_head_is_not_warned_of() -> None:
    assert warned(load_pool(POOLS / "qwen2.5-coder-1.5b_math-steps", "numeric").pool) == ""
