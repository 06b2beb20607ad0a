"""Metrics of a head: the budget class that a predicted N* stands for, with scikit-learn as the reference."""

from __future__ import annotations

import pytest
import torch
from helpers.targets import targets
from sklearn.metrics import cohen_kappa_score

from t2.heads.base import Prediction, Targets
from t2.policies import Costs, PredictedN
from t2.spec import DEFAULT_GRID
from t2.training.metrics import BudgetMetrics

GRID = tuple(DEFAULT_GRID)


def targets_of(class_B: torch.Tensor) -> Targets:
    num = len(class_B)
    never_B = torch.zeros(num, dtype=torch.bool)
    return targets(torch.rand(num, len(GRID)), class_B, never_B, torch.rand(num), torch.zeros(num, dtype=torch.long))


def kappa_of(log2_n_B: torch.Tensor, class_B: torch.Tensor) -> float:
    metrics = BudgetMetrics(GRID, gives_curve=False)
    metrics.update(Prediction(log_tokens_B=torch.rand(len(class_B)), log2_n_B=log2_n_B), targets_of(class_B))
    return float(metrics.compute()["kappa"])


def test_a_head_that_says_every_budget_exactly_agrees_fully() -> None:
    """log2 in float32 made 7 and 12 a little more than they are, and kappa took them for the next budget."""
    class_B = torch.arange(len(GRID))
    assert kappa_of(torch.tensor(GRID).float().log2(), class_B) == pytest.approx(1)


def test_kappa_is_that_of_the_budgets_that_would_be_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    class_B = torch.randint(len(GRID), (200,), generator=generator)
    near_B = (class_B + torch.randint(-1, 2, (200,), generator=generator)).clamp(0, len(GRID) - 1)
    log2_n_B = torch.tensor(GRID)[near_B].float().log2()
    expected = cohen_kappa_score(class_B, near_B, weights="quadratic")
    assert kappa_of(log2_n_B, class_B) == pytest.approx(expected, abs=1e-6)
    prediction = Prediction(log_tokens_B=torch.zeros(200), log2_n_B=log2_n_B)
    assert torch.equal(PredictedN().choose(prediction, Costs(GRID, torch.ones(200))), near_B)
