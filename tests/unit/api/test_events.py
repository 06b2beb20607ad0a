"""Server-sent events: one function for both servers, so that both write the same bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest

from t2.api.events import DONE, event_of, events
from t2.api.upstream import Json, UpstreamError


async def chunks(*said: Json, error: UpstreamError | None = None, closed: list[bool]) -> AsyncGenerator[Json, None]:
    try:
        for each in said:
            yield each
        if error is not None:
            raise error
    finally:
        closed.append(True)


def written(*said: Json, error: UpstreamError | None = None) -> list[str]:
    closed: list[bool] = []

    async def read() -> list[str]:
        return [line async for line in events({"a": 1}, chunks(*said, error=error, closed=closed))]

    lines = asyncio.run(read())
    assert closed == [True]
    return lines


def test_every_chunk_is_an_event_and_the_last_one_says_that_it_is_over() -> None:
    assert written({"b": "é"}) == ['data: {"a": 1}\n\n', 'data: {"b": "é"}\n\n', DONE]


def test_an_error_becomes_an_event() -> None:
    error = UpstreamError(502, {"error": {"message": "gone"}})
    assert written(error=error) == ['data: {"a": 1}\n\n', 'data: {"error": {"message": "gone"}}\n\n', DONE]


def test_a_reader_that_leaves_closes_the_chunks() -> None:
    closed: list[bool] = []

    async def leave() -> None:
        lines = events({"a": 1}, chunks({"b": 2}, {"c": 3}, closed=closed))
        await anext(lines)
        await anext(lines)
        await lines.aclose()

    asyncio.run(leave())
    assert closed == [True]


@pytest.mark.parametrize("text", ["é 漢 🙂", "\u2028", "half \ud83d of a pair"])
def test_any_text_can_be_sent(text: str) -> None:
    event = event_of({"text": text})
    assert json.loads(event.encode().removeprefix(b"data: ")) == {"text": text}
    assert event.count("\n") == 2
    assert ("\\u" in event) == ("\ud83d" in text), "escaped although it has bytes of its own"
