"""From curves to labels: N*, never, N_D, overscaling index, on curves and pools with known answers."""

from __future__ import annotations

from math import comb, log

import pytest
import torch
from helpers.graded_pools import graded_pool
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from t2.curves.labels import (
    accuracy_on_grid,
    budget_labels,
    check_grid,
    cut_grid,
    dataset_optimum,
    index_of_at_least,
    never_helped,
    smallest_enough,
)
from t2.errors import T2Error
from t2.voting import ABSTAINED


def curves(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("row", "eps", "index"),
    [
        ([0.5, 0.6, 0.7], 0.02, 2),
        ([0.5, 0.69, 0.7], 0.02, 1),
        ([0.7, 0.6, 0.5], 0.02, 0),
        ([0.5, 0.8, 0.6], 0.02, 1),
        ([0.0, 0.0, 0.0], 0.02, 0),
        ([0.3, 0.3 + 1e-12, 0.3], 0.0, 0),  # rounding is not a gain
        ([0.3, 0.3 + 1e-6, 0.3], 0.0, 1),
        ([0.28, 0.30, 0.30], 0.02, 0),
        ([0.12, 0.14, 0.14], 0.02, 0),  # 0.14 - 0.02 is a little more than 0.12 in floats
        ([0.12 - 1e-6, 0.14, 0.14], 0.02, 1),
    ],
)
def test_sample_optimal_budget(row: list[float], eps: float, index: int) -> None:
    assert smallest_enough(curves(row), eps).tolist() == [index]


@pytest.mark.parametrize("eps", [0.005, 0.02, 0.1])
def test_what_is_exactly_eps_worse_is_enough_and_no_fall(eps: float) -> None:
    """Rounding decided such ties: of 0.28 and 0.30 the first was enough, of 0.12 and 0.14 it was not."""
    best_Q = torch.arange(120, 1001, dtype=torch.float64) / 1000
    lower_Q = (best_Q * 1000 - 1000 * eps).round() / 1000
    assert (smallest_enough(torch.stack([lower_Q, best_Q], 1), eps) == 0).all()
    assert not never_helped(torch.stack([best_Q, lower_Q], 1), eps).any()
    assert not never_helped(torch.full((1, 2), eps - 1e-16, dtype=torch.float64), eps).any()  # reaches eps
    assert (smallest_enough(torch.stack([lower_Q - 1e-6, best_Q], 1), eps) == 1).all()
    assert never_helped(torch.stack([best_Q, lower_Q - 1e-6], 1), eps).all()
    assert never_helped(torch.full((1, 2), eps - 1e-6, dtype=torch.float64), eps).all()


@settings(deadline=None, max_examples=200)
@given(st.sets(st.integers(2, 256), max_size=12), st.lists(st.floats(0.1, 600), min_size=1, max_size=9))
def test_rounding_up_into_the_grid_is_plain(budgets: set[int], wanted: list[float]) -> None:
    grid = tuple(sorted({1, *budgets}))
    plain = [next((k for k, n in enumerate(grid) if n >= want * (1 - 6.9e-7)), len(grid) - 1) for want in wanted]
    assert index_of_at_least(grid, torch.tensor(wanted, dtype=torch.float64)).tolist() == plain
    back_K = torch.tensor(grid).float().log2().double().exp2()
    assert index_of_at_least(grid, back_K).tolist() == list(range(len(grid))), "a budget is not the next one"
    assert index_of_at_least(grid, back_K + 0.01).tolist() == [min(k + 1, len(grid) - 1) for k in range(len(grid))]


@pytest.mark.parametrize(
    ("row", "never"),
    [
        ([0.0, 0.0, 0.0], True),  # hopeless
        ([0.019, 0.01, 0.0], True),
        ([0.4, 0.3, 0.2], True),  # falling
        ([0.4, 0.41, 0.2], False),  # rises first
        ([0.4, 0.39, 0.385], False),  # falls by less than eps
        ([1.0, 1.0, 1.0], False),
        ([0.2, 0.5, 0.8], False),
    ],
)
def test_never(row: list[float], never: bool) -> None:
    assert never_helped(curves(row), 0.02).tolist() == [never]


def test_dataset_optimum() -> None:
    acc_QK = curves([1.0, 1.0, 1.0], [0.5, 0.5, 0.5], [0.2, 0.5, 0.8])
    assert dataset_optimum(acc_QK) == 2  # mean curve 0.567, 0.667, 0.767
    assert dataset_optimum(acc_QK, 0.11) == 1
    assert dataset_optimum(acc_QK[:2]) == 0


@pytest.mark.parametrize("grid", [[], [3, 1], [1, 3, 3], [3, 5], [0, 1, 3]])
def test_bad_grids(grid: list[int]) -> None:
    with pytest.raises(T2Error, match="Expected a rising grid of budgets that starts at 1"):
        check_grid(grid, 32)


def test_grid_beyond_the_pool() -> None:
    assert check_grid([1, 3, 8], 8) == (1, 3, 8)
    with pytest.raises(T2Error, match="Expected budgets up to the pool's 8 samples a question, got 9"):
        check_grid([1, 3, 9], 8)
    assert cut_grid([1, 3, 9], 8) == (1, 3)


def test_labels_of_hand_made_pools() -> None:
    easy, hopeless = [0] * 8, [1] * 8
    rising, falling = [0, 1, 0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1, 1, 1]
    silent = [ABSTAINED] * 7 + [0]
    labels = budget_labels(graded_pool([easy, hopeless, rising, falling, silent]), (1, 3, 5, 7), eps=0.02)
    five_of_eight = [
        sum(comb(5, right) * comb(3, n - right) for right in range(n // 2 + 1, n + 1)) / comb(8, n)
        for n in (1, 3, 5, 7)
    ]
    expected = curves(
        [1.0] * 4, [0.0] * 4, five_of_eight, [1 - a for a in five_of_eight], [n / 8 for n in (1, 3, 5, 7)]
    )
    torch.testing.assert_close(labels.acc_QK, expected, rtol=0, atol=1e-13)
    assert labels.grid == (1, 3, 5, 7)
    assert labels.label_grid == (1, 3)  # up to M/2
    assert labels.n_star_Q.tolist() == [0, 0, 1, 0, 1]
    assert labels.never_Q.tolist() == [False, True, False, True, False]
    some = labels.take(torch.tensor([2, 3]))
    assert some.n_star_Q.tolist() == [1, 0]
    assert some.never_Q.tolist() == [False, True]
    assert some.grid == labels.grid


def test_the_smallest_pool_limits_the_label_grid() -> None:
    labels = budget_labels(graded_pool([[0] * 8, [0, 1, 0, 0]]), (1, 3), eps=0.02)
    assert labels.label_grid == (1,)
    with pytest.raises(T2Error, match="the pool's 4 samples a question, got 5"):
        budget_labels(graded_pool([[0] * 8, [0, 1, 0, 0]]), (1, 3, 5), eps=0.02)


def test_mean_tokens_skip_padding() -> None:
    pool = graded_pool([[0, 0], [0, 1, 0, 0]], [[10, 30], [1, 2, 3, 6]])
    assert budget_labels(pool, (1,), eps=0.02).log_tokens_Q.tolist() == pytest.approx([log(20), log(3)])


def test_accuracy_of_a_fold() -> None:
    pool = graded_pool([[0, 1, 0, 1]])
    first_half = torch.tensor([[True, False, True, False]])
    acc = accuracy_on_grid(pool, (1, 2, 3), only_QM=first_half)
    torch.testing.assert_close(acc, curves([1.0, 1.0, torch.nan]), equal_nan=True)


def test_ragged_pools_give_nan_beyond_their_own_samples() -> None:
    acc = accuracy_on_grid(graded_pool([[0, 0], [0, 1, 0, 0]]), (1, 3, 9))
    assert acc.isnan().tolist() == [[False, True, True], [False, False, True]]
