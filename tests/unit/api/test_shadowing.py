"""Shadow mode in a server: the client gets its samples as before, and the log says what T2 would have drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import pytest
from helpers.scripted_probe import ScriptedProbe, planner_of, probe_of
from helpers.scripted_upstream import PROMPT_TOKENS, ScriptedUpstream
from prometheus_client import CollectorRegistry

from t2.api.deciding import Decider
from t2.api.drain import Drain
from t2.api.metrics import ServingMetrics
from t2.api.requests import RequestReader
from t2.api.shadowing import Shadowing
from t2.api.upstream import Json
from t2.shadow.log import ShadowLog, read_shadow_log

_T = TypeVar("_T")
BODY = {"model": "m", "messages": [{"role": "user", "content": "3+4"}], "temperature": 0.7}


class Shadowed:
    """A server in shadow mode, and what it has written."""

    def __init__(self, policy: str, path: Path, with_text: bool = False) -> None:
        planner, self.registry = planner_of(policy), CollectorRegistry()
        metrics = ServingMetrics(self.registry)
        reader, decider = RequestReader(planner.head.record, planner.check), Decider(planner, 5.0, 3)
        self.path = path
        self.drain = Drain()
        self.mode = Shadowing(5, reader, decider, ShadowLog(path), metrics, with_text, self.drain)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        async def settled() -> _T:
            result = await work
            assert await asyncio.to_thread(self.drain.wait, 10)
            return result

        return asyncio.run(settled())

    async def stream(self, body: Json, upstream: ScriptedUpstream, probe: ScriptedProbe) -> list[Json]:
        request = self.mode.request(body, "chat")
        assert request is not None
        async with aclosing(self.mode.stream(request, upstream, probe)) as chunks:
            return [chunk async for chunk in chunks]

    async def answer(self, body: Json, upstream: ScriptedUpstream, probe: ScriptedProbe) -> Json:
        request = self.mode.request(body, "chat")
        assert request is not None
        return await self.mode.answer(request, upstream, probe)


def test_the_answer_is_the_one_without_t2(tmp_path: Path) -> None:
    script = ["#### 7", "#### 7", "#### 7", "#### 8", "#### 7"]
    upstream, shadowed = ScriptedUpstream(script), Shadowed("asc", tmp_path / "log.jsonl")
    response = shadowed.run(shadowed.answer(BODY, upstream, probe_of("asc")))
    assert upstream.bodies == [{**BODY, "n": 5}]
    assert [choice["message"]["content"] for choice in response["choices"]] == script
    assert "t2" not in response
    assert all("token_ids" not in choice for choice in response["choices"])
    assert response["usage"]["prompt_tokens"] == PROMPT_TOKENS
    (record,) = read_shadow_log(shadowed.path)
    assert (record.drawn, record.request_id, record.agrees) == (5, response["id"], True)
    assert record.samples < 5
    assert record.drawn_tokens == 35
    assert record.text is None
    assert shadowed.registry.get_sample_value("t2_shadow_requests_total", {"agrees": "yes"}) == 1


def test_a_stream_is_the_one_without_t2(tmp_path: Path) -> None:
    upstream, shadowed = ScriptedUpstream(["#### 7", "#### 8"]), Shadowed("head", tmp_path / "log.jsonl")
    chunks = shadowed.run(shadowed.stream({**BODY, "n": 2, "stream": True}, upstream, probe_of("head")))
    assert all(chunk["choices"] for chunk in chunks), "no usage was asked for"
    texts = ["", ""]
    for chunk in chunks:
        for piece in chunk["choices"]:
            assert "token_ids" not in piece
            texts[piece["index"]] += piece["delta"].get("content") or ""
    assert texts == ["#### 7", "#### 8"]
    (record,) = read_shadow_log(shadowed.path)
    assert (record.drawn, record.drawn_tokens, record.fell_back) == (2, 14, False)


def test_texts_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    shadowed = Shadowed("asc", tmp_path / "log.jsonl", with_text=True)
    shadowed.run(shadowed.answer({**BODY, "n": 2}, ScriptedUpstream(["#### 7", "?"]), probe_of("asc")))
    (record,) = read_shadow_log(shadowed.path)
    assert record.text is not None
    assert (record.text.texts, record.text.answers) == (("#### 7", "?"), ("7", None))
    assert "3+4" in record.text.prompt


def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadowed = Shadowed("asc", tmp_path / "log.jsonl")
    probe = probe_of("asc")
    monkeypatch.setattr("t2.api.shadowing.shadow_record", lambda *_, **__: 1 / 0)
    response = shadowed.run(shadowed.answer(BODY, ScriptedUpstream(["#### 7"]), probe))
    assert len(response["choices"]) == 5
    assert shadowed.registry.get_sample_value("t2_shadow_requests_total", {"agrees": "lost"}) == 1


def test_what_t2_could_not_decide_is_left_alone(tmp_path: Path) -> None:
    mode = Shadowed("asc", tmp_path / "log.jsonl").mode
    assert mode.request({**BODY, "use_beam_search": True}, "chat") is None
    assert mode.request({"model": "m", "prompt": ["a", "b"]}, "completion") is None


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_ends_waits_for_the_line_of_a_request(tmp_path: Path, stream: bool) -> None:
    """The client has its answer, the head is still to be asked, and the engine must not be shut down before."""
    shadowed = Shadowed("head", tmp_path / "log.jsonl")
    upstream, probe = ScriptedUpstream(["#### 7"]), probe_of("head", seconds=0.1)
    lines: list[int] = []

    async def ended() -> None:
        await (shadowed.stream if stream else shadowed.answer)(BODY, upstream, probe)
        shutdown = shadowed.drain.before(lambda timeout: lines.append(len(list(read_shadow_log(shadowed.path)))))
        await asyncio.to_thread(shutdown, timeout=10.0)

    asyncio.run(ended())
    assert lines == [1]


def test_a_request_that_is_still_answered_holds_the_shutdown_too(tmp_path: Path) -> None:
    shadowed = Shadowed("head", tmp_path / "log.jsonl")

    async def half() -> tuple[bool, bool]:
        request = shadowed.mode.request(BODY, "chat")
        assert request is not None
        chunks = shadowed.mode.stream(request, ScriptedUpstream(["#### 7"]), probe_of("head"))
        await anext(chunks)
        during = shadowed.drain.wait(0)
        await chunks.aclose()
        return during, shadowed.drain.wait(0)

    assert asyncio.run(half()) == (False, True)


def test_the_log_says_which_prompt_a_request_had(tmp_path: Path) -> None:
    """The scripted export knows of no prompt."""
    shadowed = Shadowed("asc", tmp_path / "log.jsonl")
    shadowed.run(shadowed.answer(BODY, ScriptedUpstream(["#### 7"]), probe_of("asc")))
    (record,) = read_shadow_log(shadowed.path)
    assert record.prompt == "other"
