"""Sharing one total over a batch: against all allocations, a heap, SciPy's hull and the Lagrangian bound."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from torch import Tensor

from t2.errors import T2Error
from t2.heads.base import Prediction
from t2.policies.base import Costs
from t2.policies.batch_budget import BatchBudget, allocate, hull_steps

GRID = (1, 3, 5, 7, 9, 12, 16, 24, 32)


def doubles(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_batch(num: int, seed: int, grid: tuple[int, ...] = GRID) -> tuple[Tensor, Tensor]:
    """Any curves, and whole tokens, so that sums are exact."""
    generator = torch.Generator().manual_seed(seed)
    accuracy_BK = torch.rand(num, len(grid), generator=generator, dtype=torch.float64)
    tokens_B1 = torch.randint(5, 200, (num, 1), generator=generator).double()
    return accuracy_BK, tokens_B1 * torch.tensor(grid, dtype=torch.float64)


def spent(index_B: Tensor, tokens_BK: Tensor) -> float:
    return float(tokens_BK.gather(1, index_B[:, None]).sum())


def won(index_B: Tensor, accuracy_BK: Tensor) -> float:
    return float(accuracy_BK.gather(1, index_B[:, None]).sum())


def vertices(slope_BK: Tensor, next_BK: Tensor, b: int) -> list[int]:
    """Budgets on the walk of one question."""
    walk = [0]
    while slope_BK[b, walk[-1]] > 0:
        walk.append(int(next_BK[b, walk[-1]]))
    return walk


def slow_hull(accuracy: list[float], tokens: list[float]) -> list[int]:
    """Gift wrapping in plain Python: the steepest rising line to a later budget, of equals the shortest."""
    at, walk = 0, [0]
    while True:
        lines = [((accuracy[j] - accuracy[at]) / (tokens[j] - tokens[at]), -j) for j in range(at + 1, len(accuracy))]
        if not lines or max(lines)[0] <= 0:
            return walk
        at = -max(lines)[1]
        walk.append(at)


def heap_greedy(accuracy_BK: Tensor, tokens_BK: Tensor, total: float) -> list[int]:
    """One step at a time: the steepest next hull step of all questions, until one does not fit."""
    accuracy, tokens = accuracy_BK.tolist(), tokens_BK.tolist()
    walks = [slow_hull(a, t) for a, t in zip(accuracy, tokens, strict=True)]
    at, left, heap = [0] * len(walks), total - sum(t[0] for t in tokens), []

    def push(b: int) -> None:
        if at[b] + 1 < len(walks[b]):
            i, j = walks[b][at[b]], walks[b][at[b] + 1]
            cost = tokens[b][j] - tokens[b][i]
            heapq.heappush(heap, (-(accuracy[b][j] - accuracy[b][i]) / cost, b, cost))

    for b in range(len(walks)):
        push(b)
    while heap:
        _, b, cost = heapq.heappop(heap)
        if cost > left:
            break
        left, at[b] = left - cost, at[b] + 1
        push(b)
    return [walk[a] for walk, a in zip(walks, at, strict=True)]


def lagrangian_bound(accuracy_BK: Tensor, tokens_BK: Tensor, total: float) -> float:
    """No allocation that spends `total` wins more: the least over prices of sum max(a - price t) + price total.

    Piecewise linear and convex in the price, so that the least is at 0 or at a slope between two budgets.
    """
    gain = accuracy_BK[:, None, :] - accuracy_BK[:, :, None]
    cost = tokens_BK[:, None, :] - tokens_BK[:, :, None]
    prices = (gain / cost)[cost > 0].clamp(min=0).unique()
    prices = torch.cat([torch.zeros(1, dtype=torch.float64), prices])
    best = (accuracy_BK[None] - prices[:, None, None] * tokens_BK[None]).amax(2).sum(1)
    return float((best + prices * total).min())


# Hull


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 1000), min_size=3, max_size=9), st.integers(1, 100))
def test_hull_is_scipys(thousandths: list[int], tokens: int) -> None:
    """Vertices of the convex hull that lie above, from the first budget to the best one (collinear points aside)."""
    accuracy_BK = doubles([[a / 1000 for a in thousandths]])
    grid = torch.tensor(GRID[: len(thousandths)], dtype=torch.float64)
    slope_BK, next_BK = hull_steps(accuracy_BK, tokens * grid[None])
    walk = vertices(slope_BK, next_BK, 0)
    best = int(accuracy_BK.argmax())  # of equals the cheapest
    low = -1.0  # two points far below close the hull
    corners = [(float(grid[0]), low), (float(grid[-1]), low)]
    points = [*zip(grid.tolist(), accuracy_BK[0].tolist(), strict=True), *corners]
    upper = sorted(int(v) for v in ConvexHull(np.array(points)).vertices if v < len(thousandths))
    assert walk[0] == 0
    assert walk[-1] == best

    def height(of: list[int]) -> np.ndarray:
        return np.asarray(np.interp(grid[: best + 1], grid[of], accuracy_BK[0, of]))

    np.testing.assert_allclose(height(walk), height([v for v in upper if v <= best]), rtol=0, atol=1e-12)
    slopes = slope_BK[0, walk[:-1]]
    assert bool((slopes.diff() <= 0).all())
    assert int((slope_BK > 0).sum()) == len(walk) - 1, "no edge starts off the hull"


def test_thirds_on_a_line_are_three_steps() -> None:
    """Equal slopes were joined to one long step, which did not fit where a third of it did."""
    accuracy_BK, tokens_BK = doubles([[0.0, 1 / 150, 2 / 150, 3 / 150]]), doubles([[0.1, 0.2, 0.3, 0.4]])
    slope_BK, next_BK = hull_steps(accuracy_BK, tokens_BK)
    assert vertices(slope_BK, next_BK, 0) == [0, 1, 2, 3]
    assert bool((slope_BK[0, :3].diff() <= 0).all()), "rounding may not put a later step first"
    assert allocate(accuracy_BK, tokens_BK, 0.25).tolist() == [1]


def test_hull_keeps_points_on_a_line_and_drops_rounding() -> None:
    tokens = doubles([[1, 2, 3, 4]])
    slope_BK, next_BK = hull_steps(doubles([[0.0, 0.25, 0.5, 0.5 + 1e-12]]), tokens)
    assert vertices(slope_BK, next_BK, 0) == [0, 1, 2]
    slope_BK, next_BK = hull_steps(doubles([[0.5, 0.4, 0.3, 0.2], [0.5, 0.4, 0.6, 0.2]]), tokens.expand(2, 4))
    assert [vertices(slope_BK, next_BK, b) for b in range(2)] == [[0], [0, 2]]


def test_many_questions_are_passed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy_BK, tokens_BK = random_batch(50, seed=0)
    whole = hull_steps(accuracy_BK, tokens_BK)
    monkeypatch.setattr("t2.policies.batch_budget._QUESTIONS_AT_ONCE", 7)
    assert all(torch.equal(a, b) for a, b in zip(whole, hull_steps(accuracy_BK, tokens_BK), strict=True))


# Allocation


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=3, max_size=3), min_size=1, max_size=5),
    st.integers(1, 20),
    st.integers(0, 16),
)
def test_concave_curves_and_equal_costs_give_the_best_of_all_allocations(
    gains: list[list[int]], cost: int, steps: int
) -> None:
    accuracy_BK = doubles([[0, *np.cumsum(sorted(row, reverse=True)) / 150] for row in gains])
    tokens_BK = cost * torch.arange(1, 5, dtype=torch.float64).expand(len(gains), 4)
    total = cost * (len(gains) + steps)
    index_B = allocate(accuracy_BK, tokens_BK, total)
    best = max(
        won(torch.tensor(choice), accuracy_BK)
        for choice in product(range(4), repeat=len(gains))
        if spent(torch.tensor(choice), tokens_BK) <= total
    )
    assert won(index_B, accuracy_BK) == pytest.approx(best, abs=1e-9)
    assert spent(index_B, tokens_BK) <= total


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 25), st.integers(0, 10_000), st.floats(0, 1))
def test_any_curves(num: int, seed: int, share: float) -> None:
    """Equals the heap; within the total; within one hull step of the Lagrangian bound; nested."""
    accuracy_BK, tokens_BK = random_batch(num, seed)
    low, high = float(tokens_BK[:, 0].sum()), float(tokens_BK[:, -1].sum())
    total = low + share * (high - low)
    index_B = allocate(accuracy_BK, tokens_BK, total)
    assert index_B.tolist() == heap_greedy(accuracy_BK, tokens_BK, total)
    assert spent(index_B, tokens_BK) <= total
    slope_BK, next_BK = hull_steps(accuracy_BK, tokens_BK)
    refused = [
        float(accuracy_BK[b, next_BK[b, i]] - accuracy_BK[b, i])
        for b, i in enumerate(index_B.tolist())
        if slope_BK[b, i] > 0
    ]
    bound = lagrangian_bound(accuracy_BK, tokens_BK, total)
    assert won(index_B, accuracy_BK) <= bound + 1e-9
    assert won(index_B, accuracy_BK) >= bound - max(refused, default=0.0) - 1e-9
    more_B = allocate(accuracy_BK, tokens_BK, total * 1.1)
    assert bool((more_B >= index_B).all())


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.01, 1.0))
def test_rounding_never_spends_more_than_the_total(seed: int, share: float) -> None:
    """The running sum of steps and the sum of what was chosen round differently: the total is a sum of the latter."""
    accuracy_BK, tokens_BK = random_batch(40, seed)
    tokens_BK = tokens_BK / 3.7
    target = allocate(accuracy_BK, tokens_BK, float(tokens_BK[:, 0].sum() * (1 - share) + tokens_BK.sum() * share))
    for total in (spent(target, tokens_BK), np.nextafter(spent(target, tokens_BK), 0)):
        if total >= float(tokens_BK[:, 0].sum()):
            index_B = allocate(accuracy_BK, tokens_BK, float(total))
            assert spent(index_B, tokens_BK) <= total
            assert bool((index_B <= target).all())


def test_all_totals_are_nested() -> None:
    accuracy_BK, tokens_BK = random_batch(12, seed=1)
    low, high = float(tokens_BK[:, 0].sum()), float(tokens_BK[:, -1].sum())
    before = torch.zeros(12, dtype=torch.long)
    for total in np.linspace(low, high, 400):
        index_B = allocate(accuracy_BK, tokens_BK, float(total))
        assert bool((index_B >= before).all())
        before = index_B
    assert before.tolist() == accuracy_BK.argmax(1).tolist()


def test_stops_at_the_first_step_that_does_not_fit() -> None:
    """A later cheaper step would fit, and would break the nesting."""
    accuracy_BK, tokens_BK = doubles([[0.0, 0.9], [0.0, 0.001]]), doubles([[1, 101], [1, 2]])
    assert allocate(accuracy_BK, tokens_BK, 50).tolist() == [0, 0]
    assert allocate(accuracy_BK, tokens_BK, 102).tolist() == [1, 0]
    assert allocate(accuracy_BK, tokens_BK, 103).tolist() == [1, 1]


def test_ties_go_to_the_lower_index() -> None:
    accuracy_BK, tokens_BK = doubles([[0.2, 0.5, 0.6]] * 4), doubles([[1, 2, 3]] * 4)
    found = [allocate(accuracy_BK, tokens_BK, total).tolist() for total in (4, 5, 7, 8, 9, 12, 99)]
    assert found[:4] == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert found[4:] == [[2, 1, 1, 1], [2, 2, 2, 2], [2, 2, 2, 2]]


def test_ties_of_many_questions_too() -> None:
    """Short lists are sorted stably whether one asks for it or not."""
    index_B = allocate(doubles([[0.2, 0.5]]).expand(20_000, 2), doubles([[1, 2]]).expand(20_000, 2), 20_000 + 7_777)
    assert index_B.tolist() == [1] * 7_777 + [0] * 12_223


# Policy


def test_policy_multiplies_by_the_batch() -> None:
    accuracy_BK, tokens_BK = random_batch(30, seed=2)
    prediction, costs = Prediction(torch.zeros(30), accuracy_BK.float()), Costs(GRID, tokens_BK[:, 0])
    for n in (1, 1.7, 3, 8.25, 20, 32, 50):
        tokens_per_question = n * float(tokens_BK[:, 0].mean())
        index_B = BatchBudget(tokens_per_question).choose(prediction, costs)
        assert index_B.tolist() == heap_greedy(accuracy_BK.float().double(), tokens_BK, 30 * tokens_per_question)
        assert spent(index_B, tokens_BK) <= 30 * tokens_per_question + 1e-6
    assert vars(BatchBudget(7.5)) == {"tokens_per_question": 7.5}


def test_a_total_like_that_of_fixed_n() -> None:
    tokens_B = torch.rand(997, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1 / 3
    policy = BatchBudget.like_fixed(2.5, tokens_B)
    assert policy.tokens_per_question * 997 == pytest.approx(sum(2.5 * tokens for tokens in tokens_B.tolist()))


@pytest.mark.parametrize(("n", "index"), [(1, [0] * 4), (2.5, [1, 1, 1, 0]), (16, [6] * 4), (32, [8] * 4)])
def test_questions_that_are_all_the_same_get_what_fixed_n_gives(n: float, index: list[int]) -> None:
    """Between two budgets of the grid some get the larger one: the total is spent, not rounded down."""
    rising = Prediction(torch.zeros(4), (torch.tensor(GRID).log2() / 5).expand(4, 9))
    tokens_B = torch.full((4,), 7.0)
    assert BatchBudget.like_fixed(n, tokens_B).choose(rising, Costs(GRID, tokens_B)).tolist() == index


def test_the_cheapest_setting_of_the_sweep_is_allowed() -> None:
    """Number times mean may round to less than the sum: one sample for each was refused by the last digit."""
    below = 0
    for num in range(3, 60):
        costs = Costs(GRID, torch.rand(num, generator=torch.Generator().manual_seed(num), dtype=torch.float64) + 1 / 3)
        cheapest = BatchBudget.like_fixed(1, costs.tokens_per_sample_B).tokens_per_question
        below += cheapest * num < float(costs.tokens_BK[:, 0].sum())
        curve = Prediction(torch.zeros(num), torch.linspace(0, 1, 9).expand(num, 9))
        assert BatchBudget(cheapest).choose(curve, costs).tolist() == [0] * num
    assert below, "the case is among them"


def test_spends_where_the_gain_is() -> None:
    """An easy, a hopeless and a hard question: the total of three samples each goes to the third."""
    accuracy = doubles([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.4, 0.6, 0.8]])
    costs = Costs((1, 3, 7), torch.full((3,), 10.0, dtype=torch.float64))
    assert BatchBudget(30.0).choose(Prediction(torch.zeros(3), accuracy), costs).tolist() == [0, 0, 2]


def test_empty_batch() -> None:
    assert allocate(torch.zeros(0, 3), torch.zeros(0, 3), 0.0).tolist() == []


# Mistakes


@pytest.mark.parametrize("total", [-1.0, 29.9, float("nan"), float("inf")])
def test_bad_totals(total: float) -> None:
    with pytest.raises(T2Error, match=r"finite total of at least 30 .* each of 3 questions, got .* at least 10"):
        allocate(torch.rand(3, 2), doubles([[10, 30]] * 3), total)


@pytest.mark.parametrize("tokens", [-1.0, float("nan"), float("inf")])
def test_bad_knobs(tokens: float) -> None:
    with pytest.raises(T2Error, match="Expected a finite `tokens_per_question` >= 0"):
        BatchBudget(tokens)


@pytest.mark.parametrize("n", [0.0, 0.999, float("nan"), float("inf")])
def test_fewer_samples_than_questions(n: float) -> None:
    with pytest.raises(T2Error, match="Expected a finite `n` of at least 1 sample a question"):
        BatchBudget.like_fixed(n, torch.ones(3))


def test_bad_predictions() -> None:
    good, tokens = torch.rand(2, 2), doubles([[10, 30]] * 2)
    for cost in (tokens.flip(1), tokens - 10):
        with pytest.raises(T2Error, match="positive and rise along the grid, got others"):
            allocate(good, cost, 1000.0)
    with pytest.raises(T2Error, match="finite predicted accuracies for policy BatchBudget, got NaN or infinity for 2"):
        allocate(good * torch.nan, tokens, 1000.0)
    with pytest.raises(T2Error, match="finite predicted tokens for policy BatchBudget, got NaN or infinity for 2"):
        allocate(good, tokens * torch.inf, 1000.0)
    with pytest.raises(T2Error, match=r"got shapes \(2, 2\) and \(2, 1\)"):
        allocate(good, tokens[:, :1], 1000.0)


def test_needs_a_curve() -> None:
    costs = Costs((1, 3), torch.ones(2))
    with pytest.raises(T2Error, match="predicts a curve for policy BatchBudget"):
        BatchBudget(10.0).choose(Prediction(torch.zeros(2)), costs)
    with pytest.raises(T2Error, match="for policy BatchBudget, got OrdinalHead"):
        BatchBudget.check(gives_curve=False, head="OrdinalHead")


def test_grids_of_more_budgets_than_a_byte_can_count() -> None:
    """Edges were stored in 8 bits: 140 budgets were an overflow."""
    grid = tuple(range(1, 141))
    accuracy_BK, tokens_BK = random_batch(5, seed=0, grid=grid)
    accuracy_BK = accuracy_BK.sort(1).values
    index_B = allocate(accuracy_BK, tokens_BK, float(tokens_BK[:, -1].sum()))
    assert index_B.tolist() == accuracy_BK.argmax(1).tolist() == [139] * 5
