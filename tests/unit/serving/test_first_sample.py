"""The first sample as the probe: the head's outputs come with its first token, and the client sees nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.scripted_probe import planner_of, probe_of
from helpers.scripted_serving import asking, collected, orchestrator
from helpers.scripted_upstream import ScriptedUpstream
from prometheus_client import CollectorRegistry
from torch import Tensor

from t2.api.requests import BudgetedRequest
from t2.api.upstream import ACCEPTED, Json, UpstreamError
from t2.engine.head_columns import REFERENCE
from t2.errors import T2Error
from t2.serving.first_sample import ColumnReader, FirstSample, may_be_first

LABELS = (64, 65, 66)


class ScriptedEngine:
    """Says log probabilities of the head's columns with each token to whom asks for them, as vLLM's client does."""

    errored = False

    def __init__(self, raw: list[float]) -> None:
        self.raw = raw
        self.asked: list[Any] = []

    async def generate(self, prompt: str, parameters: Any, request_id: str, priority: int) -> AsyncGenerator[Any, None]:
        self.asked.append(parameters)
        ids = parameters.logprob_token_ids or []
        values = zip(ids, [REFERENCE + value - 3.0 for value in (*self.raw, 0.0)], strict=False)
        entry = {label: SimpleNamespace(logprob=value) for label, value in values}
        yield SimpleNamespace(outputs=[])
        for _ in range(100):
            yield SimpleNamespace(outputs=[SimpleNamespace(logprobs=[entry] if entry else None)])


@dataclass
class Handled(ScriptedUpstream):
    """Samples by way of an engine client, as vLLM's handlers draw them."""

    raw: list[float] = field(default_factory=lambda: [0.5, -2.0])
    tokens: int = 1
    breaks: Exception | None = None
    """what ends a stream as soon as it was accepted"""

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        async for chunk in self.by_way_of(ScriptedEngine(self.raw), body):
            yield chunk

    async def by_way_of(self, engine: Any, body: Json) -> AsyncGenerator[Json, None]:
        yield ACCEPTED
        if self.breaks is not None:
            raise self.breaks
        outputs = engine.generate("3+4", SimpleNamespace(logprob_token_ids=None), request_id="r", priority=0)
        async for chunk in super().stream(body):
            await anext(outputs)
            yield chunk

    def first(self, labels: Any = LABELS) -> FirstSample:
        reader, upstream = ColumnReader(ScriptedEngine(self.raw), labels), ScriptedUpstream(self.script)
        upstream.stream = partial(self.by_way_of, reader)  # type: ignore[method-assign]
        return FirstSample(upstream, reader)

    def first_sample(self, request: BudgetedRequest) -> FirstSample | None:
        return self.first(range(64, 65 + planner_of("head").head.head.num_outputs))

    async def read(self, request: BudgetedRequest) -> Tensor:
        raise AssertionError("the first sample says it")


async def streamed(upstream: Handled) -> tuple[list[Json], Tensor]:
    body = asking().body if upstream.kind == "chat" else {"model": "m", "prompt": "3+4="}
    first = upstream.first()
    chunks = await collected(first.stream({**body, "n": 1}))
    return chunks, await first.read(asking())


@pytest.mark.parametrize("kind", ["chat", "completion"])
def test_the_heads_outputs_come_with_the_first_token(kind: str) -> None:
    upstream = Handled(["#### 7"], kind=kind)
    chunks, raw_O = asyncio.run(streamed(upstream))
    torch.testing.assert_close(raw_O, torch.tensor([0.5, -2.0]), atol=1e-4, rtol=0)
    assert chunks == asyncio.run(collected(Handled(["#### 7"], kind=kind).stream({**upstream.bodies[0]})))
    (body,) = upstream.bodies
    assert "logprobs" not in body  # the handler knows nothing of it


def test_the_reader_asks_for_the_columns_and_is_the_engine_for_all_else() -> None:
    async def ask() -> None:
        engine = ScriptedEngine([0.5, -2.0])
        reader = ColumnReader(engine, LABELS)
        assert reader.errored is False
        parameters = SimpleNamespace(logprob_token_ids=None)
        async for _ in reader.generate("3+4", parameters, request_id="r", priority=0):
            break
        assert engine.asked[0].logprob_token_ids == [64, 65, 66]

    asyncio.run(ask())


@pytest.mark.parametrize("raw", [[], [float("nan"), 0.0]], ids=["no columns", "no numbers"])
def test_an_engine_that_says_something_else_is_told_at_once(raw: list[float]) -> None:
    with pytest.raises((T2Error, KeyError)):
        asyncio.run(streamed(Handled(["#### 7"], raw=raw)))


def test_a_sample_that_says_nothing_is_no_probe() -> None:
    async def ask() -> None:
        upstream = Handled(["#### 7"])
        first = FirstSample(upstream, ColumnReader(ScriptedEngine([0.5]), LABELS))  # which nobody asks
        await collected(first.stream({**asking().body, "n": 1}))
        await first.read(asking())

    with pytest.raises(T2Error, match="of the head's columns with a token, got no token"):
        asyncio.run(ask())


def test_an_error_is_the_probes_too_and_a_refusal_is_not() -> None:
    async def ask(refused: bool) -> None:
        upstream = Handled(["#### 7"], refusals=1)
        if not refused:
            upstream.breaks = UpstreamError(400, {})
        first = upstream.first()
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
    upstream = Handled(["#### 7"], breaks=RuntimeError("a bug of the engine"))

    async def both() -> None:
        first = upstream.first()
        with pytest.raises(RuntimeError, match="a bug of the engine"):
            await collected(first.stream({**asking().body, "n": 1}))
        with pytest.raises(RuntimeError, match="a bug of the engine"):
            await asyncio.wait_for(first.read(asking()), 1.0)

    asyncio.run(both())


def test_a_clients_stream_begins_when_the_request_is_accepted() -> None:
    """Before there is any chunk: whoever waits for the first item can send the response's head meanwhile."""
    upstream = Handled(["#### 7", "#### 8"])
    chunks = asyncio.run(collected(orchestrator("head").stream(asking(stream=True), upstream, upstream)))
    assert chunks[0] == ACCEPTED
    assert all(chunk["choices"] for chunk in chunks[1:-1])
    assert "t2" in chunks[-1]


def test_a_stream_pays_for_no_probe() -> None:
    raw_O = probe_of("head").raw_O
    assert raw_O is not None
    upstream: Any = Handled(["#### 7", "#### 8"], raw=raw_O.tolist())
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
    [
        *(({}, True), ({"logprobs": False}, True), ({"logprobs": True}, False), ({"logprobs": 0}, False)),
        *(({"response_format": {"type": "text"}}, True), ({"response_format": {"type": "json_object"}}, False)),
        *(({"structured_outputs": {"choice": ["7"]}}, False), ({"tool_choice": "auto"}, True)),
        *(({"tool_choice": "required"}, False), ({"tool_choice": {"type": "function"}}, False)),
    ],
)
def test_a_client_that_wants_log_probabilities_or_a_grammar_gets_a_probe_of_its_own(changes: Json, may: bool) -> None:
    assert may_be_first(asking(body={**asking().body, **changes})) == may
