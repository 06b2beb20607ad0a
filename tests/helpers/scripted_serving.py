"""Requests, and an orchestrator that answers them on scripted servers without waiting."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from helpers.scripted_probe import planner_of
from prometheus_client import CollectorRegistry

from t2.answering.options import AnswerOptions
from t2.api.admission import Admission
from t2.api.deciding import Decider
from t2.api.metrics import ServingMetrics
from t2.api.requests import BudgetedRequest
from t2.api.upstream import Json
from t2.api.waves import Orchestrator
from t2.grading.numeric import NumericGrader


def asking(**changes: Any) -> BudgetedRequest:
    values: dict[str, Any] = {
        "kind": "chat",
        "body": {"model": "scripted", "messages": [{"role": "user", "content": "3+4"}], "temperature": 1.0},
        "options": AnswerOptions(),
        "grader": NumericGrader(),
        **dict.fromkeys(("vote", "cancel", "stream", "include_usage"), False),
        "prompt": "as sent",
        "changed": (),
    }
    return BudgetedRequest(**{**values, **changes})


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def orchestrator(policy: str, registry: CollectorRegistry | None = None, **changes: Any) -> Orchestrator:
    metrics = ServingMetrics(registry or CollectorRegistry())
    decider = Decider(planner_of(policy), changes.pop("probe_seconds", 5.0), 3)
    return Orchestrator(decider, metrics, None, Admission(metrics.wave_refused, sleep=at_once, **changes))


async def collected(chunks: Any) -> list[Json]:
    async with aclosing(chunks) as each:
        return [chunk async for chunk in each]
