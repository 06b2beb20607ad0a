"""Majority with ties to the first sample, and its tensor form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.voting import ABSENT, ABSTAINED, majority, one_hot_votes, running_leaders


@pytest.mark.parametrize(
    ("votes", "winner"),
    [
        (["a"], "a"),
        (["b", "a", "a"], "a"),
        (["b", "a", "a", "b"], "b"),  # a tie goes to the lowest sample index
        ([None, "b", "a"], "b"),
        ([None, None], None),
        ([], None),
        ([None, 0, None], 0),
    ],
)
def test_majority(votes: list[str | None], winner: str | None) -> None:
    assert majority(votes) == winner


def test_one_hot_ignores_abstentions_and_padding() -> None:
    one_hot = one_hot_votes(torch.tensor([[0, 2, ABSTAINED, ABSENT]]))
    assert one_hot.tolist() == [[[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]]
    assert one_hot_votes(torch.tensor([[ABSTAINED, ABSENT]])).shape == (1, 2, 1)


def test_leaders_of_a_hand_made_order() -> None:
    leader, first, second = running_leaders(torch.tensor([[ABSTAINED, 1, 0, 0, 1, 2, 2, 2]]))
    assert leader.tolist() == [[ABSTAINED, 1, 1, 0, 1, 1, 1, 2]]
    assert first.tolist() == [[0, 1, 1, 2, 2, 2, 2, 3]]
    assert second.tolist() == [[0, 0, 1, 1, 2, 2, 2, 2]]


@settings(deadline=None)
@given(st.lists(st.integers(ABSTAINED, 4), min_size=1, max_size=20))
def test_replay_and_serving_agree(votes: list[int]) -> None:
    leader, _, _ = running_leaders(torch.tensor([votes]))
    for n in range(1, len(votes) + 1):
        winner = majority([None if v == ABSTAINED else v for v in votes[:n]])
        assert leader[0, n - 1] == (ABSTAINED if winner is None else winner)
