"""An OpenAI-compatible server whose answers, refusals and deaths are scripted, and servers that run in a thread."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

STARTS_IN_SECONDS = 20.0
PROMPT_TOKENS, SAMPLE_TOKENS = 11, 5
"""Of every prompt, and of every sample."""


@contextmanager
def running(app: Any) -> Iterator[str]:
    """An application on a free port of 127.0.0.1, as http://127.0.0.1:PORT."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTS_IN_SECONDS
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(STARTS_IN_SECONDS)
        assert not thread.is_alive(), "the server did not end"


@dataclass
class ScriptedServer:
    """Gives the next answers of `answers` for ever, and before them whatever is in `troubles`."""

    answers: list[str] = field(default_factory=lambda: ["#### 4"])
    troubles: deque[Any] = field(default_factory=deque)
    """a response; or "breaks" (after the first chunk), "waits" (until the client leaves); taken by the next request"""
    most_choices: int | None = None
    """choices of a request at most, whatever n is"""
    continuous: bool | None = None
    """whether it takes `continuous_usage_stats` and says the tokens of a choice with each of its chunks, as vLLM does:
    one a character, and one at the end; False: it refuses the option; None: it takes no notice"""
    seen: list[dict[str, Any]] = field(default_factory=list)
    """bodies of requests for samples"""
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    """clients that did not wait"""
    drawn: int = 0

    def next_text(self) -> str:
        text = self.answers[self.drawn % len(self.answers)]
        self.drawn += 1
        return text

    @property
    def app(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v1/chat/completions", self.complete, methods=["POST"])
        app.add_api_route("/v1/completions", self.complete, methods=["POST"])
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/slow", self.slow, methods=["GET"])
        app.add_api_route("/echo/{rest:path}", self.echo, methods=["GET", "POST", "DELETE"])
        return app

    async def models(self) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    async def slow(self, request: Request) -> Response:
        await self._wait(request)
        return Response()

    async def echo(self, request: Request) -> Response:
        """What came, and headers as no library would make them."""
        body = await request.body()
        said = {
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "headers": [[name.decode(), value.decode()] for name, value in request.headers.raw],
            "body": body.decode("latin-1"),
        }
        response = JSONResponse(said, 201)
        response.headers.append("x-twice", "one")
        response.headers.append("x-twice", "two")
        response.headers.append("set-cookie", "secret=of-somebody")
        return response

    async def complete(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(body)
        self.headers.append(dict(request.headers))
        trouble = self.troubles.popleft() if self.troubles else None
        if isinstance(trouble, Response):
            return trouble
        if trouble == "waits":
            await self._wait(request)
            return Response()
        if self.continuous is False and "continuous_usage_stats" in (body.get("stream_options") or {}):
            return refusal(400)
        num = body.get("n") or 1
        num = num if self.most_choices is None else min(num, self.most_choices)
        texts = [self.next_text() for _ in range(num)]
        is_chat = "messages" in body
        if body.get("stream"):
            return StreamingResponse(self._chunks(body, texts, is_chat, trouble), media_type="text/event-stream")
        if trouble == "breaks":
            return StreamingResponse(_half(), media_type="application/json")
        said = [{"message": {"role": "assistant", "content": text}} if is_chat else {"text": text} for text in texts]
        choices = [{"index": index, "finish_reason": "stop", **each} for index, each in enumerate(said)]
        kind = "chat.completion" if is_chat else "text_completion"
        return JSONResponse(self._head(body, kind) | {"choices": choices, "usage": _usage(num)})

    async def _chunks(self, body: dict[str, Any], texts: list[str], is_chat: bool, trouble: Any) -> AsyncIterator[str]:
        head = self._head(body, "chat.completion.chunk" if is_chat else "text_completion")

        def event(choices: list[dict[str, Any]], **more: Any) -> str:
            return f"data: {json.dumps({**head, 'choices': choices, **more}, ensure_ascii=False)}\r\n\r\n"

        def piece(index: int, text: str, reason: str | None = None) -> list[dict[str, Any]]:
            said = {"delta": {"content": text}} if is_chat else {"text": text}
            return [{"index": index, "finish_reason": reason, **said}]

        def so_far(tokens: int) -> dict[str, Any]:
            return {"usage": _usage(1, tokens)} if self.continuous else {}

        yield ": a comment that keeps the connection\n\n"
        for place in range(max(map(len, texts)) + 1):
            for index, text in enumerate(texts):
                if place < len(text):
                    yield event(piece(index, text[place]), **so_far(place + 1))
                    if trouble == "breaks":
                        raise ConnectionError("scripted")
                    if trouble == "says":
                        yield 'data: {"error": {"message": "the engine is dead", "code": 500}}\n\n'
                        return
                    await asyncio.sleep(0)
                elif place == len(text):
                    yield event(piece(index, "", "stop"), **so_far(place + 1))
        if (body.get("stream_options") or {}).get("include_usage"):
            tokens = sum(len(text) + 1 for text in texts) if self.continuous else None
            yield event([], usage=_usage(len(texts), tokens))
        yield "data: [DONE]\n\n"

    async def _wait(self, request: Request) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        self.left += 1

    def _head(self, body: dict[str, Any], kind: str) -> dict[str, Any]:
        return {"id": f"id-{len(self.seen)}", "object": kind, "created": 1, "model": body.get("model")}


async def _half() -> AsyncIterator[bytes]:
    yield b'{"choices": ['
    raise ConnectionError("scripted")


def _usage(num: int, tokens: int | None = None) -> dict[str, int]:
    tokens = SAMPLE_TOKENS * num if tokens is None else tokens
    return {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens, "total_tokens": PROMPT_TOKENS + tokens}


def refusal(status: int, code: Any = None, **headers: str) -> Response:
    """An answer that is none."""
    error = {"message": "scripted", "type": "scripted", "param": None, "code": code or status}
    return JSONResponse({"error": error}, status, {name.replace("_", "-"): value for name, value in headers.items()})
