"""`BatchBudget` over a million questions on one core, against a heap in plain Python."""

from __future__ import annotations

import heapq
import time
from typing import Any

from measure import Figures, in_process, peak_mib

QUESTIONS, PLAIN_QUESTIONS = 1_000_000, 20_000


def rows(repeats: int) -> list[str]:
    """The measured row."""
    r = in_process(measured)
    ratio = r["plain_seconds_extrapolated"] / r["seconds"]
    return [
        f"| `BatchBudget`, 1,000,000 questions x 9 budgets, one core | {r['seconds']:.1f} s, peak "
        f"{r['peak_mib']:.0f} MiB ({r['inputs_mib']:.0f} before) | {ratio:.0f} x faster than a plain Python heap "
        f"({r['different_choices']} different choices), {100 * r['share_spent']:.4f}% of the total spent "
        "| at most 5 s, 2 GiB, 100% |"
    ]


def measured() -> Figures:
    """`allocate` over 1,000,000 questions x 9 budgets on one core, against the heap in plain Python on 20,000."""
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
    spent = float(tokens.gather(1, index[:, None]).sum())
    few = slice(0, PLAIN_QUESTIONS)
    some_accuracy, some_tokens, some_total = accuracy[few].double(), tokens[few], 0.4 * float(tokens[few, -1].sum())
    lists = some_accuracy.tolist(), some_tokens.tolist()
    started = time.perf_counter()
    plain = plain_greedy(*lists, some_total)
    plain_seconds = (time.perf_counter() - started) * QUESTIONS / PLAIN_QUESTIONS
    ours = allocate(some_accuracy, some_tokens, some_total).tolist()
    return {
        "seconds": seconds,
        "inputs_mib": before_mib,
        "peak_mib": after_mib,
        "share_spent": spent / total,
        "plain_seconds_extrapolated": plain_seconds,
        "different_choices": sum(a != b for a, b in zip(ours, plain, strict=True)),
    }


def _inputs() -> tuple[Any, Any]:
    """Smooth concave curves, all eight steps of most on the hull: the longest list of steps there can be."""
    import torch

    from t2.spec import DEFAULT_GRID

    generator = torch.Generator().manual_seed(0)

    def uniform() -> torch.Tensor:
        return torch.rand(QUESTIONS, 1, generator=generator, dtype=torch.float64)

    grid = torch.tensor(DEFAULT_GRID, dtype=torch.float64)
    accuracy = (0.5 * uniform() + 0.5 * uniform() * (1 - torch.exp(-0.02 * grid - uniform() * grid / 4))).float()
    return accuracy, (20 + 200 * uniform()) * grid


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
