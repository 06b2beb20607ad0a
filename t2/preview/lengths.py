"""How long answers are, and how many another `max_tokens` would truncate. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from t2.grading.graded import GradedPool

PARTS = (0.25, 0.5, 0.75)
"""Of `max_tokens`: the lower limits that are tried."""


@dataclass(frozen=True)
class Lengths:
    """Generated tokens of a sample, the end token included."""

    mean: float
    half: int
    """half of the samples have at most so many"""
    most: int
    """95% of the samples have at most so many"""
    longest: int
    limit: int
    """`max_tokens` that they were drawn with"""
    truncated: float
    """share that did not finish"""
    lower: tuple[tuple[int, float], ...]
    """lower limits, and the share that each would truncate: exact, since the first tokens would be the same"""

    @classmethod
    def of(cls, pool: GradedPool, limit: int) -> Lengths:
        tokens_S, cut_S = pool.tokens_QM[pool.present_QM], pool.truncated_QM[pool.present_QM]
        limits = sorted({max(1, int(part * limit)) for part in PARTS} - {limit})
        shares = [float(((tokens_S > each) | cut_S).double().mean()) for each in limits]
        half, most = torch.quantile(
            tokens_S.double(), torch.tensor([0.5, 0.95], dtype=torch.float64), interpolation="higher"
        )
        return cls(
            mean=float(tokens_S.double().mean()),
            half=int(half),
            most=int(most),
            longest=int(tokens_S.max()),
            limit=limit,
            truncated=float(cut_S.double().mean()),
            lower=tuple(zip(limits, shares, strict=True)),
        )

    def lines(self) -> Iterator[str]:
        yield (
            f"{self.mean:.1f} tokens a sample; half of them take at most {self.half}, 95% at most {self.most}, "
            f"the longest {self.longest}"
        )
        others = ", ".join(f"{limit}: {share:.1%}" for limit, share in self.lower)
        above = f", above at most {self.truncated:.1%}" if self.truncated else ""
        yield f"truncated at max_tokens {self.limit}: {self.truncated:.1%}" + (
            f" (at {others}{above})" if others else ""
        )
