"""Streams that run at once: all items come, in each stream's order, and nothing runs on when the reader has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from t2.api.streams import Streams


class Source:
    """Gives numbers, and knows whether it is open."""

    def __init__(self, *numbers: int, fails: bool = False) -> None:
        self.numbers, self.fails, self.is_open = numbers, fails, False

    async def __call__(self) -> AsyncGenerator[int, None]:
        self.is_open = True
        try:
            for number in self.numbers:
                await asyncio.sleep(0)
                yield number
            if self.fails:
                raise RuntimeError("broke off")
        finally:
            self.is_open = False


def test_all_items_come_in_each_streams_order() -> None:
    async def read() -> list[int]:
        async with Streams[int]() as streams:
            streams.start(Source(1, 2, 3)())
            streams.start(Source(11, 12)())
            first = [item async for item in streams]
            streams.start(Source(21)())
            return first + [item async for item in streams]

    items = asyncio.run(read())
    assert sorted(items) == [1, 2, 3, 11, 12, 21]
    assert [item for item in items if item < 10] == [1, 2, 3]
    assert items[-1] == 21


def test_what_has_come_is_there_without_waiting() -> None:
    async def read() -> tuple[list[int], list[int], list[int]]:
        async with Streams[int]() as streams:
            streams.start(Source(1, 2, 3)())
            before = list(streams.come())
            while not (some := list(streams.come())):
                await asyncio.sleep(0)
            return before, some, [item async for item in streams]

    before, some, rest = asyncio.run(read())
    assert before == []
    assert some + rest == [1, 2, 3]


def test_an_error_among_what_has_come_is_raised() -> None:
    async def read() -> list[int]:
        async with Streams[int]() as streams:
            streams.start(Source(7, fails=True)())
            for _ in range(20):
                await asyncio.sleep(0)
            return list(streams.come())

    with pytest.raises(RuntimeError, match="broke off"):
        asyncio.run(read())


def test_an_error_comes_after_the_items_before_it_and_ends_the_others() -> None:
    good, bad = Source(*range(1000)), Source(5, fails=True)
    items: list[int] = []

    async def read() -> None:
        async with Streams[int]() as streams:
            streams.start(bad())
            streams.start(good())
            async for item in streams:
                items.append(item)

    with pytest.raises(RuntimeError, match="broke off"):
        asyncio.run(read())
    assert 5 in items
    assert not good.is_open


def test_what_nobody_has_read_is_given_at_the_stop() -> None:
    async def stop() -> list[int]:
        async with Streams[int]() as streams:
            streams.start(Source(1, 2)())
            await asyncio.sleep(0.01)
            return await streams.stop()

    assert asyncio.run(stop()) == [1, 2]
