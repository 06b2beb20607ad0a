"""The gateway between the stock `openai` client and a scripted server that knows nothing of T2."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from helpers.scripted_server import PROMPT_TOKENS, SAMPLE_TOKENS, ScriptedServer, refusal, running
from helpers.scripted_serving import asking
from helpers.serving_heads import served
from helpers.trained_head import MODEL, export_trained
from prometheus_client import CollectorRegistry

from t2.answering.planner import Planner
from t2.api.admission import Admission
from t2.api.deciding import Decider
from t2.api.description import described
from t2.api.parts import Parts
from t2.api.requests import BudgetMode
from t2.api.settings import AnswerSettings
from t2.api.waves import Orchestrator
from t2.budget_head import BudgetHead
from t2.gateway.app import Gateway, Keys, gateway_app
from t2.gateway.prompt_probe import PromptProbe
from t2.gateway.prompt_reader import PromptReader
from t2.head_record import Prompt
from t2.policies.one_round import FixedN
from t2.policies.record import Policy
from t2.policies.stoppers import PlanWithHead, StopByVotes
from t2.shadow.log import read_shadow_log

AUTO = {"vllm_xargs": {"t2_budget": "auto"}}
VOTE = {"vllm_xargs": {"t2_budget": "auto", "t2_vote": True}}
QUESTION: list[Any] = [{"role": "user", "content": "2+2"}]
ASC = StopByVotes(7, 0.9)


@contextmanager
def gateway(
    url: str,
    head: BudgetHead | Policy = ASC,
    *,
    probe: PromptProbe | None = None,
    keys: Keys | None = None,
    default: BudgetMode = "off",
    patience: float = 5.0,
    read_seconds: float = 10.0,
    most_at_once: int | None = None,
    shadow_log: Path | None = None,
) -> Iterator[str]:
    """The gateway's address."""
    head = head if isinstance(head, BudgetHead) else served(head)[0]
    planner, registry = Planner(head, has_activations=probe is not None), CollectorRegistry()
    settings = AnswerSettings(
        default=default,
        shadow=None if shadow_log is None else 7,
        shadow_log=None if shadow_log is None else str(shadow_log),
    )
    parts = Parts.of(planner, settings, 20.0, None, registry=registry)
    patient = Admission(parts.metrics.wave_refused, patience)
    decider = Decider(planner, 20.0, planner.n_ref)
    made = Gateway(
        client=httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(read_seconds), trust_env=False),
        parts=replace(parts, orchestrator=Orchestrator(decider, parts.metrics, parts.drain, patient)),
        probe=probe,
        keys=keys or Keys(),
        about=described(planner, parts.reader, "head"),
        registry=registry,
        most_at_once=most_at_once,
    )
    with running(gateway_app(made)) as address:
        yield address


@contextmanager
def both(server: ScriptedServer, head: BudgetHead | Policy = ASC, **settings: Any) -> Iterator[openai.OpenAI]:
    """A client in front of the gateway in front of the server."""
    with running(server.app) as url, gateway(url, head, **settings) as address, client_of(address) as client:
        yield client


def client_of(address: str, key: str = "EMPTY") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0, timeout=20)


def ask(client: openai.OpenAI, extra: dict[str, Any], **more: Any) -> Any:
    return client.chat.completions.create(model="scripted", messages=QUESTION, extra_body=extra, **more)


def test_auto_gives_all_choices_and_says_what_was_decided() -> None:
    """ASC at 0.9 stops at three equal votes."""
    server = ScriptedServer(["so #### 4"])
    with both(server) as client:
        answer = ask(client, AUTO)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"so #### 4"}
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (PROMPT_TOKENS, 3 * SAMPLE_TOKENS)
    assert answer.t2["votes"] == {"4": 3}
    assert answer.t2["rounds"] == [3]
    assert answer.t2["decided"] == "by votes alone"
    assert 0 < answer.t2["confidence"] < 1


def test_a_vote_gives_the_shortest_text_of_the_winner_after_as_many_rounds_as_it_takes() -> None:
    server = ScriptedServer(["so #### 4", "#### 5", "#### 4"])
    with both(server) as client:
        answer = ask(client, VOTE)
    (choice,) = answer.choices
    assert choice.message.content == "#### 4"
    assert answer.t2["answer"] == "4"
    assert sum(answer.t2["rounds"]) == server.drawn
    assert len(answer.t2["rounds"]) > 1
    assert answer.usage.completion_tokens == SAMPLE_TOKENS * server.drawn


def test_the_server_gets_standard_fields_and_the_clients_own_alone() -> None:
    server = ScriptedServer()
    with both(server) as client:
        ask(client, {**AUTO, "min_p": 0.1, "vllm_xargs": {"t2_budget": "auto", "mine": 1}}, temperature=0.3)
    (body,) = server.seen
    assert body["n"] == 3
    assert (body["temperature"], body["min_p"], body["vllm_xargs"]) == (0.3, 0.1, {"mine": 1})
    assert not {"return_token_ids", "top_k", "chat_template_kwargs", "request_id"} & body.keys()
    assert body["max_tokens"] == 64, "as the export's samples were drawn"


TOLD = Prompt("chat", "", (), "f" * 64, template_arguments={"enable_thinking": False})


def test_the_server_is_told_what_the_heads_chat_template_was_told() -> None:
    """Without it the server renders another prompt than the head was trained with."""
    head = served(ASC)[0]
    head = BudgetHead(replace(head.record, prompt=TOLD), None, head.votes)
    server = ScriptedServer()
    with both(server, head) as client:
        answers = [
            ask(client, {**AUTO, **({} if told is None else {"chat_template_kwargs": told})}).t2["prompt"]
            for told in (None, {"enable_thinking": False}, {"enable_thinking": True})
        ]
    assert answers == ["as sent", "as sent", "other"]
    off, on = {"enable_thinking": False}, {"enable_thinking": True}
    assert [body["chat_template_kwargs"] for body in server.seen] == [off, off, on]


def test_template_arguments_of_another_type_are_refused_by_name() -> None:
    with both(ScriptedServer()) as client, pytest.raises(openai.BadRequestError, match="`chat_template_kwargs` as an"):
        ask(client, {**AUTO, "chat_template_kwargs": "thinking"})


def test_the_head_reads_another_prompt_with_the_requests_own_template_arguments() -> None:
    """Its own prompt it reads with those that it was trained with."""
    told: list[Any] = []

    class Reader:
        def chat_prompt(self, turns: Any, arguments: Any) -> list[int]:
            told.append(arguments)
            return [1]

        def raw(self, prompts: Any) -> Any:
            return torch.zeros(len(prompts), 1)

    probe = PromptProbe(Reader())  # type: ignore[arg-type]
    body = {"messages": QUESTION, "chat_template_kwargs": {"enable_thinking": True}}
    for prompt in ("other", "completed", "as sent"):
        asyncio.run(probe.read(asking(body=body, prompt=prompt)))
    asyncio.run(probe.read(asking(body={"messages": QUESTION}, prompt="other")))
    probe.close()
    assert told == [{"enable_thinking": True}, None, None, {}]


@pytest.mark.parametrize("include_usage", [False, True])
def test_streamed_choices_are_those_of_all_rounds(include_usage: bool) -> None:
    server = ScriptedServer(["#### 4", "#### 5", "\u2028#### 4", "#### 4"])
    options: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
    with both(server) as client:
        chunks = list(ask(client, AUTO, stream=True, **options))
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    assert sorted(texts) == list(range(server.drawn))
    assert texts[2] == "\u2028#### 4", "a line separator inside a JSON text ends no line"
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].t2["samples"] == server.drawn
    if include_usage:
        assert chunks[-1].usage.completion_tokens == SAMPLE_TOKENS * server.drawn


def test_planned_rounds_without_a_prior_take_the_training_questions_plan() -> None:
    head = served(PlanWithHead(7, 3.0, 0.5))[0]
    server = ScriptedServer(["#### 4", "#### 5"])
    with both(server, head) as client:
        answer = ask(client, {"vllm_xargs": {"t2_budget": "auto", "t2_max_rounds": 1}})
    assert answer.t2["decided"] == "by votes alone"
    assert len(answer.t2["rounds"]) == 1
    assert answer.t2["samples"] == server.drawn


def test_a_server_that_draws_one_at_a_time_gives_all_the_same() -> None:
    server = ScriptedServer(most_choices=1)
    with both(server, FixedN(5)) as client:
        assert len(ask(client, AUTO).choices) == 5
    assert [body["n"] for body in server.seen] == [5, 1, 1, 1, 1]


def test_a_limit_on_n_splits_waves() -> None:
    server = ScriptedServer()
    with both(server, FixedN(5), most_at_once=2) as client:
        assert len(ask(client, AUTO).choices) == 5
    assert sorted(body["n"] for body in server.seen) == [1, 2, 2]


def test_a_full_server_is_asked_again_and_nothing_is_lost() -> None:
    server = ScriptedServer(troubles=_troubles(refusal(429, retry_after="0.05"), refusal(503)))
    with both(server, FixedN(5)) as client:
        answer = ask(client, AUTO)
    assert len(answer.choices) == 5
    assert server.drawn == 5


def test_an_exhausted_quota_is_told_at_once() -> None:
    server = ScriptedServer(troubles=_troubles(refusal(429, code="insufficient_quota")))
    with both(server) as client, pytest.raises(openai.RateLimitError, match="scripted"):
        ask(client, AUTO)
    assert len(server.seen) == 1


def test_a_server_that_stays_full_is_told_as_it_says_it() -> None:
    server = ScriptedServer(troubles=_troubles(*[refusal(503)] * 50))
    with both(server, patience=0.3) as client, pytest.raises(openai.InternalServerError, match="scripted") as caught:
        ask(client, AUTO)
    assert caught.value.status_code == 503


@pytest.mark.parametrize("extra", [AUTO, {}], ids=["auto", "passed on"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_dead_server_is_a_clear_503(extra: dict[str, Any], stream: bool) -> None:
    with gateway(f"http://127.0.0.1:{_free_port()}") as address, client_of(address) as client:
        with pytest.raises(openai.InternalServerError, match="Expected an answer of the server behind") as caught:
            ask(client, extra, stream=stream)
        assert caught.value.status_code == 503
        assert httpx.get(f"{address}/health").status_code == 503
        assert httpx.get(f"{address}/v1/models").json()["error"]["code"] == 503


def test_a_server_that_dies_in_the_middle_is_said() -> None:
    server = ScriptedServer(troubles=_troubles("breaks", "breaks"))
    with both(server, FixedN(3)) as client:
        with pytest.raises(openai.InternalServerError, match="Expected the whole answer") as caught:
            ask(client, AUTO)
        assert caught.value.status_code == 502
        stream = ask(client, AUTO, stream=True)
        with pytest.raises(openai.APIError, match="Expected the whole answer"):
            list(stream)
    assert len(server.seen) == 2, "what had begun was asked for again"


def test_an_error_that_a_stream_says_itself_is_passed_on() -> None:
    server = ScriptedServer(troubles=_troubles("says"))
    with both(server, FixedN(3)) as client, pytest.raises(openai.APIError, match="the engine is dead"):
        list(ask(client, AUTO, stream=True))


def test_a_server_that_says_nothing_is_a_504() -> None:
    server = ScriptedServer(troubles=_troubles("waits"))
    with both(server, read_seconds=0.3) as client, pytest.raises(openai.InternalServerError) as caught:
        ask(client, AUTO)
    assert caught.value.status_code == 504
    assert len(server.seen) == 1, "the server may be at work on it"


@pytest.mark.parametrize("trouble", [400, 401, 404, 422, 500])
def test_what_the_server_refuses_is_told_as_it_says_it(trouble: int) -> None:
    server = ScriptedServer(troubles=_troubles(refusal(trouble)))
    with both(server) as client, pytest.raises(openai.APIStatusError, match="scripted") as caught:
        ask(client, AUTO)
    assert caught.value.status_code == trouble
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("extra", "more", "message"),
    [
        ({"vllm_xargs": {"t2_budget": "auto", "t2_prise": 1}}, {}, "Expected options among"),
        ({"vllm_xargs": {"t2_budget": "auto"}}, {"n": 4}, "Expected `n` or `t2_budget"),
        ({"vllm_xargs": {"t2_budget": "auto", "t2_vote": True}}, {"stream": True}, "got both"),
        ({"vllm_xargs": {"t2_vote": True}}, {}, "Expected `t2_budget"),
        ({"t2_budget": "auto"}, {}, "inside `vllm_xargs`"),
        ({"vllm_xargs": {"t2_budget": "auto", "t2_max_samples": 0}}, {}, "t2_max_samples"),
        ({**AUTO, "messages": "2+2"}, {}, "Expected `messages` as a list of objects"),
        ({**AUTO, "stream_options": "yes"}, {}, "Expected `stream_options` as an object"),
    ],
)
def test_what_makes_no_sense_is_a_400_and_never_reaches_the_server(
    extra: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    server = ScriptedServer()
    with both(server) as client, pytest.raises(openai.BadRequestError, match=message):
        ask(client, extra, **more)
    assert not server.seen


def test_a_client_that_leaves_ends_what_runs_for_it() -> None:
    server = ScriptedServer(troubles=_troubles("waits", "waits", "waits"))
    with running(server.app) as url, gateway(url) as address:
        asked = {"model": "scripted", "messages": QUESTION}
        for left, (method, path, body) in enumerate(
            [
                ("POST", "/v1/chat/completions", {**asked, **AUTO}),
                ("POST", "/v1/chat/completions", asked),
                ("GET", "/slow", None),
            ]
        ):
            with pytest.raises(httpx.ReadTimeout):
                httpx.request(method, f"{address}{path}", json=body, timeout=0.3)
            _until(lambda left=left: server.left == left + 1)


def test_a_client_that_leaves_a_stream_ends_it() -> None:
    server = ScriptedServer(["#### 4" + " " * 4000])
    with running(server.app) as url, gateway(url) as address:
        body = {"model": "scripted", "messages": QUESTION, "stream": True, **AUTO}
        with httpx.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
            next(response.iter_lines())
        _until(lambda: 't2_requests_total{outcome="left"} 1.0' in httpx.get(f"{address}/metrics").text)


def test_requests_without_t2_are_passed_on_untouched() -> None:
    server = ScriptedServer()
    with both(server) as client:
        answer = ask(client, {"min_p": 0.5}, n=2, stream=False)
        assert len(answer.choices) == 2
        assert not hasattr(answer, "t2")
        texts = [chunk.choices[0].delta.content for chunk in ask(client, {}, stream=True) if chunk.choices]
        assert "".join(filter(None, texts)) == "#### 4"
        ask(client, {"vllm_xargs": {"t2_budget": "off", "mine": 2}})
        ask(client, {"vllm_xargs": {"t2_budget": "off"}})
    assert server.seen[0] == {"messages": QUESTION, "model": "scripted", "n": 2, "stream": False, "min_p": 0.5}
    assert server.seen[2]["vllm_xargs"] == {"mine": 2}
    assert "vllm_xargs" not in server.seen[3]


def test_a_default_of_auto_leaves_alone_what_it_cannot_decide() -> None:
    server = ScriptedServer()
    with both(server, default="auto") as client:
        assert ask(client, {}).t2["samples"] == 3
        assert len(ask(client, {}, n=2).choices) == 2
        completion: Any = client.completions.create(model="scripted", prompt="2+2=")
        assert completion.t2["samples"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_in_shadow_mode_requests_are_answered_as_before_and_watched(tmp_path: Path, stream: bool) -> None:
    """ASC would have stopped at three equal votes of the seven."""
    server, log = ScriptedServer(), tmp_path / "shadow.jsonl"
    with both(server, shadow_log=log) as client:
        answer = ask(client, {}, stream=stream)
        indices = {choice.index for chunk in (answer if stream else [answer]) for choice in chunk.choices}
        assert indices == set(range(7))
        assert ask(client, AUTO).t2["samples"] == 3, "who asks T2 gets T2"
        _until(lambda: log.stat().st_size > 0)  # it is written when the client has its answer
    (record,) = read_shadow_log(log)
    assert (record.drawn, record.rounds, record.agrees) == (7, (3,), True)
    assert (record.drawn_tokens, record.tokens) == (7 * SAMPLE_TOKENS, 3 * SAMPLE_TOKENS)
    assert record.text is None


def test_a_gateway_that_ends_writes_the_lines_that_are_still_to_come(tmp_path: Path) -> None:
    planner, registry = Planner(served(ASC)[0]), CollectorRegistry()
    settings = AnswerSettings(shadow=2, shadow_log=str(tmp_path / "log"))
    parts = Parts.of(planner, settings, 5.0, None, registry=registry)
    app = gateway_app(Gateway(httpx.AsyncClient(), parts, None, Keys(), {}, registry))
    done: list[str] = []

    async def written() -> None:
        await asyncio.sleep(0.1)
        done.append("written")

    async def ended() -> None:
        async with app.router.lifespan_context(app):
            parts.drain.later(written())
        done.append("ended")

    asyncio.run(ended())
    assert done == ["written", "ended"]


CANCEL = {"vllm_xargs": {"t2_budget": "auto", "t2_cancel": True}}
LONG = " and so on" * 9
"""ASC at 0.9 stops when the three short ones have ended; the four long ones have as many characters by then."""


def test_tokens_of_aborted_samples_are_counted_where_the_server_counts_as_it_goes() -> None:
    """They were guessed from the chunks, and the prompt's were not known at all."""
    server = ScriptedServer(["#### 4", "#### 4", "#### 4", LONG, LONG, LONG, LONG], continuous=True)
    with both(server) as client:
        answer = ask(client, CANCEL)
        again = ask(client, CANCEL)
    said = answer.t2
    assert (said["usage"], said["aborted"], said["answer"]) == ("counted", 4, "4")
    assert answer.usage.prompt_tokens == again.usage.prompt_tokens == PROMPT_TOKENS
    # All have been read as far as the third short one's end, which is its seventh token.
    assert said["tokens"] == answer.usage.completion_tokens == 3 * 7 + 4 * 6
    assert "t2_tokens_so_far" not in answer.choices[0].to_dict()
    assert [body["stream_options"]["continuous_usage_stats"] for body in server.seen] == [True, True]


@pytest.mark.parametrize(("continuous", "asked"), [(False, [True, False, False]), (None, [True, True])])
def test_tokens_of_aborted_samples_are_estimated_elsewhere(continuous: bool | None, asked: list[bool]) -> None:
    """A server that refuses the option is asked without it, and never again with it."""
    server = ScriptedServer(["#### 4", "#### 4", "#### 4", LONG, LONG, LONG, LONG], continuous=continuous)
    with both(server) as client:
        answers = [ask(client, CANCEL) for _ in range(2)]
    assert [answer.t2["usage"] for answer in answers] == ["estimated"] * 2
    assert ["continuous_usage_stats" in body["stream_options"] for body in server.seen] == asked


def test_a_wrong_request_says_nothing_of_what_the_server_knows() -> None:
    server = ScriptedServer(troubles=_troubles(refusal(400), refusal(400)), continuous=True)
    with both(server) as client:
        with pytest.raises(openai.BadRequestError, match="scripted"):
            ask(client, CANCEL)
        assert ask(client, CANCEL).t2["usage"] == "counted"


def test_each_streamed_sample_has_its_own_count(tmp_path: Path) -> None:
    """In shadow mode too, whose client sees no more usage than without T2."""
    server, log = ScriptedServer(["#### 4", "so #### 4"], continuous=True), tmp_path / "shadow.jsonl"
    with both(server, shadow_log=log) as client:
        chunks = list(ask(client, {}, stream=True, n=2, stream_options={"include_usage": True}))
        _until(lambda: log.stat().st_size > 0)
    (record,) = read_shadow_log(log)
    assert (record.drawn_tokens, record.drawn_path) == (7 + 10, 10)
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert not [chunk for chunk in chunks if "t2_" in chunk.to_json()]


def test_everything_else_goes_through_byte_for_byte() -> None:
    server = ScriptedServer()
    with running(server.app) as url, gateway(url) as address:
        sent = {"x-mine": "1", "connection": "x-hop", "x-hop": "no", "cookie": "a=b"}
        path = "/echo/a%2Fb//c%20d?q=1&q=%C3%BC"
        response = httpx.post(f"{address}{path}", content=b"\x00\xff raw", headers=sent)
        again = httpx.get(f"{address}/echo/x").json()
        assert httpx.delete(f"{address}/echo/x").json()["method"] == "DELETE"
        assert httpx.get(f"{address}/nowhere").status_code == 404
    said = response.json()
    assert response.status_code == 201
    assert response.headers.get_list("x-twice") == ["one", "two"]
    assert response.headers["set-cookie"] == "secret=of-somebody"
    assert (said["path"], said["query"]) == ("/echo/a%2Fb//c%20d", "q=1&q=%C3%BC")
    assert said["body"] == "\x00\xff raw"
    headers = dict(said["headers"])
    assert headers["x-mine"] == "1"
    assert headers["cookie"] == "a=b"
    assert headers["host"] == url.removeprefix("http://")
    assert "x-hop" not in headers
    assert "cookie" not in dict(again["headers"]), "a cookie of one client was sent for another"


KEYS = [
    # the server's key, the clients' key, what the client sends -> what the server gets, None: the client is refused
    ("server", None, "EMPTY", "Bearer server"),
    ("server", None, "mine", "Bearer mine"),
    (None, None, "mine", "Bearer mine"),
    (None, None, "EMPTY", "Bearer EMPTY"),
    ("server", "door", "door", "Bearer server"),
    ("server", "door", "mine", None),
    ("server", "door", "EMPTY", None),
]


@pytest.mark.parametrize(("servers", "clients", "sent", "got"), KEYS)
def test_keys(servers: str | None, clients: str | None, sent: str, got: str | None) -> None:
    server = ScriptedServer()
    with running(server.app) as url, gateway(url, keys=Keys(servers, clients)) as address:
        with client_of(address, sent) as client:
            for extra in (AUTO, {}):
                if got is None:
                    with pytest.raises(openai.AuthenticationError, match="Expected the gateway's key"):
                        ask(client, extra)
                else:
                    ask(client, extra)
        guarded = httpx.get(f"{address}/t2", headers={"authorization": f"Bearer {sent}"})
        assert guarded.status_code == (401 if got is None else 200)
        assert httpx.get(f"{address}/health").status_code == 200
    assert [headers.get("authorization") for headers in server.headers] == ([] if got is None else [got, got])


def test_a_key_of_the_gateway_stays_there() -> None:
    """Also where the server behind wants none."""
    server = ScriptedServer()
    with (
        running(server.app) as url,
        gateway(url, keys=Keys(None, "door")) as address,
        client_of(address, "door") as client,
    ):
        for extra in (AUTO, {}):
            ask(client, extra)
    assert [headers.get("authorization") for headers in server.headers] == [None, None]


def test_tracing_headers_go_along_and_cookies_do_not() -> None:
    server = ScriptedServer()
    with both(server) as client:
        ask(client, AUTO, extra_headers={"traceparent": "00-1", "cookie": "a=b", "openai-organization": "o"})
    (headers,) = server.headers
    assert (headers["traceparent"], headers["openai-organization"]) == ("00-1", "o")
    assert "cookie" not in headers


def test_what_the_gateway_says_of_itself() -> None:
    server = ScriptedServer()
    with running(server.app) as url, gateway(url) as address:
        with client_of(address) as client:
            ask(client, AUTO)
        about = httpx.get(f"{address}/t2").json()
        metrics = httpx.get(f"{address}/metrics").text
        assert httpx.get(f"{address}/health").status_code == 200
    assert about["policy"].startswith("ASC(")
    assert about["reads_activations"] is False
    assert 't2_requests_total{outcome="answered"} 1.0' in metrics
    assert "t2_samples_total 3.0" in metrics


def test_many_at_once() -> None:
    server = ScriptedServer()
    with both(server) as client, ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda _: ask(client, VOTE), range(64)))
    assert {len(answer.choices) for answer in answers} == {1}
    assert server.drawn == 64 * 3


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> BudgetHead:
    return BudgetHead.from_pretrained(export_trained(tmp_path_factory.mktemp("head")))


def test_the_head_reads_prompts_in_this_process(trained: BudgetHead) -> None:
    """What it decides is what the export decides of the same questions, read one by one."""
    server = ScriptedServer([f"#### {number}" for number in range(7)])  # nobody agrees: the plan goes as far as it can
    questions = ["12+7", "23-4", "305-87+12-9"]
    probe = PromptProbe(PromptReader.of(trained, MODEL))
    planner, told = Planner(trained), []
    with both(server, trained, probe=probe) as client:
        for question in questions:
            turns: Any = [{"role": "user", "content": question}]
            answer: Any = client.chat.completions.create(model="scripted", messages=turns, extra_body=AUTO)
            told.append((answer.t2["decided"], answer.t2["rounds"][0], answer.t2["prompt"]))
    pooled_BLD = trained.activations(questions, MODEL)
    expected = [planner.plan(trained.raw(pooled_LD)).first for pooled_LD in pooled_BLD]
    assert [first for _, first, _ in told] == expected
    assert {how for how, _, _ in told} == {"by the head"}


def test_prompts_that_cannot_be_read_are_answered_all_the_same(trained: BudgetHead) -> None:
    server = ScriptedServer()
    probe = PromptProbe(PromptReader.of(trained, MODEL))
    with running(server.app) as url, gateway(url, trained, probe=probe) as address, client_of(address) as client:
        long: Any = [{"role": "user", "content": "1+" * 400 + "1"}]
        answer: Any = client.chat.completions.create(model="scripted", messages=long, extra_body=AUTO)
        assert answer.t2["decided"].startswith("fallback")
        assert answer.t2["samples"] == Planner(trained).n_ref
        assert "t2_fallbacks_total" in httpx.get(f"{address}/metrics").text


def _troubles(*troubles: Any) -> deque[Any]:
    return deque(troubles)


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _until(holds: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
