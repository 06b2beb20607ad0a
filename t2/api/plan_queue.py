"""Plans for requests that come at the same time, made together on one thread beside the event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.answering.options import AnswerOptions
from t2.answering.planner import Planner, QuestionPlan


@dataclass(frozen=True)
class _Waiting:
    """A request without a plan as yet."""

    raw_O: Tensor | None
    plan: asyncio.Future[QuestionPlan]

    def give(self, plan: QuestionPlan) -> None:
        if not self.plan.done():  # its client may have left
            self.plan.set_result(plan)

    def fail(self, error: Exception) -> None:
        if not self.plan.done():
            self.plan.set_exception(error)


class PlanQueue:
    """Requests that wait while others are planned are the next batch: alone no request waits for more of them."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        # One thread: a plan is made of many small steps, which more threads would only slow down.
        self._thread = ThreadPoolExecutor(1, "t2-plan", initializer=torch.set_num_threads, initargs=(1,))
        self._waiting: dict[AnswerOptions, list[_Waiting]] = {}
        self._work: asyncio.Task[None] | None = None

    async def plan(self, raw_O: Tensor | None, options: AnswerOptions) -> QuestionPlan:
        """As `Planner.plan`."""
        waiting = _Waiting(raw_O, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(options, []).append(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._plan_all())
        return await waiting.plan

    async def _plan_all(self) -> None:
        while self._waiting:
            options = next(iter(self._waiting))
            await self._plan_together(self._waiting.pop(options), options)

    async def _plan_together(self, batch: list[_Waiting], options: AnswerOptions) -> None:
        batch = [waiting for waiting in batch if not waiting.plan.done()]  # others have left
        loop = asyncio.get_running_loop()
        try:
            raws = [waiting.raw_O for waiting in batch if waiting.raw_O is not None]
            raw_BO = torch.stack(raws) if raws else None
            plans = await loop.run_in_executor(self._thread, self._planner.plans, raw_BO, options) if batch else []
            # Without raw outputs there is one plan for all.
            for waiting, plan in zip(batch, plans if raws else plans * len(batch), strict=True):
                waiting.give(plan)
        except Exception as error:
            if len(batch) == 1:
                batch[0].fail(error)
                return
            for waiting in batch:  # what is wrong with one of them must not be wrong with all
                await self._plan_together([waiting], options)
