"""`HttpUpstream`: an OpenAI-compatible server elsewhere, as the one who draws samples.

What may be asked for twice is: a connection that could not be made, or broke before an answer had begun, a server that
says that it is full, and the first stream of a server that may not know `continuous_usage_stats`. Once an answer has
begun nothing is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time
from typing import Any

import httpx

from t2.api.conversation import TEMPLATE_ARGUMENTS
from t2.api.upstream import PROMPT_TOKENS, TOKENS_SO_FAR, Json, UpstreamError, error_body
from t2.errors import in_a_line
from t2.gateway.passing import request_to

STANDARD_FIELDS = frozenset(
    (
        *("model", "messages", "prompt", "n", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop"),
        *("seed", "stream", "stream_options", "logprobs", "top_logprobs", "logit_bias", "user", "metadata", "store"),
        *("frequency_penalty", "presence_penalty", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
        *("suffix", "best_of", "echo", "modalities", "reasoning_effort", "service_tier", "verbosity", "prediction"),
    )
)
"""Fields that OpenAI's protocol has. A server may refuse others, so that T2 adds none but `TEMPLATE_ARGUMENTS`, without
which a head's prompt would be another one; a client's own are passed on."""
_SENT = STANDARD_FIELDS | {TEMPLATE_ARGUMENTS}
FULL = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""What a server says that takes no more at the moment."""
_NEVER_AGAIN = ("insufficient_quota", "billing_hard_limit_reached")
"""Error codes of status 429 that no waiting mends."""
RETRIES, FIRST_DELAY_SECONDS = 2, 0.2
MOST_SECONDS_OF_RETRY_AFTER = 10.0
LONGEST_ERROR = 2000
"""Characters of a server's own error page that are passed on."""
_NOT_UNDERSTOOD = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
"""What servers say to a field that they do not know."""


@dataclass
class ServerHabits:
    """What its answers have shown of a server; one object for all requests to it."""

    takes_continuous_usage: bool | None = None
    """it does not refuse `continuous_usage_stats`, by which vLLM and others say the tokens of a choice with each chunk
    of it; None: not known yet"""


@dataclass(frozen=True)
class HttpUpstream:
    """Made for one client's request."""

    client: httpx.AsyncClient
    """with the server's address and the timeouts"""
    path: str
    """of the server, as "/v1/chat/completions" """
    headers: Mapping[str, str] = field(default_factory=dict)
    """that go along: key, tracing"""
    own_fields: Collection[str] = ()
    """of the client's request"""
    most_at_once: int | None = None
    on_retry: Callable[[], None] = lambda: None
    habits: ServerHabits = field(default_factory=ServerHabits)

    async def send(self, body: Json) -> Json:
        """One request that is answered whole.

        Raises:
            UpstreamError: it was not answered, or by something else than an object.
        """
        async with self._answered(body) as response:
            content = await response.aread()
            try:
                answer = json.loads(content)
            except ValueError as error:
                raise self._wrong(f"no JSON ({in_a_line(error)})") from error
        if not isinstance(answer, dict):
            raise self._wrong(f"a JSON value of type {type(answer).__name__}")
        return answer

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """The same, chunk by chunk, with tokens so far where the server says them.

        Closing the iterator closes the connection, by which the server knows.

        Raises:
            UpstreamError: it was not answered, broke off, or says itself that something has gone wrong.
        """
        habits, has_begun = self.habits, False
        if habits.takes_continuous_usage is not False:
            options = {**(body.get("stream_options") or {}), "continuous_usage_stats": True}
            try:
                async with aclosing(self._chunks({**body, "stream_options": options})) as chunks:
                    async for chunk in chunks:
                        has_begun = habits.takes_continuous_usage = True
                        yield chunk
                return
            except UpstreamError as error:
                if has_begun or habits.takes_continuous_usage or error.status not in _NOT_UNDERSTOOD:
                    raise
        # Either the server does not know the option, or all else is wrong with the request: then it says so again.
        async with aclosing(self._chunks(body)) as chunks:
            async for chunk in chunks:
                habits.takes_continuous_usage = False
                yield chunk

    async def _chunks(self, body: Json) -> AsyncGenerator[Json, None]:
        """What comes of one request, see `stream`. The usage of a chunk with choices becomes the tokens so far."""
        is_counting: bool | None = None
        async with self._answered(body) as response:
            async for data in _events(response):
                if data == "[DONE]":
                    return
                chunk = self._chunk(data)
                if is_counting is None and chunk.get("choices"):
                    # A server that only puts its usage into the last chunk with choices, instead of behind it, counts
                    # all choices together.
                    is_counting = bool(chunk.get("usage"))
                yield _with_tokens_so_far(chunk) if is_counting else chunk
        # Servers that end without [DONE] are told from those that died by what is missing in the chunks.

    @asynccontextmanager
    async def _answered(self, body: Json) -> AsyncIterator[httpx.Response]:
        """The response, once its headers say that there will be an answer.

        Raises:
            UpstreamError: there is none, or whoever reads it inside the context finds it too slow, or broken off.
        """
        plain = {key: value for key, value in body.items() if key in _SENT or key in self.own_fields}
        content = json.dumps(plain, allow_nan=False).encode()
        request = request_to(
            self.client, "POST", self.path, {**self.headers, "content-type": "application/json"}, content
        )
        response = await self._sent(request)
        try:
            if response.status_code != HTTPStatus.OK:
                raise await self._refusal(response)
            yield response
        except httpx.TimeoutException as error:
            raise self._slow(error) from error
        except httpx.TransportError as error:
            raise self._broken(error) from error
        finally:
            await response.aclose()

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        """Tried again while no connection stands; not after a timeout, when the server may be at work on it."""
        delay = FIRST_DELAY_SECONDS
        for left in range(RETRIES, -1, -1):
            try:
                return await self.client.send(request, stream=True)
            except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
                raise self._slow(error) from error
            except httpx.TransportError as error:
                if not left:
                    raise self._dead(error) from error
            self.on_retry()
            await asyncio.sleep(delay)
            delay *= 2
        raise AssertionError("the last try returns or raises")

    async def _refusal(self, response: httpx.Response) -> UpstreamError:
        """What a response is that is none; after the wait that the server asks for."""
        try:
            content = await response.aread()
        except httpx.TransportError:
            content = b""
        status, body = response.status_code, _error_of(content, response)
        code = body["error"].get("code") if isinstance(body.get("error"), dict) else None
        is_full = status in FULL and code not in _NEVER_AGAIN
        if is_full and (seconds := _retry_after(response.headers.get("retry-after"))):
            await asyncio.sleep(min(seconds, MOST_SECONDS_OF_RETRY_AFTER))
        if status < HTTPStatus.BAD_REQUEST:  # a redirect, or an answer that is no 200
            return self._wrong(f"status {status}")
        return UpstreamError(status, body, refused=is_full)

    def _chunk(self, data: str) -> Json:
        try:
            chunk: Any = json.loads(data)
        except ValueError as error:
            raise self._wrong(f"no JSON in a stream ({in_a_line(error)})") from error
        if not isinstance(chunk, dict):
            raise self._wrong(f"a JSON value of type {type(chunk).__name__} in a stream")
        if error_said := chunk.get("error"):
            code = error_said.get("code") if isinstance(error_said, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else int(HTTPStatus.BAD_GATEWAY)
            raise UpstreamError(status, chunk)
        return chunk

    @property
    def _server(self) -> str:
        return f"the server behind the gateway ({self.client.base_url.host}:{self.client.base_url.port or 'default'})"

    def _dead(self, error: Exception) -> UpstreamError:
        message = f"Expected an answer of {self._server}, got {in_a_line(error)}. Is it running?"
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return UpstreamError(status, error_body(message, status))

    def _broken(self, error: Exception) -> UpstreamError:
        message = f"Expected the whole answer of {self._server}, got a part of it: {in_a_line(error)}."
        status = HTTPStatus.BAD_GATEWAY
        return UpstreamError(status, error_body(message, status))

    def _slow(self, error: Exception) -> UpstreamError:
        seconds = self.client.timeout.read
        message = f"Expected an answer of {self._server} within {seconds} s, got {in_a_line(error)}. See `--timeout`."
        status = HTTPStatus.GATEWAY_TIMEOUT
        return UpstreamError(status, error_body(message, status))

    def _wrong(self, got: str) -> UpstreamError:
        message = f"Expected an answer as OpenAI's protocol has it of {self._server}, got {got}. Check `--url`."
        status = HTTPStatus.BAD_GATEWAY
        return UpstreamError(status, error_body(message, status))


def _with_tokens_so_far(chunk: Json) -> Json:
    """A chunk of one choice, whose usage is that of this choice up to here."""
    pieces, usage = chunk.get("choices") or [], chunk.get("usage")
    if len(pieces) != 1 or not usage:
        return chunk
    plain = {key: value for key, value in chunk.items() if key != "usage"}
    piece = {**pieces[0], TOKENS_SO_FAR: int(usage.get("completion_tokens") or 0)}
    return {**plain, "choices": [piece], PROMPT_TOKENS: int(usage.get("prompt_tokens") or 0)}


async def _events(response: httpx.Response) -> AsyncIterator[str]:
    """The data of server-sent events; comments, by which servers keep a connection, and other fields are skipped.

    Lines end with a line feed alone or after a carriage return. `aiter_lines` would also end them at U+2028 and others,
    which may stand inside a JSON text.
    """
    rest, lines = b"", list[str]()
    async for part in response.aiter_bytes():
        *whole, rest = (rest + part).split(b"\n")
        for line in (each.removesuffix(b"\r") for each in whole):
            if line.startswith(b"data:"):
                lines.append(line.removeprefix(b"data:").removeprefix(b" ").decode("utf-8", "replace"))
            elif not line and lines:
                yield "\n".join(lines)
                lines = []


def _error_of(content: bytes, response: httpx.Response) -> Json:
    """The server's own error, or one around what it says instead."""
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if isinstance(body, dict) and "error" in body:
        return body
    said = content.decode("utf-8", "replace").strip()[:LONGEST_ERROR] or response.reason_phrase
    status = response.status_code
    return {"error": {"message": said, "type": "UpstreamError", "param": None, "code": status}}


def _retry_after(value: str | None) -> float:
    """Seconds that a header asks to wait; 0 where it says nothing that can be read."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except (TypeError, ValueError):
        return 0.0
