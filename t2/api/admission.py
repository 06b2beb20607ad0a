"""A wave of samples from an engine that may be too full for it: split, asked again later, never lost.

vLLM admits all samples of a request or none, so that a large wave can be refused for ever where small ones get through.
Samples keep their draw numbers however they were split, and their seeds, where a client sets one: vLLM seeds sample i
of a request with `seed + i`, so a later piece starts at the seed of its first sample.

Some servers draw one sample, or a few, whatever `n` they are asked for. Once that is seen, all that is still missing of
the wave is asked for at the same time, in requests as small as the server's answers are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from t2.api.backoff import Backoff
from t2.api.responses import Drawn, StreamedRequest, StreamedSample
from t2.api.streams import Streams
from t2.api.upstream import Json, Upstream, UpstreamError

PATIENCE_SECONDS = 60.0
"""How long a wave waits for a full engine without getting one sample; then the client is told what the engine says."""
MOST_SMALL_REQUESTS = 16
"""Requests of a wave that run at the same time for what a server has left out: it did not ask for so many itself."""
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

    def after(self, given: int) -> list[Wave]:
        """What is missing when the server has given only the first samples, in requests of as many as it gives."""
        missing = Wave(self.body, self.first + given, self.samples - given)
        return missing.parts(given) if missing.samples else []

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
        parts = wave.parts(upstream.most_at_once)
        found: dict[int, Drawn] = {}
        width = asyncio.Semaphore(len(parts))  # a limit on `n` limits nothing else
        while parts:
            missing = await together([self._draw(upstream, part, width, found) for part in parts])
            parts = [part for each in missing for part in each]
            width = asyncio.Semaphore(MOST_SMALL_REQUESTS)
        return [found[first] for first in sorted(found)]

    async def stream(self, upstream: Upstream, wave: Wave) -> AsyncGenerator[Streamed, None]:
        """The same, chunk by chunk; its requests run one after the other, but for what a server has left out.

        Close it to abort what still runs.

        Raises:
            UpstreamError: one of its requests was not answered, or broke off.
        """
        waiting, patience = wave.parts(upstream.most_at_once)[::-1], self._new_patience()
        missing: list[Wave] = []
        while waiting and not missing:
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
            given = part.samples - request.close()
            if missing := part.after(given):
                missing += [small for later in waiting[::-1] for small in later.parts(given)]
            patience = self._new_patience()
        while missing:
            left_out: list[Wave] = []
            async with aclosing(self._stream_at_once(upstream, missing, left_out)) as events:
                async for streamed in events:
                    yield streamed
            missing = left_out

    async def _draw(
        self, upstream: Upstream, wave: Wave, width: asyncio.Semaphore, found: dict[int, Drawn]
    ) -> list[Wave]:
        """Put the samples of a request beside others into `found`, by draw number; what the server has left out."""
        waiting, missing = [wave], list[Wave]()
        async with width:
            patience = self._new_patience()
            while waiting:
                part = waiting.pop()
                try:
                    response = await upstream.send(part.asked())
                except UpstreamError as error:
                    await patience.after(error)
                    waiting += part.halves()[::-1]
                    continue
                found[part.first] = Drawn.of(response, part.samples)
                missing += part.after(len(found[part.first].samples))
                patience = self._new_patience()
        return missing

    async def _stream_at_once(
        self, upstream: Upstream, parts: Sequence[Wave], left_out: list[Wave]
    ) -> AsyncGenerator[Streamed, None]:
        """Small requests at the same time; what the server leaves out of them too is put into `left_out`."""
        requests = [StreamedRequest.of(part.first, part.samples) for part in parts]
        for request in requests:  # whoever stops reading must know of all of them, to pay for what they have generated
            yield Streamed(request, {}, [])
        width = asyncio.Semaphore(MOST_SMALL_REQUESTS)
        async with Streams[Streamed]() as streams:
            try:
                for part, request in zip(parts, requests, strict=True):
                    streams.start(self._stream_small(upstream, part, request, width, left_out))
                async for streamed in streams:
                    yield streamed
            finally:
                for unread in await streams.stop():
                    for sample in unread.ended:
                        sample.cut_off()

    async def _stream_small(
        self, upstream: Upstream, part: Wave, request: StreamedRequest, width: asyncio.Semaphore, left_out: list[Wave]
    ) -> AsyncGenerator[Streamed, None]:
        """One of them. It is no larger than what the server has given before, so that a full one is just waited for."""
        async with width:
            patience, is_answered = self._new_patience(), False
            while not is_answered:
                try:
                    async with aclosing(upstream.stream(part.streamed())) as chunks:
                        async for chunk in chunks:
                            yield Streamed(request, chunk, request.add(chunk))
                    is_answered = True
                except UpstreamError as error:
                    await patience.after(error)
            left_out += part.after(part.samples - request.close())

    def _new_patience(self) -> _Patience:
        return _Patience(self._patience, self._on_refused, self._sleep)


class _Patience:
    """Waits longer from refusal to refusal, and not for ever."""

    def __init__(
        self, seconds: float, on_refused: Callable[[], None], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._until, self._backoff = monotonic() + seconds, Backoff(sleep)
        self._on_refused = on_refused

    async def after(self, error: UpstreamError) -> None:
        """Wait, if the engine was full; raises all other errors, and this one when it has lasted too long."""
        if not error.refused or monotonic() + self._backoff.delay > self._until:
            raise error
        self._on_refused()
        await self._backoff.wait()


async def together(work: Sequence[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results in order; when one fails, or the caller is cancelled, all others are cancelled and have ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
