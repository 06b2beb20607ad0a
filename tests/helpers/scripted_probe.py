"""Exports of every kind, their planners, and probes that say what the head says, or fail."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from helpers.serving_heads import served
from torch import Tensor

from t2.answering.planner import Planner
from t2.api.requests import BudgetedRequest
from t2.api.upstream import Json
from t2.budget_head import BudgetHead
from t2.policies.one_round import FixedN, Utility
from t2.policies.record import Policy
from t2.policies.stoppers import PlanWithHead, PlanWithoutHead, StopByVotes

POLICIES: dict[str, Policy] = {
    "fixed": FixedN(5),
    "asc": StopByVotes(7, 0.9),
    "no head": PlanWithoutHead(7, 1.0, 0.2),
    "head": PlanWithHead(7, 0.5, 0.1),
    "one round": Utility(0.5),
    "greedy": Utility(0.5),
}


@dataclass
class ScriptedProbe:
    """Outputs of a head, or what goes wrong."""

    raw_O: Tensor | None
    error: Exception | None = None
    errors: float = math.inf
    """readings that end in the error, before the first that does not"""
    seconds: float = 0.0
    tokens: int = 1
    read_bodies: list[Json] = field(default_factory=list)

    async def read(self, request: BudgetedRequest) -> Tensor:
        self.read_bodies.append(request.body)
        await asyncio.sleep(self.seconds)
        if self.error is not None and len(self.read_bodies) <= self.errors:
            raise self.error
        assert self.raw_O is not None
        return self.raw_O


@cache
def exported(policy: str) -> tuple[BudgetHead, Tensor]:
    return served(POLICIES[policy], greedy=policy != "one round")


@cache
def planner_of(policy: str) -> Planner:
    return Planner(exported(policy)[0])


def probe_of(policy: str, row: int = 0, **changes: Any) -> ScriptedProbe:
    head, pooled = exported(policy)
    if not head.reads_activations:
        return ScriptedProbe(None)
    with torch.no_grad():
        return ScriptedProbe(head.head(pooled[row : row + 1])[0], **changes)
