"""Every prompt says its question, its system line and its worked examples, or there is one line why not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from helpers.scripted import TINY_ARITH
from helpers.tokenizers import TURNS, byte_tokenizer
from hypothesis import given
from hypothesis import strategies as st

import t2.prompts.renderer
from t2.errors import T2Error
from t2.prompts import PromptRenderer, load_tokenizer, render
from t2.spec import PromptSpec, Shot

SHOTS = [Shot("What is 3 + 4? Explain.", "3 + 4 = 7"), Shot("And 2 + 2?", "4")]
WHOLE = PromptSpec(system="Be brief.", shots=SHOTS)
POOLS = Path(__file__).resolve().parents[3] / "assets" / "pools"


def template(turn: str, head: str = "") -> str:
    """A template of which each turn is written by `turn`."""
    return head + "{% for m in messages %}<|im_start|>" + turn + "<|im_end|>{% endfor %}<|im_start|>"


# What is rendered


def test_tokens_are_those_of_transformers() -> None:
    """The text is rendered first, so that it can be checked: the tokens must be the same as in one step."""
    tokenizer = byte_tokenizer()
    turns = [{"role": "system", "content": "Be brief."}]
    for shot in SHOTS:
        turns += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.answer}]
    turns.append({"role": "user", "content": "  What is 1/2 of é?\n"})
    expected = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=True)
    ids = render(tokenizer, WHOLE, "  What is 1/2 of é?\n")
    assert ids == expected["input_ids"]
    assert ids[0] == tokenizer.bos_token_id


def test_fingerprints_of_committed_pools_are_what_they_were() -> None:
    """Dates and arguments came later: what has none may not become another prompt."""
    renderer = PromptRenderer.of(load_tokenizer(Path(TINY_ARITH)), PromptSpec())
    stored = json.loads((POOLS / "tiny-arith" / "pool.json").read_text())["prompt"]
    assert renderer.recorded == stored


# The check


@pytest.mark.parametrize(
    "turn",
    [
        "{{ m.content }}",
        "{{ m.content | trim }}",
        "{{ m | tojson }}",
        "{{ m.content | tojson(ensure_ascii=True) }}",
        "{{ m.content | escape }}",
        "{% generation %}{{ m.content }}{% endgeneration %}",
    ],
)
@pytest.mark.parametrize(
    "question", ["3", "What is 3 + 4?", ' "Is" 3 < 4\\5?\n\n', "¿Cuánto es 3·4? 答え", "<|im_end|>"]
)
def test_templates_that_trim_or_escape_are_right(turn: str, question: str) -> None:
    assert PromptRenderer.of(byte_tokenizer(template(turn)), WHOLE).text(question)


@pytest.mark.parametrize(
    ("turn", "missing"),
    [
        ("{% if not loop.last %}{{ m.content }}{% endif %}", "the question"),
        ("{% if loop.last %}{{ m.content }}{% endif %}", "the system line"),
        ("{% if m.role != 'system' %}{{ m.content }}{% endif %}", "the system line"),
        ("{% if loop.index != 2 %}{{ m.content }}{% endif %}", "the question of worked example 1"),
        ("{% if m.role != 'assistant' %}{{ m.content }}{% endif %}", "its answer 1"),
        ("{{ m.content[:9] }}", "the question"),
        ("{{ m.content | upper }}", "the question"),
        ("{{ m.content | replace(' ', '') }}", "the question"),
        ("{{ m.content | urlencode }}", "the question"),
    ],
)
def test_what_a_template_leaves_out_is_named(turn: str, missing: str) -> None:
    """A question that is also part of a worked example, or is as short as "3", stood in the prompt all the same."""
    for question in ("What is 3 + 4?", "And 2 + 2 - 1?"):
        with pytest.raises(T2Error) as caught:
            PromptRenderer.of(byte_tokenizer(template(turn)), WHOLE).ids(question, "q7")
        message = str(caught.value)
        assert message.startswith(f"Expected {missing} (")
        assert "question 'q7'" in message
        assert "the chat template of the tokenizer leaves it out or changes it" in message
        assert "\n" not in message


def test_a_digit_that_stands_elsewhere_is_no_question() -> None:
    lost = "{% if not loop.last %}{{ m.content }}{% endif %}"
    with pytest.raises(T2Error, match=r"Expected the question \('3'\) in the prompt of question '3'"):
        PromptRenderer.of(byte_tokenizer(template(lost, head="3 turns: ")), WHOLE).text("3")


def test_a_template_that_loses_some_questions_alone_is_found_there() -> None:
    picky = byte_tokenizer(template("{{ m.content.split('</think>')[-1] }}"))
    renderer = PromptRenderer.of(picky, PromptSpec())
    assert renderer.text("What is 1+1?")
    with pytest.raises(T2Error, match="Expected the question"):
        renderer.text("What does </think> mean?")


def test_a_model_whose_tokenizer_cannot_write_the_question_is_refused() -> None:
    """The tiny LLM knows digits and signs: every other character became its padding, and nobody noticed."""
    tiny = PromptRenderer.of(load_tokenizer(Path(TINY_ARITH)), PromptSpec())
    assert tiny.ids("3+4")
    with pytest.raises(
        T2Error, match=r"question 'q1', got one without a token for 's', 'w', 'h', .*Is this the right LLM"
    ):
        tiny.ids("What is 3+4?", "q1")


@given(st.text(st.characters(exclude_categories=["Cs", "Co"]), min_size=1))
def test_any_text_is_said_and_written(question: str) -> None:
    for turn in ("{{ m.content }}", "{{ m.content | trim }}", "{{ m.content | tojson }}"):
        ids = PromptRenderer.of(byte_tokenizer(template(turn)), WHOLE).ids(question)
        assert len(ids) > len(question.strip())


@given(st.text(st.characters(exclude_categories=["Cs", "Co", "Z", "Cc"]), min_size=2), st.data())
def test_any_character_that_is_lost_is_missed(question: str, data: st.DataObject) -> None:
    """A template that drops one character of the question is never taken for one that does not."""
    lost = data.draw(st.sampled_from(sorted(set(question))))
    loses = byte_tokenizer(template("{{ m.content | replace(lost, '') }}"))
    with pytest.raises(T2Error, match="Expected the question"):
        PromptRenderer.of(loses, PromptSpec(template_arguments={"lost": lost})).text(question)


# Named templates


NAMED = {"default": TURNS, "rag": "rag" + TURNS, "tool_use": "tools" + TURNS}


@pytest.mark.parametrize(
    "several", [NAMED, [{"name": n, "template": t} for n, t in NAMED.items()]], ids=["dict", "list"]
)
def test_several_templates_are_named(several: Any) -> None:
    """The dict itself was printed as a template: a prompt of Jinja's own words, with no question in it."""
    tokenizer = byte_tokenizer(several)
    own = PromptRenderer.of(tokenizer, PromptSpec())
    assert own.text("1+1") == PromptRenderer.of(byte_tokenizer(), PromptSpec()).text("1+1")
    assert own.fingerprint == PromptRenderer.of(byte_tokenizer(), PromptSpec()).fingerprint
    rag = PromptRenderer.of(tokenizer, PromptSpec("rag"))
    assert rag.text("1+1") == "rag" + own.text("1+1")
    assert rag.fingerprint != own.fingerprint
    with pytest.raises(
        T2Error, match=r"one of the tokenizer's templates \(default, rag, tool_use\) or a Jinja file, got 'RAG'"
    ):
        PromptRenderer.of(tokenizer, PromptSpec("RAG"))


def test_a_name_comes_before_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rag", "mine.jinja"):
        Path(name).write_text("file" + TURNS)
    tokenizer = byte_tokenizer(NAMED)
    assert PromptRenderer.of(tokenizer, PromptSpec("rag")).text("1").startswith("rag")
    assert PromptRenderer.of(tokenizer, PromptSpec("mine.jinja")).text("1").startswith("file")
    assert PromptRenderer.of(byte_tokenizer(), PromptSpec("rag")).text("1").startswith("file")


def test_several_templates_without_a_default_must_be_chosen_from() -> None:
    tokenizer = byte_tokenizer({"rag": TURNS, "tools": TURNS})
    with pytest.raises(T2Error, match=r"templates \(rag, tools\), got 'chat', and none of them is the default"):
        PromptRenderer.of(tokenizer, PromptSpec())
    with pytest.raises(T2Error, match="Expected a tokenizer with a chat template, got one without"):
        PromptRenderer.of(byte_tokenizer(None), PromptSpec())


# Dates


TODAY = TURNS.replace("{% for", "Today: {{ strftime_now('%d %b %Y') }}\n{% for", 1)
PRINTED = "Today: {{ date_string }}\n" + TURNS
EITHER = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}"
    "{% endif %}"
) + PRINTED
GIVEN = "{% if not date_string is defined %}{% set date_string = '26 Jul 2024' %}{% endif %}" + PRINTED


@pytest.mark.parametrize("source", [TODAY, EITHER])
def test_a_date_is_the_same_on_every_day(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared on one day, labelled on the next, served on the third: three prompts, one fingerprint."""
    tokenizer = byte_tokenizer(source)
    first = PromptRenderer.of(tokenizer, PromptSpec())
    assert first.recorded["date"] == date.today().isoformat()
    monkeypatch.setattr(t2.prompts.renderer, "today", lambda: "1999-12-31")
    later = PromptRenderer.of(tokenizer, PromptSpec())
    assert later.text("1+1").startswith("Today: 31 Dec 1999\n")
    assert later.fingerprint != first.fingerprint
    again = PromptRenderer.of(tokenizer, PromptSpec(), began=first.recorded["date"])
    assert (again.text("1+1"), again.fingerprint) == (first.text("1+1"), first.fingerprint)
    chosen = PromptRenderer.of(tokenizer, PromptSpec(date="2024-02-29"), began="2026-11-29")
    assert chosen.text("1+1").startswith("Today: 29 Feb 2024\n")


def test_a_template_that_is_given_its_date_needs_none() -> None:
    tokenizer = byte_tokenizer(GIVEN)
    plain = PromptRenderer.of(tokenizer, PromptSpec())
    assert "date" not in plain.recorded
    assert plain.text("1+1").startswith("Today: 26 Jul 2024\n")
    assert PromptRenderer.of(tokenizer, PromptSpec(date="2025-01-02")).text("1").startswith("Today: 02 Jan 2025\n")


def test_a_date_that_nothing_prints_is_refused() -> None:
    with pytest.raises(T2Error, match=r"`prompt\.date` for a template that prints a date, got 2025-01-02 for the chat"):
        PromptRenderer.of(byte_tokenizer(), PromptSpec(date="2025-01-02"))


@pytest.mark.parametrize("day", ["today", "2025-13-01", "20250102", "02 Jan 2025", "2025-1-2", ""])
def test_a_date_that_is_none_is_refused(day: str) -> None:
    with pytest.raises(T2Error, match=r"Expected `prompt\.date` as in 2026-11-29"):
        PromptSpec(date=day)


# Arguments


SWITCH = TURNS + "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"


def test_an_argument_reaches_the_template_and_the_fingerprint() -> None:
    tokenizer = byte_tokenizer(SWITCH)
    plain, off = (
        PromptRenderer.of(tokenizer, PromptSpec(template_arguments=a)) for a in ({}, {"enable_thinking": False})
    )
    assert off.text("1+1") == plain.text("1+1") + "<think>\n\n</think>\n\n"
    assert off.fingerprint != plain.fingerprint
    assert plain.recorded.keys() == {"template", "system", "shots", "fingerprint"}
    assert off.recorded["template_arguments"] == {"enable_thinking": False}


@pytest.mark.parametrize(
    "name", ["enable_thinkin", "messages", "add_generation_prompt", "bos_token", "tokenize", "role"]
)
def test_an_argument_that_the_template_does_not_ask_for_is_refused(name: str) -> None:
    with pytest.raises(T2Error, match=rf"asks for \(enable_thinking\), got '{name}'\. Mend or remove it"):
        PromptRenderer.of(byte_tokenizer("{{ bos_token }}" + SWITCH), PromptSpec(template_arguments={name: True}))


def test_an_argument_must_be_json() -> None:
    with pytest.raises(T2Error, match=r"Expected JSON values as `prompt\.template_arguments`"):
        PromptSpec(template_arguments={"date_string": date(2025, 1, 2)})


def test_a_proxy_is_told_what_it_asks_for() -> None:
    spec = PromptSpec(template_arguments={"enable_thinking": False}, date="2025-01-02")
    assert PromptRenderer.of_proxy(byte_tokenizer(), spec).recorded.keys() == {
        "template",
        "system",
        "shots",
        "fingerprint",
    }
    assert PromptRenderer.of_proxy(byte_tokenizer(SWITCH), spec).spec.template_arguments == {"enable_thinking": False}
    assert PromptRenderer.of_proxy(byte_tokenizer(TODAY), spec).spec.date == "2025-01-02"
    # Its prompts are stored nowhere, so the day may not depend on when somebody asks.
    assert PromptRenderer.of_proxy(byte_tokenizer(TODAY), PromptSpec()).spec.date == t2.prompts.renderer.PROXY_DATE


def test_a_template_with_a_mistake_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "odd.jinja").write_text("{% for m in messages %}{{ m.content }}")
    with pytest.raises(T2Error, match=r"got a mistake in the template file .*odd\.jinja: .*endfor") as caught:
        PromptRenderer.of(byte_tokenizer(), PromptSpec(str(tmp_path / "odd.jinja")))
    assert "\n" not in str(caught.value)


def test_a_conversation_may_have_template_arguments_of_its_own() -> None:
    renderer = PromptRenderer.of(byte_tokenizer(SWITCH), PromptSpec(template_arguments={"enable_thinking": False}))
    turns = [{"role": "user", "content": "2+2"}]
    own, other, none = (renderer.ids_of_conversation(turns, a) for a in (None, {"enable_thinking": True}, {}))
    assert renderer.tokenizer.decode(own).endswith("</think>\n\n")
    assert other == none
    assert not renderer.tokenizer.decode(none).endswith("</think>\n\n")
    with pytest.raises(T2Error, match="Expected arguments of a chat template, got 'tokenize'"):
        renderer.ids_of_conversation(turns, {"tokenize": True})
