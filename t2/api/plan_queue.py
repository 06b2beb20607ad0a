"""Plans for requests that come at the same time, made together on one thread beside the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from t2.answering.options import AnswerOptions
from t2.answering.plan import QuestionPlan
from t2.answering.planner import Planner
from t2.api.served_together import ServedTogether

_Asked = tuple[Tensor | None, AnswerOptions]


class PlanQueue:
    """Requests that wait while others are planned are the next batch: alone no request waits for more of them."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        # One thread: a plan is made of many small steps, which more threads would only slow down.
        thread = ThreadPoolExecutor(1, "t2-plan", initializer=torch.set_num_threads, initargs=(1,))
        self._served = ServedTogether[_Asked, QuestionPlan](self._plans, thread)

    async def plan(self, raw_O: Tensor | None, options: AnswerOptions) -> QuestionPlan:
        """As `Planner.plan`."""
        return await self._served.ask((raw_O, options))

    def _plans(self, asked: Sequence[_Asked]) -> list[QuestionPlan]:
        """Of each request; those with the same options in one call."""
        plans: dict[int, QuestionPlan] = {}
        for options in dict.fromkeys(options for _, options in asked):
            places = [place for place, (_, own) in enumerate(asked) if own == options]
            raws = [raw_O for raw_O, own in asked if own == options and raw_O is not None]
            made = self._planner.plans(torch.stack(raws) if raws else None, options)
            # Without raw outputs there is one plan for all.
            plans.update(zip(places, made if raws else made * len(places), strict=True))
        return [plans[place] for place in range(len(asked))]
