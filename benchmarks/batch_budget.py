"""`BatchBudget` over a million questions on one core, against a heap in plain Python, with its promises checked.

The checks share no code with the policy: NumPy, another algorithm for the hull, exact sums.
"""

from __future__ import annotations

import heapq
import time
from itertools import pairwise
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from measure import Figures, in_process, medians, peak_mib
from numpy.typing import NDArray

QUESTIONS, PLAIN_QUESTIONS = 1_000_000, 20_000
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


def rows(repeats: int) -> list[str]:
    """The measured row; no row but an error where a promise is broken."""
    r, rough = medians(measured, repeats), in_process(rough_curves)
    r |= {name: max(r[name], rough[name]) for name in rough}
    if wrong := broken(r):
        raise SystemExit(f"BatchBudget: {'; '.join(wrong)}")
    return [
        f"| `BatchBudget`, {QUESTIONS:,} questions x 9 budgets, one core | {r['seconds']:.1f} s, peak "
        f"{r['peak_mib']:.0f} MiB ({r['inputs_mib']:.0f} before) | {r['ratio']:.0f} x faster than a plain Python heap "
        f"({r['worst_choices']} different choices); at all totals checked {-r['worst_overspent']:.3f} tokens or "
        f"more left, {r['worst_gap_in_steps']:.3f} hull steps or less below the Lagrangian bound, "
        f"{r['worst_given_less']} questions with less of a larger total | at most 5 s, 2 GiB; at least 0 left, at most "
        "1 step, 0 with less |"
    ]


def broken(r: Figures) -> list[str]:
    """The promises that these figures break, in words."""
    promises = {
        f"spent {r['worst_overspent']:.6g} tokens more than the total": r["worst_overspent"] <= 0,
        f"{r['worst_gap_in_steps']:.6g} hull steps below the Lagrangian bound, expected at most 1": (
            r["worst_gap_in_steps"] <= 1
        ),
        f"a larger total gave less to {r['worst_given_less']} questions": r["worst_given_less"] == 0,
    }
    return [text for text, kept in promises.items() if not kept]


def measured() -> Figures:
    """`allocate` over 1,000,000 questions x 9 budgets on one core, against the heap in plain Python on 20,000.

    The memory's peak is read before anything else is computed, and the clock stands.
    """
    import torch

    from t2.policies.batch_budget import allocate

    torch.set_num_threads(1)
    accuracy, tokens = _inputs()
    total = 0.4 * float(tokens[:, -1].sum())
    before_mib = peak_mib()
    started = time.perf_counter()
    index = allocate(accuracy, tokens, total)
    seconds = time.perf_counter() - started
    after_mib = peak_mib()
    few = slice(0, PLAIN_QUESTIONS)
    some_accuracy, some_tokens, some_total = accuracy[few].double(), tokens[few], 0.4 * float(tokens[few, -1].sum())
    lists = some_accuracy.tolist(), some_tokens.tolist()
    started = time.perf_counter()
    plain = plain_greedy(*lists, some_total)
    plain_seconds = (time.perf_counter() - started) * len(tokens) / len(plain)
    ours = allocate(some_accuracy, some_tokens, some_total).tolist()
    return {
        "seconds": seconds,
        "inputs_mib": before_mib,
        "peak_mib": after_mib,
        "ratio": plain_seconds / seconds,
        "worst_choices": sum(a != b for a, b in zip(ours, plain, strict=True)),
        **_promises(accuracy, tokens, total, index),
    }


def rough_curves() -> Figures:
    """The promises on as many curves that go up and down, so that most budgets are off the hull; not timed."""
    import torch

    from t2.policies.batch_budget import allocate

    torch.set_num_threads(1)
    accuracy, tokens = _inputs(noise=0.05)
    total = 0.4 * float(tokens[:, -1].sum())
    return _promises(accuracy, tokens, total, allocate(accuracy, tokens, total))


def _promises(accuracy: Any, tokens: Any, total: float, index: Any) -> Figures:
    """`checked` for this allocation and those of other totals."""
    from t2.policies.batch_budget import allocate

    arrays = accuracy.double().numpy(), tokens.numpy()
    steps = hull_steps(*arrays)
    totals = sorted([total, *more_totals(arrays[1], total, steps)])
    indices = [index if t == total else allocate(accuracy, tokens, t) for t in totals]
    return checked(*arrays, steps, [(t, i.numpy()) for t, i in zip(totals, indices, strict=True)])


def _inputs(noise: float = 0.0) -> tuple[Any, Any]:
    """Smooth concave curves, all eight steps of most on the hull: the longest list of steps there can be.

    Args:
        noise: standard deviation of what is added to each accuracy.
    """
    import torch

    from t2.spec import DEFAULT_GRID

    generator = torch.Generator().manual_seed(0)

    def uniform() -> torch.Tensor:
        return torch.rand(QUESTIONS, 1, generator=generator, dtype=torch.float64)

    grid = torch.tensor(DEFAULT_GRID, dtype=torch.float64)
    accuracy = (0.5 * uniform() + 0.5 * uniform() * (1 - torch.exp(-0.02 * grid - uniform() * grid / 4))).float()
    tokens = (20 + 200 * uniform()) * grid
    if noise:
        accuracy += noise * torch.randn(accuracy.shape, generator=generator)
    return accuracy, tokens


def checked(accuracy: Floats, tokens: Floats, steps: Steps, allocations: list[tuple[float, Indices]]) -> Figures:
    """How near allocations come to breaking a promise: the worst over all totals, which rise.

    Returns:
        worst_overspent: tokens above the total, negative where some are left. worst_gap_in_steps: accuracy below the
        Lagrangian bound, in gains of the first hull step that does not fit. worst_given_less: questions that got less
        than of the total before.
    """
    overspent, gaps = [], []
    for total, index in allocations:
        bound, step_gain = lagrangian_bound(accuracy, tokens, total, steps)
        rounding = 1e-12 * bound
        gap = bound - fsum(np.take_along_axis(accuracy, index[:, None], 1)[:, 0])
        gaps.append(gap / max(step_gain, rounding))
        overspent.append(fsum(np.take_along_axis(tokens, index[:, None], 1)[:, 0]) - total)
    indices = [index for _, index in allocations]
    less = [int((more < index).sum()) for index, more in pairwise(indices)]
    return {
        "worst_overspent": max(overspent),
        "worst_gap_in_steps": max(gaps),
        "worst_given_less": max(less, default=0),
    }


class Steps(NamedTuple):
    """Steps of all rising hulls, steepest first."""

    slope: Floats
    cost: Floats
    gain: Floats


def hull_steps(accuracy: Floats, tokens: Floats) -> Steps:
    """Monotone chain, all questions at once: a budget goes off the chain where the line past it is steeper."""
    rows, (num, budgets) = np.arange(len(accuracy)), accuracy.shape
    chain, last = np.zeros((num, budgets), dtype=np.int8), np.zeros(num, dtype=np.int64)

    def slope(at: Indices, i: Indices, j: Indices | int) -> Floats:
        steepness: Floats = (accuracy[at, j] - accuracy[at, i]) / (tokens[at, j] - tokens[at, i])
        return steepness

    for new in range(1, budgets):
        at = rows[last > 0]
        while len(at):
            end, before = chain[at, last[at]], chain[at, last[at] - 1]
            at = at[slope(at, before, end) < slope(at, end, new)]
            last[at] -= 1
            at = at[last[at] > 0]
        last += 1
        chain[rows, last] = new
    found = []
    for k in range(1, budgets):
        at = rows[last >= k]
        i, j = chain[at, k - 1], chain[at, k]
        found.append(np.stack([slope(at, i, j), tokens[at, j] - tokens[at, i], accuracy[at, j] - accuracy[at, i]]))
    steps = np.concatenate(found, 1)
    steps = steps[:, steps[0] > 0]
    return Steps(*steps[:, np.argsort(-steps[0], kind="stable")])


def more_totals(tokens: Floats, total: float, steps: Steps) -> list[float]:
    """Where a promise is most easily broken: one step more just not paid, that step just paid, and 1% more.

    "Just" is 1e-9 of the total: far above the rounding of a running sum, far below a step's cost.
    """
    paid = fsum(tokens[:, 0]) + np.cumsum(steps.cost)
    one_more = float(paid[min(int(np.searchsorted(paid, total, side="right")), len(paid) - 1)])
    return [one_more * (1 - 1e-9), one_more * (1 + 1e-9), 1.01 * total]


def lagrangian_bound(accuracy: Floats, tokens: Floats, total: float, steps: Steps) -> tuple[float, float]:
    """No allocation that spends at most `total` has a larger summed accuracy, and no price gives a smaller bound.

    For any price of a token at least 0, price * total + sum of max(accuracy - price * tokens) is such a bound, whatever
    the hulls are. It is least at the slope of the first step that does not fit, where it equals the linear relaxation.

    Returns:
        The bound; the gain of that step, of steps that are as steep the largest, 0 where all fit.
    """
    fitting = np.searchsorted(np.cumsum(steps.cost), total - fsum(tokens[:, 0]), side="right")
    price = float(steps.slope[fitting]) if fitting < len(steps.slope) else 0.0
    best = (accuracy - price * tokens).max(1)
    as_steep = np.abs(steps.slope - price) <= 1e-9 * price
    return fsum([price * total, *best]), float(steps.gain[as_steep].max(initial=0.0))


def plain_greedy(accuracy: list[list[float]], tokens: list[list[float]], total: float) -> list[int]:
    """`BatchBudget` in plain Python: gift wrapping for each hull, a heap of next steps."""
    hulls = []
    for a, t in zip(accuracy, tokens, strict=True):
        hull = [0]
        while lines := [((a[j] - a[i]) / (t[j] - t[i]), -j) for i in hull[-1:] for j in range(i + 1, len(a))]:
            slope, end = max(lines)
            if slope <= 0:
                break
            hull.append(-end)
        hulls.append(hull)

    def step(b: int, at: int) -> tuple[float, int, int, float]:
        i, j = hulls[b][at : at + 2]
        cost = tokens[b][j] - tokens[b][i]
        return -(accuracy[b][j] - accuracy[b][i]) / cost, b, at + 1, cost

    chosen, left = [0] * len(hulls), total - sum(t[0] for t in tokens)
    heap = [step(b, 0) for b, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(heap)
    while heap:
        _, b, at, cost = heapq.heappop(heap)
        if cost > left:
            break
        left, chosen[b] = left - cost, hulls[b][at]
        if at + 1 < len(hulls[b]):
            heapq.heappush(heap, step(b, at))
    return chosen
