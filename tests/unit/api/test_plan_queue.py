"""Plans of requests that come together: made in few calls, each its own, and one that is wrong spoils no other."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import torch
from helpers.scripted_probe import exported, planner_of
from torch import Tensor

from t2.answering.options import AnswerOptions
from t2.answering.plan import QuestionPlan
from t2.api.plan_queue import PlanQueue
from t2.errors import T2Error


def raws(num: int) -> list[Tensor]:
    head, pooled = exported("head")
    return [head.raw(pooled[row]) for row in range(num)]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the calls to the planner."""
    sizes: list[int] = []
    planner, plans = planner_of("head"), planner_of("head").plans

    def counted(raw_BO: Tensor | None, *asked: Any) -> list[QuestionPlan]:
        sizes.append(0 if raw_BO is None else len(raw_BO))
        return plans(raw_BO, *asked)

    monkeypatch.setattr(planner, "plans", counted)
    return sizes


def test_those_that_wait_are_planned_together(batches: list[int]) -> None:
    async def all_at_once() -> list[QuestionPlan]:
        queue = PlanQueue(planner_of("head"))
        return await asyncio.gather(*(queue.plan(raw_O, AnswerOptions()) for raw_O in raws(20)))

    plans = asyncio.run(all_at_once())
    assert sum(batches) == 20
    assert len(batches) <= 2
    firsts = [plan.first for plan in plans]
    assert firsts == [planner_of("head").plan(raw_O).first for raw_O in raws(20)]
    assert len(set(firsts)) > 1  # an exchange could have been seen


def test_options_are_those_of_each_request() -> None:
    async def all_at_once() -> list[QuestionPlan]:
        queue = PlanQueue(planner_of("head"))
        asked = [AnswerOptions(max_samples=1 + row % 3) for row in range(9)]
        return await asyncio.gather(*(queue.plan(raw_O, each) for raw_O, each in zip(raws(9), asked, strict=True)))

    assert [plan.most for plan in asyncio.run(all_at_once())] == [1, 2, 3] * 3


@pytest.mark.parametrize("wrong", [torch.full((7,), torch.nan), torch.zeros(3)])
def test_what_is_wrong_with_one_is_not_wrong_with_the_others(wrong: Tensor) -> None:
    async def all_at_once() -> list[QuestionPlan | BaseException]:
        queue = PlanQueue(planner_of("head"))
        asked = [*raws(3), wrong, *raws(3)]
        return await asyncio.gather(*(queue.plan(raw_O, AnswerOptions()) for raw_O in asked), return_exceptions=True)

    plans = asyncio.run(all_at_once())
    assert [isinstance(plan, QuestionPlan) for plan in plans] == [True] * 3 + [False] + [True] * 3
    assert isinstance(plans[3], T2Error)


def test_a_client_that_leaves_takes_nobody_with_it(batches: list[int]) -> None:
    async def one_leaves() -> list[QuestionPlan | BaseException]:
        queue = PlanQueue(planner_of("head"))
        tasks = [asyncio.create_task(queue.plan(raw_O, AnswerOptions())) for raw_O in raws(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    plans = asyncio.run(one_leaves())
    assert [isinstance(plan, QuestionPlan) for plan in plans] == [True, False, True, True]


def test_clients_that_have_left_are_not_planned(batches: list[int]) -> None:
    async def all_leave() -> None:
        queue = PlanQueue(planner_of("head"))
        tasks = [asyncio.create_task(queue.plan(raw_O, AnswerOptions())) for raw_O in raws(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)

    asyncio.run(all_leave())
    assert sum(batches) == 0


def test_where_nothing_is_read_there_is_one_plan() -> None:
    async def all_at_once() -> list[QuestionPlan]:
        queue = PlanQueue(planner_of("asc"))
        return await asyncio.gather(*(queue.plan(None, AnswerOptions()) for _ in range(3)))

    assert {plan.first for plan in asyncio.run(all_at_once())} == {planner_of("asc").plan(None).first}
