"""A wave of samples from an engine that may be too full for it: split, asked again later, never lost.

vLLM admits all samples of a request or none, so that a large wave can be refused for ever where small ones get through.
Samples keep their draw numbers however they were split, and their seeds, where a client sets one: vLLM seeds sample i
of a request with `seed + i`, so a later piece starts at the seed of its first sample.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from t2.api.responses import Drawn, StreamedRequest, StreamedSample
from t2.api.upstream import Json, Upstream, UpstreamError

FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS = 0.05, 1.0
PATIENCE_SECONDS = 60.0
"""How long a wave waits for a full engine without getting one sample; then the client is told what the engine says."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Wave:
    """Samples to draw next."""

    body: Json
    """of the request, without `n`"""
    first: int
    """draw number of the first one"""
    samples: int

    def parts(self, most: int | None) -> list[Wave]:
        """The same samples, at most so many in each part."""
        size = self.samples if most is None else most
        ends = range(0, self.samples, size)
        return [Wave(self.body, self.first + start, min(size, self.samples - start)) for start in ends]

    def halves(self) -> list[Wave]:
        return self.parts(max(1, (self.samples + 1) // 2))

    def asked(self) -> Json:
        """What is sent."""
        seed = self.body.get("seed")
        return {**self.body, "n": self.samples} | ({} if seed is None else {"seed": seed + self.first})

    def streamed(self) -> Json:
        return {**self.asked(), "stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Streamed:
    """A chunk of a wave that is streamed."""

    request: StreamedRequest
    """that it belongs to"""
    chunk: Json
    ended: list[StreamedSample]
    """samples that end with it"""


class Admission:
    """How waves get into an engine."""

    def __init__(
        self,
        on_refused: Callable[[], None],
        patience_seconds: float = PATIENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Set how patient it is.

        Args:
            on_refused: called whenever a wave, or a part of it, was refused.
            patience_seconds: without a sample, after which the wave fails.
            sleep: waits so many seconds.
        """
        self._on_refused, self._patience, self._sleep = on_refused, patience_seconds, sleep

    async def draw(self, upstream: Upstream, wave: Wave) -> list[Drawn]:
        """All samples of a wave, in order of draw.

        Raises:
            UpstreamError: one of its requests was not answered.
        """
        parts = await together([self._draw(upstream, part) for part in wave.parts(upstream.most_at_once)])
        return [drawn for part in parts for drawn in part]

    async def stream(self, upstream: Upstream, wave: Wave) -> AsyncGenerator[Streamed, None]:
        """The same, chunk by chunk; its requests run one after the other. Close it to abort what still runs.

        Raises:
            UpstreamError: one of its requests was not answered, or broke off.
        """
        waiting, patience = wave.parts(upstream.most_at_once)[::-1], self._new_patience()
        while waiting:
            part = waiting.pop()
            request = StreamedRequest.of(part.first, part.samples)
            try:
                async with aclosing(upstream.stream(part.streamed())) as chunks:
                    async for chunk in chunks:
                        yield Streamed(request, chunk, request.add(chunk))
            except UpstreamError as error:
                await patience.after(error)
                waiting += part.halves()[::-1]
                continue
            if missing := request.close():
                waiting.append(Wave(part.body, part.first + part.samples - missing, missing))
            patience = self._new_patience()

    async def _draw(self, upstream: Upstream, wave: Wave) -> list[Drawn]:
        waiting, drawn, patience = [wave], list[Drawn](), self._new_patience()
        while waiting:
            part = waiting.pop()
            try:
                response = await upstream.send(part.asked())
            except UpstreamError as error:
                await patience.after(error)
                waiting += part.halves()[::-1]
                continue
            drawn.append(Drawn.of(response, part.samples))
            if missing := part.samples - len(drawn[-1].samples):
                waiting.append(Wave(part.body, part.first + part.samples - missing, missing))
            patience = self._new_patience()
        return drawn

    def _new_patience(self) -> _Patience:
        return _Patience(self._patience, self._on_refused, self._sleep)


class _Patience:
    """Waits longer from refusal to refusal, and not for ever."""

    def __init__(
        self, seconds: float, on_refused: Callable[[], None], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._until, self._delay = monotonic() + seconds, FIRST_DELAY_SECONDS
        self._on_refused, self._sleep = on_refused, sleep

    async def after(self, error: UpstreamError) -> None:
        """Wait, if the engine was full; raises all other errors, and this one when it has lasted too long."""
        if not error.refused or monotonic() + self._delay > self._until:
            raise error
        self._on_refused()
        # Requests that were refused together must not come back together.
        await self._sleep(self._delay * random.uniform(0.5, 1.5))
        self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)


async def together(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results in order; when one fails, or the caller is cancelled, all others are cancelled and have ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
