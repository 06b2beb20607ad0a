"""Prompts that are read in this process: the same numbers as one by one, together where many wait, and in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.engine_heads import export_for, questions
from helpers.tiny_models import TINY_ARITH, tiny_model
from torch import Tensor

from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.gateway.prompt_reader import MOST_AT_ONCE, PromptReader, WaitingPrompts


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> BudgetHead:
    return BudgetHead.from_pretrained(export_for(TINY_ARITH, tmp_path_factory.mktemp("head"), "CurveHead"))


@pytest.fixture(scope="module")
def reader(head: BudgetHead) -> PromptReader:
    return PromptReader.of(head, TINY_ARITH)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_it_reads_what_the_export_reads(head: BudgetHead, reader: PromptReader) -> None:
    texts = questions(12)
    prompts = [reader.chat_prompt(user(text)) for text in texts]
    assert prompts == [reader.renderer.ids(text) for text in texts]
    pooled_BLD = head.activations(texts, TINY_ARITH)
    expected_BO = torch.stack([head.raw(pooled_LD) for pooled_LD in pooled_BLD])
    assert torch.allclose(reader.raw(prompts), expected_BO, atol=1e-5)
    one_by_one = torch.cat([reader.raw([prompt]) for prompt in prompts])
    # What is read beside a prompt changes it in the last bits of bfloat16 at most.
    assert torch.allclose(one_by_one, expected_BO, atol=0.05)


def test_the_export_names_its_llm(head: BudgetHead) -> None:
    assert PromptReader.of(head).files.fingerprint == head.features.model_fingerprint


def test_a_rendered_prompt_is_tokenised_as_a_server_does(reader: PromptReader) -> None:
    ids = reader.chat_prompt(user("12+7"))
    assert reader.text_prompt(ids) == ids
    assert reader.text_prompt("12+7=") == list(reader.renderer.tokenizer("12+7=")["input_ids"])


def test_another_llm_is_refused(head: BudgetHead, tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="A head works on the activations of one model alone"):
        PromptReader.of(head, tiny_model("qwen2", tmp_path))


def test_a_head_of_a_proxy_takes_messages_alone(head: BudgetHead) -> None:
    record = replace(head.record, base_model=replace(head.record.base_model, fingerprint="b" * 64))
    proxy = PromptReader.of(BudgetHead(record, head.head), TINY_ARITH)
    assert proxy.is_proxy
    assert proxy.chat_prompt(user("12+7"))
    with pytest.raises(T2Error, match="Expected a chat request"):
        proxy.text_prompt("12+7=")


def test_a_prompt_beyond_the_llm_is_refused(reader: PromptReader) -> None:
    assert reader.longest == 256
    with pytest.raises(T2Error, match=r"Expected a prompt of 1 to 256 tokens"):
        reader.chat_prompt(user("1+" * 200 + "1"))
    with pytest.raises(T2Error, match=r"Expected a prompt of 1 to 256 tokens.* got 0"):
        reader.text_prompt([])


class Numbers:
    """Reads a prompt as its first number; the first pass waits until it is let go."""

    def __init__(self) -> None:
        self.passes: list[list[int]] = []
        self.go_on = threading.Event()

    def raw(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        numbers = [prompt[0] for prompt in prompts]
        self.passes.append(numbers)
        self.go_on.wait(10)
        if -1 in numbers:
            raise RuntimeError("a bad prompt")
        return torch.tensor(numbers, dtype=torch.float32)[:, None]


def test_prompts_that_wait_are_read_together_and_each_gets_its_own() -> None:
    numbers = Numbers()

    async def run() -> list[float]:
        waiting = WaitingPrompts(numbers)
        first = asyncio.create_task(waiting.raw([7]))
        while not numbers.passes:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(waiting.raw([number])) for number in range(MOST_AT_ONCE + 5)]
        await asyncio.sleep(0.01)
        numbers.go_on.set()
        read = [float(await task) for task in (first, *others)]
        waiting.close()
        return read

    assert asyncio.run(run()) == [7.0, *map(float, range(MOST_AT_ONCE + 5))]
    assert [len(one) for one in numbers.passes] == [1, MOST_AT_ONCE, 5]


def test_a_bad_prompt_costs_the_others_nothing() -> None:
    numbers = Numbers()
    numbers.go_on.set()

    async def run() -> list[object]:
        waiting = WaitingPrompts(numbers)
        return await asyncio.gather(*(waiting.raw([number]) for number in (1, -1, 3)), return_exceptions=True)

    one, bad, three = asyncio.run(run())
    assert (float(one), float(three)) == (1.0, 3.0)  # type: ignore[arg-type]
    assert isinstance(bad, T2Error)
    assert "a bad prompt" in str(bad)


def test_whoever_stops_waiting_is_left_out() -> None:
    numbers = Numbers()

    async def run() -> float:
        waiting = WaitingPrompts(numbers)
        first = asyncio.create_task(waiting.raw([1]))
        while not numbers.passes:
            await asyncio.sleep(0.001)
        gone, stays = asyncio.create_task(waiting.raw([2])), asyncio.create_task(waiting.raw([3]))
        await asyncio.sleep(0.01)
        gone.cancel()
        first.cancel()
        numbers.go_on.set()
        return float(await stays)

    assert asyncio.run(run()) == 3.0
    assert numbers.passes == [[1], [3]]
