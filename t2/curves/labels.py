"""From accuracy curves to labels: which budget is enough for a question (N*) and for a dataset (N_D). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from t2.curves.majority import MAX_SAMPLES, majority_accuracy
from t2.errors import T2Error
from t2.grading.graded import GradedPool

MIN_EPS = 1e-9
"""Curves are sums of floats: two that are equal on paper may differ by rounding."""
DATASET_EPS = 0.005
"""Accuracy given up on the dataset's mean to call N_D enough."""
_LOG2_ROUNDING = 1e-6
"""log2 of a budget in float32 may come back this much above it."""


@dataclass(frozen=True)
class BudgetLabels:
    """What a head learns from, and what a policy is scored with. Curves are on the policy grid."""

    grid: tuple[int, ...]
    """budgets in samples, up to M"""
    label_grid: tuple[int, ...]
    """the part of the grid up to M/2, on which N* is defined"""
    acc_QK: Tensor
    """A(N) on `grid`, float64"""
    n_star_Q: Tensor
    """index of N* into `label_grid`"""
    never_Q: Tensor
    """bool: hopeless or falling, so that more samples than one never help"""
    log_tokens_Q: Tensor
    """log of the mean generated tokens of a sample"""
    greedy_right_Q: Tensor | None = None
    """bool: the greedy answer is correct; None: not every question has one, or it is not to be used"""

    @property
    def served_QK(self) -> Tensor:
        """A(N) as it is served: a question that gets one answer gets the greedy one, where there is one.

        Whoever asks once need not ask at random. Policies are scored by this, N* and the curse by `acc_QK`.
        """
        if self.greedy_right_Q is None:
            return self.acc_QK
        return torch.cat([self.greedy_right_Q.to(self.acc_QK)[:, None], self.acc_QK[:, 1:]], 1)

    def take(self, rows: Tensor) -> BudgetLabels:
        parts = {name: part[rows] for name, part in vars(self).items() if "_Q" in name and part is not None}
        return replace(self, **parts)


def check_grid(grid: Sequence[int], samples_per_question: int) -> tuple[int, ...]:
    """The grid as a tuple.

    Raises:
        T2Error: empty, unsorted, not starting at 1, or beyond M; or M is too large for exact curves.
    """
    if not grid or list(grid) != sorted(set(grid)) or grid[0] != 1:
        raise T2Error(f"Expected a rising grid of budgets that starts at 1, got {list(grid)}. Change `data.grid`.")
    if samples_per_question > MAX_SAMPLES:
        raise T2Error(
            f"Expected at most {MAX_SAMPLES} samples a question, as many as exact curves can hold, got "
            f"{samples_per_question}. Lower `data.pool.samples_per_question`."
        )
    if grid[-1] > samples_per_question:
        raise T2Error(
            f"Expected budgets up to the pool's {samples_per_question} samples a question, got {grid[-1]}. "
            "Shorten `data.grid` or raise `data.pool.samples_per_question` (only what is missing is drawn)."
        )
    return tuple(grid)


def cut_grid(grid: Sequence[int], largest: int) -> tuple[int, ...]:
    """The budgets up to `largest`."""
    return tuple(n for n in grid if n <= largest)


def accuracy_on_grid(pool: GradedPool, grid: Sequence[int], only_QM: Tensor | None = None) -> Tensor:
    """A(N) for N in `grid`, (Q, K), float64; NaN beyond a question's pool. `only_QM`: use these samples alone."""
    return majority_accuracy(*pool.class_counts(only_QM), budgets=grid)


def index_of_at_least(grid: Sequence[int], wanted_B: Tensor) -> Tensor:
    """Index of the first budget that is at least the wanted number of samples, the last if there is none; shape (B,).

    A number that is a budget but for the rounding of float32's log2 is that budget, not one that needs the next.
    """
    budgets_K = torch.tensor(grid, dtype=torch.float64, device=wanted_B.device)
    enough_BK = budgets_K >= wanted_B.double()[:, None] * 2**-_LOG2_ROUNDING
    return torch.where(enough_BK.any(1), enough_BK.int().argmax(1), len(budgets_K) - 1)


def smallest_enough(acc_QK: Tensor, eps: float) -> Tensor:
    """Index of the first budget whose accuracy is within eps of the row's best; shape (Q,).

    Exactly eps is within: 1e-9 is added to eps, so that rounding decides nothing, at eps = 0 neither.
    """
    enough_QK = acc_QK >= acc_QK.amax(1, keepdim=True) - (eps + MIN_EPS)
    return enough_QK.int().argmax(1)  # the first True


def never_helped(acc_QK: Tensor, eps: float) -> Tensor:
    """Bool (Q,): hopeless (no budget reaches eps) or falling (none gains on N = 1, and the last loses more than eps).

    Exactly eps reaches it and is no fall: 1e-9 of rounding decides nothing here either.
    """
    best_Q, first_Q, last_Q = acc_QK.amax(1), acc_QK[:, 0], acc_QK[:, -1]
    hopeless_Q = best_Q < max(eps - MIN_EPS, MIN_EPS)
    falling_Q = (best_Q <= first_Q + MIN_EPS) & (last_Q < first_Q - (eps + MIN_EPS))
    return hopeless_Q | falling_Q


First = Literal["auto", "greedy", "sampled"]
"""What a question gets that gets one answer: the greedy one, a random one, or greedy where every question has it."""


def budget_labels(pool: GradedPool, grid: Sequence[int], eps: float, first: First = "auto") -> BudgetLabels:
    """Curves on `grid` and N* on its part up to M/2 (near M a curve is one noisy draw).

    Raises:
        T2Error: the grid does not fit the pool, or `first` is "greedy" and a question has no greedy answer.
    """
    has_greedy = bool(pool.greedy_present_Q.all())
    if first == "greedy" and not has_greedy:
        raise T2Error(
            f"Expected a greedy answer of every question for `first: greedy`, got none of "
            f"{int((~pool.greedy_present_Q).sum())} of {len(pool)}. Label or import them, or set `first: sampled`."
        )
    smallest_pool = int(pool.present_QM.sum(1).min())
    full_grid = check_grid(grid, smallest_pool)
    label_grid = cut_grid(full_grid, max(1, smallest_pool // 2))
    acc_QK = accuracy_on_grid(pool, full_grid)
    on_label_grid = acc_QK[:, : len(label_grid)]
    return BudgetLabels(
        grid=full_grid,
        label_grid=label_grid,
        acc_QK=acc_QK,
        n_star_Q=smallest_enough(on_label_grid, eps),
        never_Q=never_helped(on_label_grid, eps),
        log_tokens_Q=pool.mean_tokens_Q.clamp(min=1).log(),
        greedy_right_Q=pool.greedy_right_Q if has_greedy and first != "sampled" else None,
    )


def dataset_optimum(acc_QK: Tensor, eps: float = DATASET_EPS) -> int:
    """Index of N_D, the smallest budget that is enough on the mean curve."""
    return int(smallest_enough(acc_QK.mean(0, keepdim=True), eps))


def reference_budget(*labels: BudgetLabels) -> int:
    """N_ref, samples: N_D of several sets of questions together, on the whole grid, as they are served."""
    acc_QK = torch.cat([each.served_QK for each in labels])
    return labels[0].grid[dataset_optimum(acc_QK)]
