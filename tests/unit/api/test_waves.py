"""Requests answered on a scripted server: whatever the plan and the server, no sample is lost or counted twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from threading import Event
from typing import Any

import pytest
import torch
from helpers.scripted_probe import POLICIES, planner_of, probe_of
from helpers.scripted_serving import asking, collected, orchestrator
from helpers.scripted_upstream import PROMPT_TOKENS, ScriptedUpstream
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from t2.answering.options import AnswerOptions
from t2.answering.plan import QuestionPlan
from t2.api.upstream import Json, UpstreamError


def run(work: Coroutine[Any, Any, Json]) -> Json:
    return asyncio.run(work)


SEEDED = {**asking().body, "seed": 0}
"""The scripted server gives by it the samples that this draw number has, in whatever order requests come."""
TEXTS = ("#### 7", "#### 8", "so #### 7", "...#### 7", "who knows", "it is #### 9")
SERVERS = st.fixed_dictionaries(
    {
        "script": st.lists(st.sampled_from(TEXTS), min_size=16, max_size=16),
        "most_at_once": st.sampled_from([None, 1, 2, 3]),
        "refuse_above": st.sampled_from([None, 1, 2, 4]),
        "refusals": st.integers(0, 3),
        "draws_one": st.booleans(),
        "counts_tokens": st.booleans(),
    }
)


@settings(max_examples=120, deadline=None)
@given(SERVERS, st.sampled_from(sorted(POLICIES)), st.integers(0, 49), st.sampled_from(["all", "vote", "cancel"]))
def test_no_sample_is_lost_or_counted_twice(server: dict[str, Any], policy: str, row: int, mode: str) -> None:
    upstream, probe = ScriptedUpstream(**server), probe_of(policy, row)
    request = asking(body=SEEDED, vote=mode == "vote", cancel=mode == "cancel")
    response = run(orchestrator(policy).answer(request, upstream, probe))
    said, usage = response["t2"], response["usage"]
    probed = len(probe.read_bodies)
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert said["tokens"] == usage["completion_tokens"]
    is_counted = server["counts_tokens"] or mode != "cancel" or said["greedy"]
    assert said["usage"] == ("counted" if is_counted else "estimated")
    if said["usage"] == "counted":
        assert usage["prompt_tokens"] == PROMPT_TOKENS
        assert usage["completion_tokens"] == upstream.generated + probed
    assert said["samples"] == upstream.drawn == sum(said["rounds"])
    assert sum(said["votes"].values()) + said["abstained"] + said["aborted"] == said["samples"]
    assert upstream.running == 0
    texts = [choice["message"]["content"] for choice in response["choices"]]
    assert [choice["index"] for choice in response["choices"]] == list(range(len(texts)))
    if mode == "vote":
        assert len(texts) == 1
    elif mode == "all":
        assert texts == server["script"][: upstream.drawn], "in order of draw"
    else:
        assert len(texts) == said["samples"] - said["aborted"]
        assert not Counter(texts) - Counter(server["script"][: upstream.drawn])


@settings(max_examples=120, deadline=None)
@given(SERVERS, st.sampled_from(sorted(POLICIES)), st.integers(0, 49), st.booleans())
def test_a_stream_says_the_same(server: dict[str, Any], policy: str, row: int, with_usage: bool) -> None:
    upstream, probe = ScriptedUpstream(**server), probe_of(policy, row)
    request = asking(body=SEEDED, stream=True, include_usage=with_usage)
    chunks = asyncio.run(collected(orchestrator(policy).stream(request, upstream, probe)))
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert [("t2" in chunk, "usage" in chunk) for chunk in chunks[:-1]] == [(False, False)] * (len(chunks) - 1)
    said = chunks[-1]["t2"]
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            assert "token_ids" not in piece
            texts[piece["index"]] = texts.get(piece["index"], "") + (piece["delta"].get("content") or "")
            if piece.get("finish_reason"):
                assert reasons.setdefault(piece["index"], piece["finish_reason"]) == piece["finish_reason"]
    shown = said["samples"] - said["aborted"]
    assert sorted(texts) == sorted(reasons) == list(range(shown))
    # A question that gets the greedy answer has begun a sample before that was known.
    first = 1 if said["greedy"] and said["aborted"] else 0
    assert [texts[i] for i in range(shown)] == server["script"][first : first + shown]
    assert said["samples"] == upstream.drawn == sum(said["rounds"]) + said["aborted"]
    if said["usage"] == "counted":
        assert said["tokens"] == upstream.generated + len(probe.read_bodies)
    assert (chunks[-1]["choices"] == []) == with_usage
    if with_usage:
        assert chunks[-1]["usage"]["completion_tokens"] == said["tokens"]
        assert chunks[-1]["usage"]["prompt_tokens"] == PROMPT_TOKENS


def test_the_vote_shows_the_shortest_text_of_the_winner() -> None:
    upstream = ScriptedUpstream(["#### 9", "long way #### 7", "#### 7", "#### 8", "so it is #### 7"])
    response = run(orchestrator("fixed").answer(asking(vote=True), upstream, probe_of("fixed")))
    (choice,) = response["choices"]
    assert (choice["index"], choice["message"]["content"]) == (0, "#### 7")
    assert response["t2"]["votes"] == {"7": 3, "9": 1, "8": 1}
    assert response["t2"]["answer"] == "7"
    assert 0 < response["t2"]["confidence"] < 1
    assert response["object"] == "chat.completion"
    assert "token_ids" not in choice


def test_answers_that_no_grader_reads_still_come() -> None:
    response = run(orchestrator("fixed").answer(asking(vote=True), ScriptedUpstream(["who knows"]), probe_of("fixed")))
    assert response["choices"][0]["message"]["content"] == "who knows"
    assert (response["t2"]["answer"], response["t2"]["confidence"], response["t2"]["abstained"]) == (None, None, 5)


def test_token_ids_are_shown_to_whom_asks_for_them() -> None:
    request = asking(body={**asking().body, "return_token_ids": True})
    response = run(orchestrator("fixed").answer(request, ScriptedUpstream(["#### 7"]), probe_of("fixed")))
    assert response["choices"][0]["token_ids"] == list(range(7))


def test_a_greedy_plan_is_one_sample_at_temperature_zero() -> None:
    request = asking(
        options=AnswerOptions(max_samples=1), body={**asking().body, "seed": 3, "top_k": 5, "top_p": 0.5, "min_p": 0.1}
    )
    upstream = ScriptedUpstream(["#### 7"])
    response = run(orchestrator("greedy").answer(request, upstream, probe_of("greedy")))
    (body,) = upstream.bodies
    assert body == {**asking().body, "n": 1, "temperature": 0, "top_p": 1}
    assert response["t2"]["greedy"] is True
    assert response["t2"]["rounds"] == [1]


def test_a_stream_of_a_greedy_question_pays_for_the_sample_that_it_has_begun() -> None:
    request = asking(stream=True, options=AnswerOptions(max_samples=1))
    upstream = ScriptedUpstream(["#### 7", "#### 8"])
    chunks = asyncio.run(collected(orchestrator("greedy").stream(request, upstream, probe_of("greedy", seconds=0.01))))
    assert [body["temperature"] for body in upstream.bodies] == [1.0, 0]
    said = chunks[-1]["t2"]
    assert (said["samples"], said["aborted"], said["answer"]) == (2, 1, "8")
    assert said["tokens"] == 7 + 7 + 1
    assert upstream.running == 0


def test_seeds_go_on_from_wave_to_wave() -> None:
    """A later wave with the same seed would bring the same samples again."""
    upstream = ScriptedUpstream(["#### 7", "#### 8", "#### 9"], most_at_once=2)
    run(orchestrator("fixed").answer(asking(body={**asking().body, "seed": 40}), upstream, probe_of("fixed")))
    assert sorted((body["seed"], body["n"]) for body in upstream.bodies) == [(40, 2), (42, 2), (44, 1)]


def test_cancelled_samples_are_aborted_at_the_stop() -> None:
    """ASC stops when the short answers agree; the long ones are cut off and paid for as far as they got."""
    script = ["#### 7", "#### 7", "#### 7", "#### 7", "x" * 50, "y" * 50, "z" * 50]
    upstream = ScriptedUpstream(script)
    response = run(orchestrator("asc").answer(asking(cancel=True), upstream, probe_of("asc")))
    said = response["t2"]
    assert said["rounds"] == [7]
    assert said["aborted"] >= 3
    assert said["answer"] == "7"
    assert said["tokens"] == upstream.generated < 60
    assert response["object"] == "chat.completion"
    assert [choice["message"]["role"] for choice in response["choices"]] == ["assistant"] * (7 - said["aborted"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seconds": 60.0}, "timeout"),
        ({"error": UpstreamError(500, {"error": {"message": "dead"}})}, "engine"),
        ({"error": UpstreamError(503, {"error": {"message": "full"}}, refused=True)}, "refused"),
        ({"error": RuntimeError("boom")}, "error"),
        ({"raw_O": torch.tensor([float("nan")])}, "outputs"),
    ],
)
def test_a_probe_that_fails_costs_the_head_not_the_answer(changes: dict[str, Any], reason: str) -> None:
    probe = probe_of("head")
    for name, value in changes.items():
        setattr(probe, name, value)
    registry, upstream = CollectorRegistry(), ScriptedUpstream(["#### 7"])
    response = run(orchestrator("head", registry, probe_seconds=0.05).answer(asking(), upstream, probe))
    assert response["t2"]["decided"] == f"fallback: {reason}"
    assert response["t2"]["rounds"] == [3]
    assert registry.get_sample_value("t2_fallbacks_total", {"reason": reason}) == 1
    assert registry.get_sample_value("t2_requests_total", {"outcome": "answered"}) == 1


def test_a_probe_outlasts_an_engine_that_is_full_for_a_moment() -> None:
    full = UpstreamError(503, {"error": {"message": "full"}}, refused=True)
    probe, registry = probe_of("head", error=full, errors=2), CollectorRegistry()
    response = run(orchestrator("head", registry).answer(asking(), ScriptedUpstream(["#### 7"]), probe))
    assert response["t2"]["decided"] == "by the head"
    assert len(probe.read_bodies) == 3
    assert registry.get_sample_value("t2_fallbacks_total", {"reason": "refused"}) is None


def test_a_stream_shows_its_first_sample_before_the_plan_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning waits here until the client has got text; a stream that waited for the plan would never give any."""
    got_text, planner, plans = Event(), planner_of("head"), planner_of("head").plans

    def late(*asked: Any) -> list[QuestionPlan]:
        assert got_text.wait(20)
        return plans(*asked)

    monkeypatch.setattr(planner, "plans", late)

    async def texts() -> list[Json]:
        chunks = []
        async for chunk in orchestrator("head").stream(
            asking(stream=True), ScriptedUpstream(["#### 7", "#### 8"]), probe_of("head")
        ):
            chunks.append(chunk)
            if any(piece["delta"].get("content") for piece in chunk["choices"]):
                got_text.set()
        return chunks

    said = asyncio.run(texts())[-1]["t2"]
    assert said["samples"] == sum(said["rounds"]) > 1
    assert said["decided"] == "by the head"


def test_a_wrong_request_is_no_fallback() -> None:
    probe, registry = (
        probe_of("head", error=UpstreamError(400, {"error": {"message": "too long"}})),
        CollectorRegistry(),
    )
    with pytest.raises(UpstreamError, match="too long"):
        run(orchestrator("head", registry).answer(asking(), ScriptedUpstream(["#### 7"]), probe))
    assert registry.get_sample_value("t2_requests_total", {"outcome": "refused"}) == 1
    assert registry.get_sample_value("t2_fallbacks_total", {"reason": "engine"}) is None


def test_an_engine_that_stays_full_says_so_in_the_end() -> None:
    upstream = ScriptedUpstream(["#### 7"], refusals=10**6)
    with pytest.raises(UpstreamError, match="full") as error:
        run(orchestrator("fixed", patience_seconds=0.05).answer(asking(), upstream, probe_of("fixed")))
    assert error.value.status == 503


@pytest.mark.parametrize("way", ["answer", "cancel", "stream"])
def test_a_client_that_leaves_ends_everything(way: str) -> None:
    registry, upstream = CollectorRegistry(), ScriptedUpstream(["x" * 10_000])
    served_by = orchestrator("asc", registry)

    async def leave() -> None:
        if way == "stream":
            chunks = served_by.stream(asking(stream=True), upstream, probe_of("asc"))
            await anext(chunks)
            await chunks.aclose()
            return
        upstream.send = never  # type: ignore[method-assign]
        work = asyncio.create_task(served_by.answer(asking(cancel=way == "cancel"), upstream, probe_of("asc")))
        await asyncio.sleep(0.02)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    async def never(body: Json) -> Json:
        upstream.running += 1
        try:
            await asyncio.sleep(60)
        finally:
            upstream.running -= 1
        return {}

    asyncio.run(leave())
    assert upstream.running == 0
    assert registry.get_sample_value("t2_requests_total", {"outcome": "left"}) == 1


def test_what_is_counted() -> None:
    registry = CollectorRegistry()
    upstream = ScriptedUpstream(["#### 7", "#### 8"])
    run(orchestrator("fixed", registry).answer(asking(), upstream, probe_of("fixed")))
    n_ref = planner_of("fixed").n_ref
    expected = {
        "t2_samples_total": 5,
        "t2_reference_samples_total": n_ref,
        "t2_generated_tokens_total": upstream.generated,
        "t2_reference_tokens_total": n_ref * upstream.generated / 5,
        "t2_chosen_samples_sum": 5,
        "t2_rounds_count": 1,
    }
    assert {name: registry.get_sample_value(name) for name in expected} == expected


def test_completions_are_answered_too() -> None:
    request = asking(kind="completion", body={"model": "scripted", "prompt": "3+4="}, stream=True)
    upstream = ScriptedUpstream(["#### 7"], kind="completion")
    chunks = asyncio.run(collected(orchestrator("fixed").stream(request, upstream, probe_of("fixed"))))
    texts = Counter[int]()
    for chunk in chunks:
        for piece in chunk["choices"]:
            texts[piece["index"]] += len(piece.get("text") or "")
    assert texts == dict.fromkeys(range(5), len("#### 7"))
    assert chunks[-1]["t2"]["answer"] == "7"
