"""What one round of samples asks of an engine: how long it is waited for, and how much of the KV cache it holds. Pure.

The engine is ideal: all samples of a round start together and run beside each other, each makes one token a step, and
one that has finished frees its tokens at once. The prompt is held once, as every engine with a prefix cache does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.grading.graded import GradedPool

WINDOWS = 16
"""Subsets of a question's samples over which `RoundAxes.held_QK` is averaged."""


def held_tokens(lengths_XW: Tensor) -> Tensor:
    """Most generated tokens that are held at once where samples of these lengths start together, (...,).

    After t steps those of at least t tokens run, with t tokens each. Between two lengths nothing ends and all grow, so
    the most is held just before a sample ends: with the k-th longest, k samples run and have its length.
    """
    longest_first_XW = lengths_XW.sort(-1, descending=True).values
    return (longest_first_XW * torch.arange(1, lengths_XW.shape[-1] + 1)).amax(-1)


@dataclass(frozen=True)
class RoundAxes:
    """Of each question and budget, when so many samples are drawn in one round; (Q, K) float64."""

    longest_QK: Tensor
    """mean of the longest sample over all subsets of that size, exact; tokens"""
    held_QK: Tensor
    """mean of `held_tokens` over subsets of that size: `WINDOWS` runs of the samples in order of draw"""

    def take(self, rows: Tensor) -> RoundAxes:
        return RoundAxes(self.longest_QK[rows], self.held_QK[rows])

    @staticmethod
    def of(pool: GradedPool, grid: tuple[int, ...]) -> RoundAxes:
        """Budgets beyond a question's pool count as the whole pool."""
        size_Q = pool.present_QM.sum(1)
        longest = [_mean_longest(pool.tokens_QM, size_Q, n) for n in grid]
        held = [_mean_held(pool.tokens_QM, size_Q, n) for n in grid]
        return RoundAxes(torch.stack(longest, 1), torch.stack(held, 1))


def _mean_longest(tokens_QM: Tensor, size_Q: Tensor, n: int) -> Tensor:
    """Mean of the maximum over all subsets of n samples.

    Of M sorted lengths the k-th is the longest of C(k-1, n-1) subsets: P(k) = C(k-1, n-1) / C(M, n). From P(M) = n / M
    downwards each is the one above times (k+1-n) / k, without a large number. Absent samples have 0 tokens: they sort
    first and are never reached.
    """
    width = tokens_QM.shape[1]
    sorted_QM = tokens_QM.double().sort(1).values
    n_Q = size_Q.clamp(max=n).double()
    place_QM = torch.arange(1, width + 1) - (width - size_Q)[:, None]  # k; at most 0 where absent
    step_QM = ((place_QM + 1 - n_Q[:, None]) / place_QM.clamp(min=1)).clamp(min=0)  # P(k) / P(k+1)
    step_QM[:, -1] = n_Q / size_Q
    share_QM = step_QM.flip(1).cumprod(1).flip(1) * (place_QM >= 1)
    return (share_QM * sorted_QM).sum(1)


def _mean_held(tokens_QM: Tensor, size_Q: Tensor, n: int) -> Tensor:
    n_Q = size_Q.clamp(max=n)
    place_W = torch.arange(min(n, tokens_QM.shape[1]))
    total_Q = torch.zeros(len(tokens_QM), dtype=torch.float64)
    for window in range(WINDOWS):
        start_Q = (window * size_Q) // WINDOWS
        place_QW = (start_Q[:, None] + place_W) % size_Q[:, None]
        total_Q += held_tokens(tokens_QM.gather(1, place_QW) * (place_W < n_Q[:, None]))
    return total_Q / WINDOWS
