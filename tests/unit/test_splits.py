"""Splits and folds: stable under growth, duplicates together, halves equal."""

from __future__ import annotations

from collections import Counter

import pytest

from t2.errors import T2Error
from t2.hashing import unit_interval
from t2.spec import Question
from t2.splits import LABELLING_ORDER, SplitFractions, fold_of, labelling_order, sample_folds, split_of, spread

FRACTIONS = SplitFractions()


def questions(num: int) -> list[Question]:
    """Every third question asks what the one before it asks."""
    return [Question(f"q{i}", f"text {i}", "1", f"key {i - (i % 3 == 2)}") for i in range(num)]


def test_shares_are_kept() -> None:
    counts = Counter(split_of(f"key {i}", FRACTIONS) for i in range(20_000))
    for name in LABELLING_ORDER:
        assert counts[name] / 20_000 == pytest.approx(getattr(FRACTIONS, name), abs=0.015)


def test_hashes_never_change() -> None:
    assert unit_interval("t2-split", "3 4") == 0.76983980075066
    assert [split_of(f"key {i}", FRACTIONS) for i in range(4)] == ["train", "train", "validation", "train"]


def test_moving_a_boundary_moves_only_its_neighbours() -> None:
    more_train = SplitFractions(train=0.70, validation=0.15, calibration=0.10, test=0.05)
    for key in map(str, range(500)):
        before, after = split_of(key, FRACTIONS), split_of(key, more_train)
        assert before == after or (before, after) == ("test", "train")


@pytest.mark.parametrize("empty", ["train", "validation", "calibration", "test"])
def test_a_split_may_be_empty(empty: str) -> None:
    shares = {name: 0.0 if name == empty else 0.25 for name in LABELLING_ORDER}
    shares["test" if empty == "train" else "train"] += 0.25
    splits = {split_of(str(i), SplitFractions(**shares)) for i in range(400)}
    assert splits == set(LABELLING_ORDER) - {empty}


@pytest.mark.parametrize(
    "shares",
    [
        {"train": 0.7},
        {"train": 0.5},
        {"train": 0.8, "validation": -0.05},
        {"train": float("nan")},
    ],
)
def test_bad_fractions(shares: dict[str, float]) -> None:
    with pytest.raises(T2Error, match="Expected split fractions >= 0 that sum to 1"):
        SplitFractions(**shares)


def test_growth_keeps_split_fold_and_order() -> None:
    few, many = questions(60), questions(240)
    order_few, order_many = labelling_order(few, FRACTIONS), labelling_order(many, FRACTIONS)
    assert [i for i in order_many if i < 60] == order_few
    assert sorted(order_many) == list(range(240))


def test_labelling_order_goes_by_split() -> None:
    pool = questions(240)
    splits = [split_of(pool[i].dedup_key, FRACTIONS) for i in labelling_order(pool, FRACTIONS)]
    assert splits == sorted(splits, key=LABELLING_ORDER.index)
    assert set(splits) == set(LABELLING_ORDER)


def test_labelling_order_does_not_depend_on_the_order_of_the_file() -> None:
    pool = questions(90)
    backwards = pool[::-1]
    assert [pool[i].id for i in labelling_order(pool, FRACTIONS)] == [
        backwards[i].id for i in labelling_order(backwards, FRACTIONS)
    ]


def test_duplicates_stay_together() -> None:
    for question, again in zip(questions(300)[1::3], questions(300)[2::3], strict=True):
        assert split_of(question.dedup_key, FRACTIONS) == split_of(again.dedup_key, FRACTIONS)
        assert fold_of(question.dedup_key, 5, seed=0) == fold_of(again.dedup_key, 5, seed=0)


def test_folds_are_balanced_and_depend_on_the_seed() -> None:
    folds = [fold_of(str(i), 5, seed=1) for i in range(5000)]
    assert set(folds) == set(range(5))
    assert all(count == pytest.approx(1000, abs=120) for count in Counter(folds).values())
    assert folds != [fold_of(str(i), 5, seed=2) for i in range(5000)]


@pytest.mark.parametrize("num_draws", [2, 8, 32, 64])
def test_halves_of_a_pool_are_equal(num_draws: int) -> None:
    for question in map(str, range(50)):
        halves = sample_folds(question, num_draws)
        assert halves.count(0) == halves.count(1) == num_draws // 2


def test_halves_differ_between_questions() -> None:
    assert len({tuple(sample_folds(str(q), 16)) for q in range(50)}) > 30


def test_a_growing_pool_keeps_its_halves() -> None:
    # Written down: pools out there were halved like this.
    assert sample_folds("7f3a", 16) == [1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0]
    assert all(sample_folds("7f3a", num) == sample_folds("7f3a", 16)[:num] for num in range(17))


def test_some_of_many_are_spread_over_all() -> None:
    items = [*range(10)]
    assert [spread(items, most) for most in (1, 2, 4, 10, 99)] == [[0], [0, 5], [0, 3, 6, 9], items, items]
    assert spread([], 3) == []
