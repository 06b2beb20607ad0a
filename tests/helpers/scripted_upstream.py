"""A server that draws answers from a script, and counts what it was asked and what it has generated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from t2.api.upstream import Json, UpstreamError, error_body

PROMPT_TOKENS = 11


@dataclass
class ScriptedUpstream:
    """Samples are entries of the script from the request's `seed` on, or from where the last request has ended."""

    script: list[str]
    """texts; one that begins with "..." is cut off by the length"""
    most_at_once: int | None = None
    refuse_above: int | None = None
    """samples that a request may ask for; larger ones are refused, as a full engine does"""
    refusals: int = 0
    """further requests that are refused, whatever they ask"""
    draws_one: bool = False
    """`n` is ignored, as some servers do"""
    counts_tokens: bool = True
    """it gives `token_ids`, in a chat also those of the prompt; else it counts all choices together"""
    kind: str = "chat"
    bodies: list[Json] = field(default_factory=list)
    drawn: int = 0
    generated: int = 0
    """tokens"""
    running: int = 0
    """streams that are open"""

    async def send(self, body: Json) -> Json:
        await asyncio.sleep(0)
        samples = self._begin(body)
        self.generated += sum(map(_tokens, samples))
        choices = [self._choice(index, text) for index, text in enumerate(samples)]
        return {**self._head(), "object": "chat.completion", "choices": choices, "usage": _usage(samples)}

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        samples = self._begin(body)
        head = {**self._head(), "object": "chat.completion.chunk"}
        self.running += 1
        try:
            prompt = {"prompt_token_ids": list(range(PROMPT_TOKENS))} if self.counts_tokens else {}
            for index in range(len(samples) if self.kind == "chat" else 0):
                yield {**head, **prompt, "choices": [{"index": index, "delta": {"role": "assistant", "content": ""}}]}
            for place in range(max(map(_tokens, samples))):
                for index, text in enumerate(samples):
                    if place < _tokens(text):
                        await asyncio.sleep(0)
                        self.generated += 1
                        yield {**head, "choices": [self._piece(index, text, place)]}
            yield {**head, "choices": [], "usage": _usage(samples)}
        finally:
            self.running -= 1

    def _begin(self, body: Json) -> list[str]:
        self.bodies.append(body)
        number = body["n"]
        if self.refusals or (self.refuse_above is not None and number > self.refuse_above):
            self.refusals = max(0, self.refusals - 1)
            raise UpstreamError(503, error_body("The engine is full."), refused=True)
        number = 1 if self.draws_one else number
        first = body.get("seed", self.drawn)
        samples = [self.script[i % len(self.script)] for i in range(first, first + number)]
        self.drawn += number
        return samples

    def _head(self) -> Json:
        return {"id": f"chatcmpl-{len(self.bodies)}", "created": 1_000 + len(self.bodies), "model": "scripted"}

    def _choice(self, index: int, text: str) -> Json:
        said: Json = {"index": index, "finish_reason": _reason(text)}
        said |= {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        return said | ({"token_ids": list(range(_tokens(text)))} if self.counts_tokens else {})

    def _piece(self, index: int, text: str, place: int) -> Json:
        """One character a token, and an end token without text."""
        part = text[place : place + 1]
        said: Any = {"delta": {"content": part}} if self.kind == "chat" else {"text": part}
        said |= {"index": index, "finish_reason": _reason(text) if place == _tokens(text) - 1 else None}
        return said | ({"token_ids": [place]} if self.counts_tokens else {})


def _tokens(text: str) -> int:
    return len(text) + 1


def _reason(text: str) -> str:
    return "length" if text.startswith("...") else "stop"


def _usage(samples: list[str]) -> Json:
    tokens = sum(map(_tokens, samples))
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}
