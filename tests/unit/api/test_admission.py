"""Servers that draw fewer samples than they are asked for: the others come at the same time, each in its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from helpers.scripted_serving import at_once
from helpers.scripted_upstream import ScriptedUpstream

from t2.api.admission import MOST_SMALL_REQUESTS, Admission, Wave
from t2.api.responses import StreamedRequest
from t2.api.upstream import Json, UpstreamError, error_body

BODY: Json = {"messages": [{"role": "user", "content": "3+4"}], "seed": 40}
TEXTS = [f"#### {number}" for number in range(64)]


@dataclass
class Sparing(ScriptedUpstream):
    """Gives at most so many samples, and takes a while, so that requests meet if they are sent together."""

    gives: int = 1
    meeting: int = 0
    most_meeting: int = 0
    refuse_the: int | None = None
    """number of the request that is refused, from 0 on"""
    seen: list[tuple[int, int]] = field(default_factory=list)
    """seed and number of samples of each request"""

    async def send(self, body: Json) -> Json:
        with_n = self._asked(body)
        self._meet(1)
        try:
            await asyncio.sleep(0.002)
            return await super().send(with_n)
        finally:
            self._meet(-1)

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        with_n = self._asked(body)
        self._meet(1)
        try:
            await asyncio.sleep(0.002)
            async with aclosing(super().stream(with_n)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._meet(-1)

    def _asked(self, body: Json) -> Json:
        self.seen.append((body["seed"], body["n"]))
        if self.refuse_the == len(self.seen) - 1:
            raise UpstreamError(503, error_body("full"), refused=True)
        return {**body, "n": min(self.gives, body["n"])}

    def _meet(self, change: int) -> None:
        self.meeting += change
        self.most_meeting = max(self.most_meeting, self.meeting)


def drawn_texts(upstream: Sparing, samples: int, stream: bool) -> list[str]:
    """In order of draw."""
    admission = Admission(lambda: None, sleep=at_once)

    async def draw() -> list[str]:
        wave = Wave(BODY, 0, samples)
        if not stream:
            drawn = await admission.draw(upstream, wave)
        else:
            requests: list[StreamedRequest] = []
            async with aclosing(admission.stream(upstream, wave)) as events:
                async for streamed in events:
                    requests += [streamed.request] if streamed.request not in requests else []
            drawn = [request.drawn() for request in sorted(requests, key=lambda request: request.first)]
        return [sample.text for part in drawn for sample in part.samples]

    return asyncio.run(draw())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("gives", "requests"), [(1, 7), (2, 4), (3, 3), (6, 2), (7, 1)])
def test_what_a_server_leaves_out_is_asked_for_at_the_same_time(stream: bool, gives: int, requests: int) -> None:
    """It was asked for one after the other: seven samples took seven times as long as one."""
    upstream = Sparing(TEXTS, gives=gives)
    assert drawn_texts(upstream, 7, stream) == TEXTS[40:47]
    assert len(upstream.seen) == requests
    assert upstream.seen[0] == (40, 7)
    assert sorted(upstream.seen[1:]) == [(40 + at, min(gives, 7 - at)) for at in range(gives, 7, gives)]
    assert upstream.most_meeting == max(1, requests - 1)


@pytest.mark.parametrize("stream", [False, True])
def test_not_all_at_once_where_there_are_many(stream: bool) -> None:
    upstream = Sparing([f"#### {number}" for number in range(200)])
    assert len(drawn_texts(upstream, 60, stream)) == 60
    assert upstream.most_meeting == MOST_SMALL_REQUESTS


@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_on_n_and_a_server_that_gives_less_go_together(stream: bool) -> None:
    upstream = Sparing(TEXTS, most_at_once=4, gives=3)
    assert drawn_texts(upstream, 10, stream) == TEXTS[40:50]


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_gives_ever_less_is_asked_for_ever_less(stream: bool) -> None:
    upstream = Sparing(TEXTS, gives=3)
    asked = upstream._asked

    def less(body: Json) -> Json:
        upstream.gives = 1 if len(upstream.seen) else 3
        return asked(body)

    upstream._asked = less  # type: ignore[method-assign]
    assert drawn_texts(upstream, 9, stream) == TEXTS[40:49]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("refused", [0, 1, 3])
def test_a_full_server_is_asked_again_for_what_is_missing(stream: bool, refused: int) -> None:
    upstream = Sparing(TEXTS, refuse_the=refused)
    assert drawn_texts(upstream, 5, stream) == TEXTS[40:45]


def test_an_error_of_one_ends_the_others() -> None:
    upstream = Sparing(TEXTS)
    asked = upstream._asked

    def broken(body: Json) -> Json:
        if len(upstream.seen) == 3:
            raise UpstreamError(500, error_body("broken"))
        return asked(body)

    upstream._asked = broken  # type: ignore[method-assign]
    for stream in (False, True):
        upstream.seen.clear()
        with pytest.raises(UpstreamError, match="broken"):
            drawn_texts(upstream, 6, stream)
        assert upstream.meeting == upstream.running == 0
