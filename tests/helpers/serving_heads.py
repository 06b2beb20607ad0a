"""Exports that answer: a `PriorHead`, plans without a head, ASC, a fixed number; of made-up questions."""

from __future__ import annotations

from dataclasses import replace

import torch
from helpers.graded_pools import mixed_pool
from torch import Tensor

from t2.budget_head import BudgetHead
from t2.curves.labels import budget_labels
from t2.head_record import HeadRecord, Labels
from t2.heads import HeadShape, PriorHead
from t2.heads.base import targets_of
from t2.heads.training_votes import TrainingVotes
from t2.policies.record import Policy, PolicyRecord, reads_activations

GRID = (1, 3, 5, 7)
TRAIN = mixed_pool(num=50, samples=12, seed=3)
LABELS = budget_labels(TRAIN, GRID, 0.02)
VOTES = TrainingVotes.of(TRAIN, LABELS)


def prior_head() -> tuple[PriorHead, Tensor]:
    """One that has learned nothing yet but its atoms, with weights at random, and features of its questions."""
    pooled = torch.randn(50, 1, 6, generator=torch.Generator().manual_seed(0))
    head = PriorHead(HeadShape(1, 6, GRID, (1, 3)), num_atoms=6, components=4, hidden=8)
    head.start_stage(pooled, targets_of(LABELS, TRAIN))
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return head.eval(), pooled


def served(policy: Policy, votes: TrainingVotes | None = VOTES, greedy: bool = True) -> tuple[BudgetHead, Tensor]:
    """An export in use that decides by this policy, and features of questions."""
    head, pooled = prior_head()
    record = replace(
        HeadRecord.of(head),
        policy=PolicyRecord.of(policy),
        labels=Labels(0.02, 12, "numeric-3-####-1", "tokens", None, "greedy" if greedy else "sampled"),
        sampling={"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 64, "stop": []},
    )
    return BudgetHead(record, head if reads_activations(policy) else None, votes), pooled
