"""Exact A(N) for all N, against the same formula in plain Python."""

from __future__ import annotations

import time
from math import comb

from measure import Figures, medians


def rows(repeats: int) -> list[str]:
    """The measured row."""
    r = medians(measured, repeats)
    return [
        f"| exact A(N), all N, 100,000 questions x 64 samples | {r['seconds']:.1f} s | {r['ratio']:.0f} x faster than "
        f"plain Python (largest difference {r['worst_difference']:.0e}) | at most 20 s |"
    ]


def measured() -> Figures:
    """Exact A(N), all N, 100,000 questions x 64 samples, against the same formula in plain Python."""
    import numpy as np
    import torch

    from t2.curves.majority import majority_accuracy

    rng = np.random.default_rng(0)
    questions, classes, samples = 100_000, 24, 64
    shares = rng.dirichlet(np.full(classes, 0.25), size=questions)
    counts = np.stack([rng.multinomial(samples - 4, row) for row in shares])
    correct = torch.nn.functional.one_hot(torch.zeros(questions, dtype=torch.long), classes).bool()
    abstained = torch.full((questions,), 4)
    started = time.perf_counter()
    acc_QM = majority_accuracy(torch.tensor(counts), correct, abstained)
    seconds = time.perf_counter() - started
    few = 300
    started = time.perf_counter()
    plain = [plain_accuracy(row.tolist(), 0, 4) for row in counts[:few]]
    plain_seconds = (time.perf_counter() - started) * questions / few
    worst = float((acc_QM[:few] - torch.tensor(plain, dtype=torch.float64)).abs().max())
    return {"seconds": seconds, "ratio": plain_seconds / seconds, "worst_difference": worst}


def plain_accuracy(counts: list[int], right: int, abstained: int) -> list[float]:
    """A(N) of one question in plain Python: the formula of t2.curves.majority, term by term."""
    pool = sum(counts) + abstained
    ways = [0.0] * (pool + 1)
    others = [c for i, c in enumerate(counts) if i != right]
    for votes in range(1, counts[right] + 1):
        poly = {(0, 0): 1.0}  # (samples drawn, classes tied) -> ways
        for count in others:
            new: dict[tuple[int, int], float] = {}
            for (drawn, tied), value in poly.items():
                for taken in range(min(votes, count) + 1):
                    key = (drawn + taken, tied + (taken == votes))
                    new[key] = new.get(key, 0.0) + value * comb(count, taken)
            poly = new
        for (drawn, tied), value in poly.items():
            for empty in range(abstained + 1):
                total = votes + drawn + empty
                ways[total] += comb(counts[right], votes) * value * comb(abstained, empty) / (1 + tied)
    return [ways[n] / comb(pool, n) for n in range(1, pool + 1)]
