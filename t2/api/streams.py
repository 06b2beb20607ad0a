"""Several asynchronous streams read as one, as their items come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Generic, Self, TypeVar

_T = TypeVar("_T")


class Streams(Generic[_T]):
    """Streams that run at once. Iterating ends when all that were started have ended; leaving the context closes them.

    An error of one is raised where the items are read, after the items that came before it.
    """

    def __init__(self) -> None:
        self._items: asyncio.Queue[_T | Exception | None] = asyncio.Queue()
        """None: a stream has ended"""
        self._tasks: list[asyncio.Task[None]] = []
        self._running = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def start(self, stream: AsyncGenerator[_T, None]) -> None:
        """Let one more stream run."""
        self._running += 1
        self._tasks.append(asyncio.create_task(self._pump(stream)))

    async def __aiter__(self) -> AsyncIterator[_T]:
        while self._running:
            for item in self._taken(await self._items.get()):
                yield item

    async def next(self) -> list[_T]:
        """One more item; none if a stream has ended instead."""
        return self._taken(await self._items.get())

    def come(self) -> Iterator[_T]:
        """The items that are there already; nothing is waited for."""
        while not self._items.empty():
            yield from self._taken(self._items.get_nowait())

    def _taken(self, item: _T | Exception | None) -> list[_T]:
        if isinstance(item, Exception):
            raise item
        if item is None:
            self._running -= 1
            return []
        return [item]

    async def stop(self) -> list[_T]:
        """Close all streams, and give the items that nobody has read."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks, self._running, unread = [], 0, []
        while not self._items.empty():
            item = self._items.get_nowait()
            if item is not None and not isinstance(item, Exception):
                unread.append(item)
        return unread

    async def _pump(self, stream: AsyncGenerator[_T, None]) -> None:
        try:
            async with aclosing(stream) as items:
                async for item in items:
                    self._items.put_nowait(item)
            self._items.put_nowait(None)
        except Exception as error:  # whatever it is, it belongs to whoever reads
            self._items.put_nowait(error)
