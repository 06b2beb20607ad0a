"""Work that is done for many at once: while a thread is busy, those who come gather, and are served together next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ServedTogether(Generic[_Item, _Result]):
    """One thread beside the event loop; alone nobody waits for others. It belongs to one event loop."""

    def __init__(
        self,
        work: Callable[[list[_Item]], Sequence[_Result]],
        thread: ThreadPoolExecutor,
        most: int | None = None,
    ) -> None:
        """Set what is done.

        Args:
            work: gives a result for each item, in order; called in the thread.
            thread: a pool of one.
            most: items at once; None: as many as wait.
        """
        self._work, self._thread, self._most = work, thread, most
        self._waiting: list[tuple[_Item, asyncio.Future[_Result]]] = []
        self._serving: asyncio.Task[None] | None = None

    async def ask(self, item: _Item) -> _Result:
        """The result for one item, or the error that it alone raises. Whoever stops waiting is left out."""
        waiter: asyncio.Future[_Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, waiter))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await waiter

    def close(self) -> None:
        """Let what runs end, and begin nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self) -> None:
        while self._waiting:
            most = len(self._waiting) if self._most is None else self._most
            taken, self._waiting = self._waiting[:most], self._waiting[most:]
            if batch := [(item, waiter) for item, waiter in taken if not waiter.done()]:
                await self._answer(batch)

    async def _answer(self, batch: list[tuple[_Item, asyncio.Future[_Result]]]) -> None:
        run = asyncio.get_running_loop().run_in_executor
        try:
            results = await run(self._thread, self._work, [item for item, _ in batch])
            for (_, waiter), result in zip(batch, results, strict=True):
                if not waiter.done():
                    waiter.set_result(result)
        except Exception as error:  # of any kind: nobody may wait for ever
            if len(batch) > 1:  # what is wrong with one must not be wrong with all
                for one in batch:
                    await self._answer([one])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
