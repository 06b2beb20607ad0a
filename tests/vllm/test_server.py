"""`t2 serve` on the embedded LLM, asked by the stock `openai` client: one server for all tests, ended by the last."""

from __future__ import annotations

import asyncio
import copy
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from helpers.running_server import KEY, RunningServer, running_server
from helpers.trained_head import CONFIG, GRID, MODEL, NUM_TRAIN, export_trained

from t2.budget_head import BudgetHead
from t2.pools.load import load_pool
from t2.prompts import PromptRenderer, load_tokenizer
from t2.shadow.log import read_shadow_log
from t2.spec import PromptSpec

pytestmark = pytest.mark.vllm

NAME = "tiny-arith"
QUEUE = 150
"""Sequences that the engine has in its queue at most: less than 64 questions want at once."""


@pytest.fixture(scope="module")
def questions() -> list[str]:
    """That the head has not seen."""
    return [question.text for question in load_pool(CONFIG).questions[NUM_TRAIN : NUM_TRAIN + 64]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = tmp_path_factory.mktemp("server")
    export_trained(made / "head")
    return made


@pytest.fixture(scope="module")
def server(folder: Any) -> Iterator[RunningServer]:
    with running_server(MODEL, folder / "head", folder, ["--max-num-queued-reqs", str(QUEUE)]) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120)


def asked(client: openai.OpenAI, question: str, *, stream: bool = False, **options: Any) -> Any:
    xargs = {"t2_budget": "auto", **options.pop("t2", {})}
    messages = [{"role": "user", "content": question}]
    create: Any = client.chat.completions.create
    return create(model=NAME, messages=messages, stream=stream, extra_body={"vllm_xargs": xargs}, **options)


def all_asked(client: openai.OpenAI, questions: list[str], **options: Any) -> list[Any]:
    """The answers to many questions that are asked at the same time."""
    with ThreadPoolExecutor(len(questions)) as threads:
        return list(threads.map(lambda question: asked(client, question, **copy.deepcopy(options)), questions))


def test_it_says_what_it_serves(server: RunningServer) -> None:
    said = server.output()
    assert "Model tiny-arith, head head: HeadThenStop(" in said
    assert "reads layers 1, 2, 3, 4." in said
    assert "N_ref, what a fixed number would take, is 16." in said


def test_auto_draws_what_the_head_outside_the_engine_would(
    client: openai.OpenAI, questions: list[str], folder: Any
) -> None:
    head = BudgetHead.from_pretrained(folder / "head")
    rules = head.rules(head.activations(questions[:16], MODEL))
    drawn = all_asked(client, questions[:16])
    expected = [rule.extra([]) for rule in rules]
    assert sum(a == b.t2["rounds"][0] for a, b in zip(expected, drawn, strict=True)) >= 15
    assert len({answer.t2["rounds"][0] for answer in drawn}) > 2
    for answer in drawn:
        said = answer.t2
        assert len(answer.choices) == said["samples"] == sum(said["rounds"]) <= max(GRID)
        assert [choice.index for choice in answer.choices] == list(range(said["samples"]))
        assert (said["decided"], said["prompt"], said["sampling"]) == ("by the head", "as sent", "as exported")
        assert answer.usage.completion_tokens == said["tokens"] > said["samples"]
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_usage_is_what_the_engine_counts(server: RunningServer, client: openai.OpenAI, questions: list[str]) -> None:
    assert server.wait_until_idle()
    before = server.metric("vllm:generation_tokens_total")
    usage = sum(asked(client, question).usage.completion_tokens for question in questions[:8])
    assert server.wait_until_idle()
    assert server.metric("vllm:generation_tokens_total") - before == usage


def test_a_vote_is_one_choice(client: openai.OpenAI) -> None:
    answer = asked(client, "3+4", t2={"t2_vote": True, "t2_max_samples": 5})
    (choice,) = answer.choices
    said = answer.t2
    assert (said["answer"], choice.index) == ("7", 0)
    assert choice.message.content.endswith("7")
    assert 0 < said["confidence"] <= 1
    assert sum(said["votes"].values()) + said["abstained"] == said["samples"] <= 5


def test_rounds_are_planned_and_limited(client: openai.OpenAI, questions: list[str]) -> None:
    options = {"t2_price": 0.1, "t2_round_price": 0}
    planned = all_asked(client, questions[:16], t2=options)
    assert max(len(answer.t2["rounds"]) for answer in planned) > 2
    two = all_asked(client, questions[:16], t2={**options, "t2_max_rounds": 2})
    assert {len(answer.t2["rounds"]) for answer in two} <= {1, 2}


def test_cancelled_samples_end_in_the_engine(
    server: RunningServer, client: openai.OpenAI, questions: list[str]
) -> None:
    answers = [asked(client, question, t2={"t2_cancel": True, "t2_vote": True}) for question in questions[:8]]
    assert sum(answer.t2["aborted"] for answer in answers) > 0
    for answer in answers:
        said = answer.t2
        assert len(said["rounds"]) == 1
        assert said["samples"] - said["aborted"] == sum(said["votes"].values()) + said["abstained"]
        assert said["usage"] == "counted"
        assert answer.usage.prompt_tokens > 0
    assert server.wait_until_idle(5)


@pytest.mark.parametrize("with_usage", [False, True])
def test_choices_are_streamed(client: openai.OpenAI, questions: list[str], with_usage: bool) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if with_usage else {}
    for question in questions[:6]:
        texts: dict[int, str] = {}
        chunks = list(asked(client, question, stream=True, t2={"t2_round_price": 0, "t2_price": 0.5}, **options))
        for chunk in chunks:
            for choice in chunk.choices:
                texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
        said = chunks[-1].t2
        assert [hasattr(chunk, "t2") for chunk in chunks[:-1]] == [False] * (len(chunks) - 1)
        assert sorted(texts) == list(range(said["samples"] - said["aborted"]))
        assert len({chunk.id for chunk in chunks}) == 1
        assert (chunks[-1].usage is not None) == with_usage
        if with_usage:
            assert chunks[-1].usage.completion_tokens == said["tokens"]


def test_completions_too(client: openai.OpenAI) -> None:
    prompt = PromptRenderer.of(load_tokenizer(MODEL), PromptSpec()).text("3+4")
    create: Any = client.completions.create
    answer = create(model=NAME, prompt=prompt, extra_body={"vllm_xargs": {"t2_budget": "auto", "t2_vote": True}})
    chat = asked(client, "3+4", t2={"t2_vote": True})
    assert (answer.t2["answer"], answer.t2["prompt"]) == ("7", "as sent")
    assert answer.usage.prompt_tokens == chat.usage.prompt_tokens
    assert answer.t2["rounds"][0] == chat.t2["rounds"][0]


def test_an_ordinary_request_is_vllms_own(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "3+4"}], n=3)
    assert len(answer.choices) == 3
    assert not hasattr(answer, "t2")


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.2},
        {"top_k": 3},
        {"logit_bias": {"70": -5}},
        {"stop_token_ids": [70], "min_tokens": 2},
        {"allowed_token_ids": [4, 5, 6, 70]},
        {"structured_outputs": {"choice": ["3", "4"]}},
        {"logprobs": True, "top_logprobs": 20},
    ],
    ids=lambda options: next(iter(options)),
)
def test_a_request_that_counts_columns_meets_those_of_the_head(
    client: openai.OpenAI, questions: list[str], options: dict[str, Any]
) -> None:
    """vLLM takes the head's columns for tokens: it indexes logits by them, beside requests that do not."""

    async def ask() -> list[Any]:
        many = openai.AsyncOpenAI(base_url=client.base_url, api_key=KEY, max_retries=0, timeout=120)
        each = [
            many.chat.completions.create(
                model=NAME, messages=[{"role": "user", "content": question}], extra_body=extra, max_tokens=20
            )
            for question, extra in zip([*questions[:2], "3+4"], [options, options, {}], strict=True)
        ]
        return await asyncio.gather(*each)

    assert [len(answer.choices) for answer in asyncio.run(ask())] == [1, 1, 1]


def test_top_logprobs_of_other_clients_are_theirs_while_a_probe_is_read(
    client: openai.OpenAI, questions: list[str]
) -> None:
    """vLLM's first model runner gave them token 0 at minus infinity, as long as a streamed first sample ran."""
    wanted: dict[str, Any] = {"logprobs": True, "top_logprobs": 5, "temperature": 0.0, "max_tokens": 40}

    async def ask() -> tuple[Any, Any]:
        many = openai.AsyncOpenAI(base_url=client.base_url, api_key=KEY, max_retries=0, timeout=120)
        message: Any = [{"role": "user", "content": questions[0]}]

        async def plain() -> Any:
            return await many.chat.completions.create(model=NAME, messages=message, **wanted)

        async def probed(question: str) -> None:
            body: Any = {"vllm_xargs": {"t2_budget": "auto"}}
            asked: Any = [{"role": "user", "content": question}]
            async for _ in await many.chat.completions.create(model=NAME, messages=asked, stream=True, extra_body=body):
                pass

        alone = await plain()
        beside, *_ = await asyncio.gather(plain(), *(probed(question) for question in questions[1:5]))
        return alone, beside

    for answer in asyncio.run(ask()):
        content = answer.choices[0].logprobs.content
        assert len(content) > 5
        for token in content:
            values = [top.logprob for top in token.top_logprobs]
            assert len(values) == 5
            assert values == sorted(values, reverse=True)
            assert values[0] == token.logprob > -5  # at temperature 0 the likeliest is drawn
            assert len({(top.token, top.logprob) for top in token.top_logprobs}) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 3}, r'`n` or `t2_budget: "auto"`, got both'),
        ({"t2": {"t2_pirce": 1}}, "got 't2_pirce' in `vllm_xargs`"),
        ({"t2": {"t2_price": -1}}, "`t2_price` as a finite number"),
        ({"t2": {"t2_vote": True}, "stream": True}, "`stream` or `t2_vote`, got both"),
        ({"t2": {"t2_max_samples": 99}}, "`t2_max_samples` of at most 16"),
        ({"temperature": "hot"}, "temperature"),
    ],
)
def test_mistakes_are_told(client: openai.OpenAI, options: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        asked(client, "3+4", **options)
    body: Any = error.value.body
    assert message in body["message"]
    assert body["code"] == 400


def test_prompts_that_are_too_long_and_images_are_refused(server: RunningServer, client: openai.OpenAI) -> None:
    fallbacks = server.metric("t2_fallbacks_total")
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        asked(client, "1+" * 300 + "1")
    parts: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    with pytest.raises(openai.BadRequestError, match=r"text alone .* got a part of type 'image_url'"):
        asked(client, parts)
    another: Any = {"model": "another", "messages": [{"role": "user", "content": "3+4"}]}
    with pytest.raises(openai.BadRequestError, match=r"Expected the model tiny-arith in a request .*, got 'another'"):
        client.chat.completions.create(**another, extra_body={"vllm_xargs": {"t2_budget": "auto"}})
    with pytest.raises(openai.NotFoundError):  # of vLLM, which knows adapters by their names
        client.chat.completions.create(**another)
    assert server.metric("t2_fallbacks_total") == fallbacks


def test_many_at_once_are_split_and_none_is_lost(server: RunningServer, questions: list[str]) -> None:
    before = server.metric("t2_split_waves_total")

    async def ask_all() -> list[Any]:
        client: Any = openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=240)
        return await asyncio.gather(*(asked(client, q, t2={"t2_price": 0, "t2_round_price": 100}) for q in questions))

    answers = asyncio.run(ask_all())
    assert len(answers) == 64
    for answer in answers:
        assert len(answer.choices) == answer.t2["samples"] == sum(answer.t2["rounds"])
    assert sum(answer.t2["samples"] for answer in answers) > QUEUE
    assert server.metric("t2_split_waves_total") > before
    assert server.wait_until_idle(5)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_what_runs_for_it(server: RunningServer, questions: list[str], stream: bool) -> None:
    left = server.metric('t2_requests_total{outcome="left"}')
    body = {
        **{"model": NAME, "stream": stream, "temperature": 2.0, "ignore_eos": True},
        "messages": [{"role": "user", "content": questions[0]}],
        "vllm_xargs": {"t2_budget": "auto", "t2_price": 0, "t2_round_price": 100},
    }
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        if stream:
            with http.stream("POST", "/v1/chat/completions", json=body, timeout=60) as response:
                assert next(response.iter_lines()).startswith("data: ")
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post("/v1/chat/completions", json=body, timeout=0.15)
    assert server.wait_until_idle(5)
    deadline = time.monotonic() + 5
    while server.metric('t2_requests_total{outcome="left"}') == left and time.monotonic() < deadline:
        time.sleep(0.1)
    assert server.metric('t2_requests_total{outcome="left"}') == left + 1


def test_the_head_is_described_to_those_who_have_the_key(server: RunningServer) -> None:
    assert httpx.get(f"{server.url}/t2").status_code == 401
    said = httpx.get(f"{server.url}/t2", headers={"Authorization": f"Bearer {KEY}"}).json()
    assert (said["head"], said["model"], said["layers"], said["n_ref"]) == ("head", "tiny-arith", [1, 2, 3, 4], 16)
    assert "/" not in "".join(str(said[name]) for name in ("head", "model", "policy"))


def test_it_is_counted(server: RunningServer, client: openai.OpenAI) -> None:
    names = ("t2_samples_total", "t2_reference_samples_total", "t2_chosen_samples_count", "t2_probe_seconds_count")
    before = {name: server.metric(name) for name in names}
    said = asked(client, "3+4").t2
    after = {name: server.metric(name) - value for name, value in before.items()}
    assert after == dict(zip(names, (said["samples"], 16, 1, 1), strict=True))
    assert server.metric("t2_fallbacks_total") == 0


def test_sigterm_lets_questions_end_and_leaves_no_process(
    server: RunningServer, client: openai.OpenAI, questions: list[str]
) -> None:
    """A question whose second round was still to come got an answer without it, or none."""
    family, told = server.family(), list[Any]()

    def ask(question: str) -> None:
        told.append(asked(client, question, t2={"t2_price": 0, "t2_round_price": 0}).t2)

    threads = [threading.Thread(target=ask, args=(question,)) for question in questions[:12]]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(120)
    assert server.process.wait(60) == 0, server.output()[-4000:]
    assert len(told) == 12
    assert max(len(said["rounds"]) for said in told) > 1
    assert all(said["samples"] == sum(said["rounds"]) for said in told)
    assert [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []


def test_sigterm_lets_the_shadow_log_be_written(folder: Any, questions: list[str], tmp_path: Path) -> None:
    """The head is asked when the client has its answer: lines were lost when the engine ended in between."""
    log = tmp_path / "shadow.jsonl"
    flags = ["--shadow", "--samples", "4", "--shadow_log", str(log)]
    with running_server(MODEL, folder / "head", tmp_path, flags) as shadowing:
        body = {"model": NAME, "messages": [{"role": "user", "content": questions[0]}]}

        async def ask_all() -> list[httpx.Response]:
            key = {"Authorization": f"Bearer {KEY}"}
            async with httpx.AsyncClient(base_url=shadowing.url, headers=key, timeout=120) as http:
                asked = [asyncio.ensure_future(http.post("/v1/chat/completions", json=body)) for _ in range(24)]
                await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                shadowing.process.send_signal(signal.SIGTERM)
                return list(await asyncio.gather(*asked))

        answers = asyncio.run(ask_all())
        assert shadowing.process.wait(60) == 0, shadowing.output()[-4000:]
    answered = [answer.json() for answer in answers if answer.status_code == 200]
    assert {len(answer["choices"]) for answer in answered} == {4}
    records = list(read_shadow_log(log))
    assert {record.request_id for record in records} == {answer["id"] for answer in answered}
    assert not any(record.fell_back for record in records), "the engine was gone before the head was asked"
    assert {record.prompt for record in records} == {"as sent"}
