"""What a client's JSON becomes, and what is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from helpers.serving_heads import served

from t2.answering.options import AnswerOptions
from t2.answering.planner import Planner
from t2.api.requests import RequestReader
from t2.api.upstream import Json
from t2.errors import T2Error
from t2.grading.choice import ChoiceGrader
from t2.grading.numeric import NumericGrader
from t2.head_record import Prompt
from t2.policies.stoppers import PlanWithoutHead, StopByVotes
from t2.spec import Shot

PROMPT = Prompt("chat", "Be short.", (Shot("1+1", "#### 2"),), "f" * 64)
FRAME = ("<s>Be short.|", "|answer:")
SHOTS = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "#### 2"}]
QUESTION = {"role": "user", "content": "3+4"}
SAMPLING = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 64}


def reader(
    default: Any = "off", prompt: Prompt | None = PROMPT, policy: Any = None, models: Sequence[str] = ()
) -> RequestReader:
    head, _ = served(policy or PlanWithoutHead(7, 1.0, 0.2))
    return RequestReader(replace(head.record, prompt=prompt), Planner(head).check, default, FRAME, models)


def chat(xargs: Json | None = None, **changes: Any) -> Json:
    body = {"model": "m", "messages": [QUESTION], **changes}
    return body if xargs is None else {**body, "vllm_xargs": xargs}


def read(xargs: Json, **changes: Any) -> Any:
    return reader().read(chat({"t2_budget": "auto", **xargs}, **changes), "chat")


@pytest.mark.parametrize("xargs", [None, {}, {"other": 1}, {"t2_budget": "off"}])
def test_a_request_that_asks_nothing_is_not_touched(xargs: Json | None) -> None:
    assert reader().read(chat(xargs), "chat") is None


def test_a_bare_question_gets_prompt_and_sampling_of_the_export() -> None:
    request = read({"other": 1})
    system = {"role": "system", "content": "Be short."}
    assert request.body == {"model": "m", "messages": [system, *SHOTS, QUESTION], "vllm_xargs": {"other": 1}} | SAMPLING
    assert (request.prompt, request.changed, request.options) == ("completed", (), AnswerOptions())
    assert isinstance(request.grader, NumericGrader)
    assert (request.vote, request.cancel, request.stream) == (False, False, False)


def test_the_whole_prompt_stays_as_it_is_sent() -> None:
    messages = [{"role": "system", "content": "Be short."}, *SHOTS, {"role": "user", "content": "8-2"}]
    request = read({}, messages=messages)
    assert (request.body["messages"], request.prompt) == (messages, "as sent")


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "system", "content": "Rhyme."}, QUESTION]},
        {"messages": [QUESTION, {"role": "assistant", "content": "7"}, QUESTION]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "3"}, {"type": "text", "text": "+4"}]}]},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"add_generation_prompt": False},
    ],
)
def test_another_prompt_than_the_heads_is_said_to_be_one(changes: Json) -> None:
    request = read({}, **changes)
    assert request.prompt == "other"
    assert request.body["messages"] == changes.get("messages", [QUESTION])


def test_a_text_in_one_part_is_a_text() -> None:
    parts = [{"type": "text", "text": "3+4"}]
    request = read({}, messages=[{"role": "user", "content": parts}])
    assert request.prompt == "completed"
    assert request.body["messages"][-1]["content"] == parts


def test_template_arguments_and_the_day_of_the_head_go_along() -> None:
    told = replace(PROMPT, template_arguments={"enable_thinking": False}, date="2026-11-05")
    request = reader(prompt=told).read(chat({"t2_budget": "auto"}), "chat")
    assert request is not None
    assert request.body["chat_template_kwargs"] == {"date_string": "05 Nov 2026", "enable_thinking": False}


@pytest.mark.parametrize(
    ("prompt", "form"),
    [(f"{FRAME[0]}3+4{FRAME[1]}", "as sent"), ("3+4", "other"), ("".join(FRAME), "other"), ([5, 6, 7], "other")],
)
def test_a_rendered_prompt_is_compared_with_the_heads(prompt: Any, form: str) -> None:
    body = {"model": "m", "prompt": prompt, "vllm_xargs": {"t2_budget": "auto"}}
    request = reader().read(body, "completion")
    assert request is not None
    assert (request.body["prompt"], request.prompt) == (prompt, form)
    assert request.body.get("add_special_tokens") == (False if form == "as sent" else None)


def test_what_a_client_sets_is_used_and_noted() -> None:
    request = read({}, temperature=0.5, max_completion_tokens=20, top_p=1.0, stop="\n", min_p=0.1, seed=3)
    assert request.changed == ("temperature", "max_tokens", "stop", "min_p")
    assert {key: request.body.get(key) for key in ("temperature", "max_tokens", "stop", "seed")} == {
        "temperature": 0.5,
        "max_tokens": None,
        "stop": "\n",
        "seed": 3,
    }


def test_options_are_read() -> None:
    xargs = {
        **{"t2_price": 2, "t2_round_price": 0.5, "t2_max_samples": 5, "t2_max_rounds": 2},
        **{"t2_vote": True, "t2_cancel": 1, "t2_grader": "choice"},
    }
    request = read(xargs)
    assert request.options == AnswerOptions(2, 0.5, 5, 2)
    assert (request.vote, request.cancel) == (True, True)
    assert isinstance(request.grader, ChoiceGrader)
    assert "vllm_xargs" not in request.body


@pytest.mark.parametrize(
    ("xargs", "changes", "message"),
    [
        ({"t2_budget": "on"}, {}, r'`t2_budget` as "auto" or "off", got \'on\''),
        ({"t2_pirce": 1}, {}, r"got 't2_pirce' in `vllm_xargs`"),
        ({"t2_price": -1}, {}, r"`t2_price` as a finite number from 0 on .* got -1"),
        ({"t2_price": "2"}, {}, r"`t2_price` as a finite number from 0 on .* got '2'"),
        ({"t2_round_price": float("inf")}, {}, r"`t2_round_price` as a finite number"),
        ({"t2_max_samples": 0}, {}, r"`t2_max_samples` as a whole number from 1 on, got 0"),
        ({"t2_max_samples": 9}, {}, r"`t2_max_samples` of at most 7"),
        ({"t2_max_rounds": 1.5}, {}, r"`t2_max_rounds` as a whole number"),
        ({"t2_vote": "yes"}, {}, r"`t2_vote` as true or false, got 'yes'"),
        ({"t2_grader": "os.system"}, {}, r"`t2_grader` among .*'numeric'.* got 'os.system'"),
        ({"t2_vote": True}, {"stream": True}, r"`stream` or `t2_vote`, got both"),
        ({"t2_cancel": True}, {"stream": True}, r"`stream` or `t2_cancel`, got both"),
        ({}, {"n": 4}, r"`n` or `t2_budget: \"auto\"`, got both"),
        ({}, {"use_beam_search": True}, r"no `use_beam_search`"),
        ({}, {"stream_options": {"continuous_usage_stats": True}}, r"no `continuous_usage_stats`"),
        (
            {},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            r"text alone .* got a part of type 'image_url'",
        ),
        ({}, {"t2_price": 1}, r"t2_price inside `vllm_xargs`"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(xargs: Json, changes: Json, message: str) -> None:
    with pytest.raises(T2Error, match=message):
        read(xargs, **changes)


def test_options_without_auto_are_refused() -> None:
    with pytest.raises(T2Error, match=r'`t2_budget: "auto"` beside t2_vote, got none'):
        reader().read(chat({"t2_vote": True}), "chat")


def test_a_price_is_refused_where_nothing_weighs_one() -> None:
    with pytest.raises(T2Error, match=r"Expected no `t2_price` for an export that decides by ASC"):
        reader(policy=StopByVotes(7, 0.9)).read(chat({"t2_budget": "auto", "t2_price": 1}), "chat")


def test_several_prompts_are_refused() -> None:
    body = {"model": "m", "prompt": ["3+4", "4+5"], "vllm_xargs": {"t2_budget": "auto"}}
    with pytest.raises(T2Error, match="Expected one prompt"):
        reader().read(body, "completion")
    assert reader().read({**body, "prompt": ["3+4"]}, "completion") is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"n": 2},
        {"temperature": 0},
        {"use_beam_search": True},
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
    ],
)
def test_the_servers_default_leaves_alone_what_it_cannot_decide(changes: Json) -> None:
    assert reader("auto").read(chat(**changes), "chat") is None
    assert reader("auto").read(chat(), "chat") is not None
    assert reader("auto").read(chat({"t2_budget": "off"}), "chat") is None


def test_a_grader_must_be_named_where_the_head_has_none_of_t2s_own() -> None:
    head, _ = served(StopByVotes(7, 0.9))
    record = replace(head.record, labels=replace(head.record.labels, grader="mine-1"))
    own = RequestReader(record, Planner(head).check)
    with pytest.raises(T2Error, match=r"`t2_grader` among .*, got none. This head's own grader is a class"):
        own.read(chat({"t2_budget": "auto"}), "chat")
    assert own.shadowed(chat(), "chat") is None
    assert own.read(chat({"t2_budget": "auto", "t2_grader": "exact"}), "chat") is not None
    with pytest.raises(T2Error, match="Expected `--default off` for a head whose answers are read by a class"):
        RequestReader(record, Planner(head).check, "auto")


@pytest.mark.parametrize("temperature", [0, 0.0])
def test_equal_answers_need_no_vote(temperature: float) -> None:
    """VLLM refuses several samples at temperature 0, in the middle of a stream for example."""
    with pytest.raises(T2Error, match="Expected a `temperature` above 0"):
        reader().read(chat({"t2_budget": "auto"}, temperature=temperature), "chat")
    assert reader().shadowed(chat(temperature=temperature), "chat") is None


def test_shadow_mode_changes_neither_prompt_nor_sampling() -> None:
    body = chat(temperature=0.3, stream=True)
    shadowed = reader().shadowed({**body, "n": 3}, "chat")
    assert shadowed is not None
    assert shadowed.body == {"model": "m", "messages": [QUESTION], "temperature": 0.3}
    assert reader().shadowed(chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "chat") is None


TOLD = replace(PROMPT, template_arguments={"enable_thinking": False}, date="2026-11-05")
ARGUMENTS = {"date_string": "05 Nov 2026", "enable_thinking": False}


@pytest.mark.parametrize("asked", [{}, {"enable_thinking": False}, ARGUMENTS])
def test_template_arguments_of_the_head_are_its_own_prompt(asked: Json) -> None:
    """A client that says what the head was told anyway was taken for one with another prompt."""
    request = reader(prompt=TOLD).read(chat({"t2_budget": "auto"}, chat_template_kwargs=asked), "chat")
    assert request is not None
    assert (request.prompt, request.body["chat_template_kwargs"]) == ("completed", ARGUMENTS)


@pytest.mark.parametrize("asked", [{"enable_thinking": True}, {**ARGUMENTS, "tools_in_user_message": False}])
def test_other_template_arguments_are_another_prompt(asked: Json) -> None:
    request = reader(prompt=TOLD).read(chat({"t2_budget": "auto"}, chat_template_kwargs=asked), "chat")
    assert request is not None
    assert (request.prompt, request.body["chat_template_kwargs"]) == ("other", asked)
    assert request.body["messages"] == [QUESTION]


WHOLE = [{"role": "system", "content": "Be short."}, *SHOTS, QUESTION]


@pytest.mark.parametrize(
    ("prompt", "changes", "form"),
    [
        (PROMPT, {"messages": WHOLE}, "as sent"),
        (PROMPT, {}, "other"),
        (PROMPT, {"messages": WHOLE, "chat_template_kwargs": {"enable_thinking": True}}, "other"),
        (TOLD, {"messages": WHOLE}, "other"),
        (TOLD, {"messages": WHOLE, "chat_template_kwargs": ARGUMENTS}, "as sent"),
        (None, {"messages": WHOLE}, "other"),
    ],
)
def test_shadow_mode_says_whether_a_prompt_is_the_heads_without_any_addition(
    prompt: Prompt | None, changes: Json, form: str
) -> None:
    body = chat(**changes)
    shadowed = reader(prompt=prompt).shadowed(body, "chat")
    assert shadowed is not None
    assert (shadowed.prompt, shadowed.body) == (form, body)


def test_shadow_mode_knows_a_rendered_prompt_of_the_head() -> None:
    for prompt, form in ((f"{FRAME[0]}3+4{FRAME[1]}", "as sent"), ("3+4", "other")):
        shadowed = reader().shadowed({"model": "m", "prompt": prompt}, "completion")
        assert shadowed is not None
        assert shadowed.prompt == form


def test_an_adapter_is_not_the_llm_that_the_head_knows() -> None:
    named = reader(models=("m", "also-m"))
    for model in ("m", "also-m", "", None):
        assert named.read(chat({"t2_budget": "auto"}, model=model), "chat") is not None
    with pytest.raises(T2Error, match=r"Expected the model m or also-m in a request .*, got 'my-lora'"):
        named.read(chat({"t2_budget": "auto"}, model="my-lora"), "chat")
    assert named.read(chat(model="my-lora"), "chat") is None
    assert named.shadowed(chat(model="my-lora"), "chat") is None
    assert named.shadowed(chat(), "chat") is not None


def test_a_default_of_auto_leaves_adapters_alone_unless_t2_is_asked_for() -> None:
    named = reader("auto", models=("m",))
    assert named.read(chat(model="my-lora"), "chat") is None
    assert named.read(chat(), "chat") is not None
    with pytest.raises(T2Error, match="Expected the model m in a request"):
        named.read(chat({"t2_budget": "auto"}, model="my-lora"), "chat")
