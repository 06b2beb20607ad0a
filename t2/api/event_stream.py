"""The response of a streamed answer, for servers that run on Starlette."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from t2.api.events import events
from t2.api.upstream import Json


class EventStream(StreamingResponse):
    """Chunks as server-sent events; what draws them is closed when the client has them, or has left.

    Closed here and not by the garbage collector, or a client that leaves between two events would count as running.
    """

    def __init__(
        self,
        first: Json,
        chunks: AsyncGenerator[Json, None],
        kept_alive: Callable[[AsyncGenerator[str, None]], AsyncGenerator[str, None]] = lambda lines: lines,
    ) -> None:
        """Begin a response.

        Args:
            first: what was waited for, see `events`.
            chunks: all others.
            kept_alive: puts comments into the events while there are none, for proxies that are impatient.
        """
        super().__init__(kept_alive(events(first, chunks)), media_type="text/event-stream")
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._chunks.aclose()
