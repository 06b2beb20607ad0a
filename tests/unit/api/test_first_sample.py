"""The first sample as the probe: the head's outputs come with its first token, and the client sees nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from helpers.scripted_probe import planner_of, probe_of
from helpers.scripted_serving import asking, collected, orchestrator
from helpers.scripted_upstream import ScriptedUpstream
from prometheus_client import CollectorRegistry
from torch import Tensor

from t2.api.first_sample import FirstSample, may_be_first
from t2.api.requests import BudgetedRequest
from t2.api.upstream import ACCEPTED, Json, UpstreamError
from t2.engine.head_columns import REFERENCE
from t2.errors import T2Error

LABELS = (64, 65, 66)


@dataclass
class Saying(ScriptedUpstream):
    """Says log probabilities of the head's columns to whom asks for them, as vLLM does."""

    raw: list[float] = field(default_factory=lambda: [0.5, -2.0])
    tokens: int = 1
    breaks: Exception | None = None
    """what ends a stream as soon as it was accepted"""

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        ids = body.get("logprob_token_ids") or []
        values = dict(zip(ids, [REFERENCE + value - 3.0 for value in (*self.raw, 0.0)], strict=False))
        yield ACCEPTED
        if self.breaks is not None:
            raise self.breaks
        async for chunk in super().stream(body):
            for piece in chunk["choices"]:
                if ids and "finish_reason" in piece:
                    entries = {f"token_id:{label}": value for label, value in values.items()}
                    tops = [{"token": token, "logprob": value} for token, value in entries.items()]
                    chat = {"content": [{"token": "token_id:5", "top_logprobs": tops}]}
                    piece["logprobs"] = chat if self.kind == "chat" else {"top_logprobs": [entries]}
            yield chunk

    def first_sample(self, request: BudgetedRequest) -> FirstSample | None:
        head = planner_of("head").head.head
        return FirstSample(self, range(64, 65 + head.num_outputs))

    async def read(self, request: BudgetedRequest) -> Tensor:
        raise AssertionError("the first sample says it")


async def streamed(upstream: Saying) -> tuple[list[Json], Tensor]:
    body = asking().body if upstream.kind == "chat" else {"model": "m", "prompt": "3+4="}
    first = FirstSample(upstream, LABELS)
    chunks = await collected(first.stream({**body, "n": 1}))
    return chunks, await first.read(asking())


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_the_heads_outputs_come_with_the_first_token(kind: str) -> None:
    upstream = Saying(["#### 7"], kind=kind)
    chunks, raw_O = asyncio.run(streamed(upstream))
    torch.testing.assert_close(raw_O, torch.tensor([0.5, -2.0]), atol=1e-4, rtol=0)
    assert not any(piece.get("logprobs") for chunk in chunks for piece in chunk.get("choices", ()))
    (body,) = upstream.bodies
    assert (body["logprob_token_ids"], body["logprobs"]) == ([64, 65, 66], True if kind == "chat" else 1)


def test_a_sample_that_says_nothing_is_no_probe() -> None:
    class Silent(Saying):
        async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
            async for chunk in ScriptedUpstream.stream(self, body):
                yield chunk

    with pytest.raises(T2Error, match="with the first token, got none"):
        asyncio.run(streamed(Silent(["#### 7"])))


def test_an_error_is_the_probes_too_and_a_refusal_is_not() -> None:
    async def ask(refused: bool) -> None:
        upstream = Saying(["#### 7"], refusals=1)
        first = FirstSample(upstream, LABELS)
        if not refused:
            upstream._begin = lambda body: (_ for _ in ()).throw(UpstreamError(400, {}))  # type: ignore[method-assign]
        with pytest.raises(UpstreamError):
            await collected(first.stream({**asking().body, "n": 1}))
        if refused:
            await collected(first.stream({**asking().body, "n": 1}))
        await first.read(asking())

    asyncio.run(ask(refused=True))
    with pytest.raises(UpstreamError):
        asyncio.run(ask(refused=False))


def test_a_stream_that_breaks_in_any_way_is_no_timeout() -> None:
    """The reason is known at once, not when the time of a probe is over."""
    upstream = Saying(["#### 7"], breaks=RuntimeError("a bug of the engine"))

    async def both() -> None:
        first = FirstSample(upstream, LABELS)
        with pytest.raises(RuntimeError, match="a bug of the engine"):
            await collected(first.stream({**asking().body, "n": 1}))
        with pytest.raises(RuntimeError, match="a bug of the engine"):
            await asyncio.wait_for(first.read(asking()), 1.0)

    asyncio.run(both())


def test_a_clients_stream_begins_when_the_request_is_accepted() -> None:
    """Before there is any chunk: whoever waits for the first item can send the response's head meanwhile."""
    upstream = Saying(["#### 7", "#### 8"])
    chunks = asyncio.run(collected(orchestrator("head").stream(asking(stream=True), upstream, upstream)))
    assert chunks[0] == ACCEPTED
    assert all(chunk["choices"] for chunk in chunks[1:-1])
    assert "t2" in chunks[-1]


def test_a_stream_pays_for_no_probe() -> None:
    raw_O = probe_of("head").raw_O
    assert raw_O is not None
    upstream: Any = Saying(["#### 7", "#### 8"], raw=raw_O.tolist())
    registry = CollectorRegistry()
    chunks = asyncio.run(collected(orchestrator("head", registry).stream(asking(stream=True), upstream, upstream)))
    said = chunks[-1]["t2"]
    plain = asyncio.run(
        collected(orchestrator("head").stream(asking(stream=True), ScriptedUpstream(["#### 7"]), probe_of("head")))
    )
    assert said["decided"] == "by the head"
    assert said["rounds"][0] == plain[-1]["t2"]["rounds"][0]
    assert said["tokens"] == upstream.generated
    assert registry.get_sample_value("t2_probe_seconds_count") == 1
    assert all(not piece.get("logprobs") for chunk in chunks for piece in chunk.get("choices", ()))


@pytest.mark.parametrize(
    ("changes", "may"),
    [({}, True), ({"logprobs": False}, True), ({"logprobs": True}, False), ({"logprobs": 0}, False)],
)
def test_a_client_that_wants_log_probabilities_gets_its_own(changes: Json, may: bool) -> None:
    assert may_be_first(asking(body={**asking().body, **changes})) == may
    assert not may_be_first(asking(body={**asking().body, "include_reasoning": False}))
