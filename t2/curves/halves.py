"""Both halves of each question's samples: what one half chooses, the other scores. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.labels import accuracy_on_grid, cut_grid
from t2.grading.graded import GradedPool


@dataclass(frozen=True)
class Halves:
    """Curves, lengths and votes of both halves (`GradedPool.fold_QM`) of each pool."""

    grid: tuple[int, ...]
    """budgets in samples, up to the smallest half, about M/2"""
    samples: int
    """of the smallest half"""
    acc_QK: tuple[Tensor, Tensor]
    """A(N) on `grid` from each half alone"""
    tokens_Q: tuple[Tensor, Tensor]
    """mean generated tokens of a sample of each half"""
    votes_Q3: tuple[Tensor, Tensor]
    """samples, votes of the leader and votes of the runner-up of each half"""

    def take(self, rows: Tensor) -> Halves:
        acc, tokens, votes = ((pair[0][rows], pair[1][rows]) for pair in (self.acc_QK, self.tokens_Q, self.votes_Q3))
        return Halves(self.grid, self.samples, acc, tokens, votes)

    def upto(self, cap: int) -> Halves:
        grid = cut_grid(self.grid, cap)
        first, second = (acc_QK[:, : len(grid)] for acc_QK in self.acc_QK)
        return Halves(grid, self.samples, (first, second), self.tokens_Q, self.votes_Q3)


def half_curves(pool: GradedPool, grid: Sequence[int]) -> Halves | None:
    """Curves of both halves, on the grid cut to the smallest half; None if a half has no sample.

    The smallest half has M/2 samples (rounded down), so its budgets are those on which N* is defined.
    """
    fold_QM = pool.fold_QM()
    chosen = [pool.present_QM & (fold_QM == half) for half in (0, 1)]
    samples = min(int(chosen_QM.sum(1).min()) for chosen_QM in chosen)
    if samples < 1:
        return None
    budgets = cut_grid(grid, samples)
    acc = [accuracy_on_grid(pool, budgets, chosen_QM) for chosen_QM in chosen]
    tokens = [(pool.tokens_QM * chosen_QM).sum(1).double() / chosen_QM.sum(1) for chosen_QM in chosen]
    votes = [_votes(pool, chosen_QM) for chosen_QM in chosen]
    return Halves(budgets, samples, (acc[0], acc[1]), (tokens[0], tokens[1]), (votes[0], votes[1]))


def _votes(pool: GradedPool, chosen_QM: Tensor) -> Tensor:
    counts_QC, _, _ = pool.class_counts(chosen_QM)
    # Two empty classes more, so that there is a leader and a runner-up where fewer than two answers came.
    top_Q2 = torch.nn.functional.pad(counts_QC, (0, 2)).sort(dim=1, descending=True).values[:, :2]
    return torch.cat([chosen_QM.sum(1, keepdim=True), top_Q2], 1)
