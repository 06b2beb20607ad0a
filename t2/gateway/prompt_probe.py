"""`PromptProbe`: the gateway's probe, whose prompts an LLM in this process reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from t2.api.conversation import TEMPLATE_ARGUMENTS, text_of
from t2.api.requests import BudgetedRequest
from t2.api.upstream import Json
from t2.gateway.prompt_reader import PromptReader, WaitingPrompts


class PromptProbe:
    """Renders prompts in one thread and reads them in another, many at once where many wait."""

    tokens = 0
    """It generates nothing."""

    def __init__(self, reader: PromptReader) -> None:
        self._reader, self._prompts = reader, WaitingPrompts(reader)
        self._rendering = ThreadPoolExecutor(1, "t2-render")  # a tokenizer is not to be asked by two at once

    async def read(self, request: BudgetedRequest) -> Tensor:
        """The head's raw outputs on the prompt of a request, (O,).

        Raises:
            T2Error: the prompt cannot be rendered or read.
        """
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._rendering, self._ids, request)
        return await self._prompts.raw(ids)

    def _ids(self, request: BudgetedRequest) -> list[int]:
        if request.kind == "chat":
            turns = [turn_of(message) for message in request.body["messages"]]
            # The head's own prompt is read as it was in training; of any other the request says all there is to say.
            own = None if request.prompt != "other" else request.body.get(TEMPLATE_ARGUMENTS) or {}
            return self._reader.chat_prompt(turns, own)
        prompt: Any = request.body["prompt"]
        # A list of one prompt is that prompt; a list of numbers is one.
        is_listed = isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int)
        return self._reader.text_prompt(prompt[0] if is_listed else prompt)

    def close(self) -> None:
        self._rendering.shutdown(wait=False, cancel_futures=True)
        self._prompts.close()


class _NoProbe:
    """Of a gateway that reads no prompt: its plans need none, so that it is never asked."""

    tokens = 0

    async def read(self, request: BudgetedRequest) -> Tensor:
        raise AssertionError("no plan asks for activations where nobody reads prompts")


NO_PROBE = _NoProbe()


def turn_of(message: Json) -> dict[str, str]:
    """A turn with its text; several parts are lines, as vLLM joins them."""
    content = message.get("content")
    parts: Sequence[Any] = content if isinstance(content, list) else []
    text = "\n".join(text_of({"content": [part]}) or "" for part in parts) if parts else text_of(message) or ""
    return {"role": str(message.get("role")), "content": text}
