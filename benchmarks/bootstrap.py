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
    """Differences and ratios of 20 policies against one of them, as reports draw them, against a NumPy loop."""
    import numpy as np
    import torch

    from t2.policies.base import Replay
    from t2.stats.bootstrap import resampled_rows
    from t2.stats.resampled import Resampled

    generator = torch.Generator().manual_seed(0)
    one_Q = torch.ones(QUESTIONS, dtype=torch.float64)
    replays = []
    for _ in range(POLICIES):
        correct_Q, share_Q = torch.rand(2, QUESTIONS, generator=generator, dtype=torch.float64)
        replays.append(Replay(correct_Q, one_Q, 100 + 900 * share_Q, *[one_Q] * 5))
    reference = replays[0]
    Resampled([replay.take(torch.arange(100)) for replay in replays], num_resamples=10)
    started = time.perf_counter()
    resampled = Resampled(replays, num_resamples=RESAMPLES)
    for replay in replays:
        resampled.difference(replay, reference)
        resampled.ratio(replay, reference)
    seconds, after_mib = time.perf_counter() - started, peak_mib()
    values = torch.stack([part for r in replays for part in (r.correct, r.generated_tokens)], 1).numpy()
    rng = np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(PLAIN_RESAMPLES):
        values[rng.integers(len(values), size=len(values))].mean(0)
    plain_seconds = (time.perf_counter() - started) * RESAMPLES / PLAIN_RESAMPLES
    # Figures of the same draws: the matrix of weights against rows that are really taken.
    plain = [values[rows].mean(0)[2] - values[rows].mean(0)[0] for rows in resampled_rows(len(values), 50)]
    ours = Resampled(replays, num_resamples=50).difference(replays[1], reference).high / 100
    return {
        "seconds": seconds,
        "peak_mib": after_mib,
        "ratio": plain_seconds / seconds,
        "worst_difference": float(abs(np.quantile(plain, 0.975) - ours)),
    }
