"""Chunks of a streamed answer as server-sent events, the same for every server of T2."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from t2.api.upstream import Json, UpstreamError

DONE = "data: [DONE]\n\n"
"""The last event of every stream, as OpenAI's protocol has it."""


async def events(first: Json, chunks: AsyncGenerator[Json, None]) -> AsyncGenerator[str, None]:
    """A stream of events; closing it closes the chunks.

    Args:
        first: what was waited for, a chunk or `ACCEPTED`, since an error before it still has a status of its own.
        chunks: all others. An error of theirs becomes an event, since the status has been sent: clients look for an
            `error` in what they get.
    """
    async with aclosing(chunks):
        if first:
            yield event_of(first)
        try:
            async for chunk in chunks:
                yield event_of(chunk)
        except UpstreamError as error:
            yield event_of(error.body)
        yield DONE


def event_of(said: Json) -> str:
    """One event. Letters beyond ASCII stand in it as they are, as long as UTF-8 has bytes for all of them."""
    text = json.dumps(said, ensure_ascii=False)
    if not _is_unicode(text):  # half of a surrogate pair, which JSON alone can write, as an escape
        text = json.dumps(said)
    return f"data: {text}\n\n"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
