"""Paired bootstrap intervals of 20 policies, against a NumPy loop over resamples."""

from __future__ import annotations

import time

from measure import Figures, medians, peak_mib

QUESTIONS, POLICIES, RESAMPLES, PLAIN_RESAMPLES = 10_000, 20, 10_000, 100


def rows(repeats: int) -> list[str]:
    """The measured row."""
    r = medians(measured, repeats)
    return [
        f"| paired bootstrap, 10,000 resamples x 10,000 questions x 20 policies, accuracy and tokens | "
        f"{r['seconds']:.1f} s, peak {r['peak_mib']:.0f} MiB | {r['ratio']:.1f} x faster than a NumPy loop (largest "
        f"difference {r['worst_difference']:.0e}) | at most 10 s |"
    ]


def measured() -> Figures:
    """Paired intervals of 20 policies, accuracy and tokens, against a NumPy loop over resamples."""
    import numpy as np
    import torch

    from t2.stats.bootstrap import paired_intervals, resampled_rows

    generator = torch.Generator().manual_seed(0)
    shape = (QUESTIONS, POLICIES)
    correct = torch.rand(shape, generator=generator, dtype=torch.float64)
    tokens = 100 + 900 * torch.rand(shape, generator=generator, dtype=torch.float64)
    paired_intervals(correct[:100], tokens[:100], num_resamples=10)
    started = time.perf_counter()
    paired_intervals(correct, tokens, num_resamples=RESAMPLES)
    seconds, after_mib = time.perf_counter() - started, peak_mib()
    values, rng = np.concatenate([correct.numpy(), tokens.numpy()], 1), np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(PLAIN_RESAMPLES):
        values[rng.integers(len(values), size=len(values))].mean(0)
    plain_seconds = (time.perf_counter() - started) * RESAMPLES / PLAIN_RESAMPLES
    # Figures of the same draws: the matrix of weights against rows that are really taken.
    plain = [np.quantile([values[r].mean(0)[1] - values[r].mean(0)[0] for r in resampled_rows(len(values), 50)], 0.975)]
    ours = paired_intervals(correct, tokens, num_resamples=50)[1].accuracy_difference.high
    return {
        "seconds": seconds,
        "peak_mib": after_mib,
        "ratio": plain_seconds / seconds,
        "worst_difference": float(abs(plain[0] - ours)),
    }
