"""The gateway: T2's API in front of an OpenAI-compatible server that knows nothing of T2.

Requests that ask for a budget are answered by the same code as inside vLLM; what differs is who draws the samples
(`HttpUpstream`) and who reads the prompt (`PromptProbe`). Everything else is passed on as it is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from secrets import compare_digest
from typing import Any

import httpx
from fastapi import FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from t2.api.conversation import TEMPLATE_ARGUMENTS
from t2.api.drain import SHUTDOWN_SECONDS
from t2.api.event_stream import EventStream
from t2.api.parts import Parts, Taken
from t2.api.requests import PREFIX, Kind
from t2.api.upstream import Json, UpstreamError, error_body
from t2.errors import T2Error, in_a_line
from t2.gateway.http_upstream import HttpUpstream, ServerHabits
from t2.gateway.passing import ClientGoneError, passed_on, request_to, unless_client_leaves
from t2.gateway.prompt_probe import NO_PROBE, PromptProbe

PATHS: dict[str, Kind] = {"/v1/chat/completions": "chat", "/v1/completions": "completion"}
PASSED_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
NO_KEY = ("", "EMPTY", "none")
"""What clients send that have no key but must send one."""
_KEPT_HEADERS = ("openai-organization", "openai-project", "traceparent", "tracestate")
"""Of a client's request that are sent with each of the requests that it becomes, besides its key."""
_CLIENT_CLOSED_REQUEST = 499
"""Nobody is there to read it; logs show it."""
_HEALTH_SECONDS = 5.0
_UNGUARDED = ("/health", "/metrics")
"""Paths that say nothing of requests, for those who watch over servers."""


@dataclass(frozen=True)
class Keys:
    """Who must send what, and what the server behind gets."""

    servers: str | None = None
    """that the server behind wants; None: only what clients send themselves"""
    clients: str | None = None
    """that clients must send, instead of one for the server; None: anyone is answered"""

    def allows(self, request: Request) -> bool:
        """Whether a client may be answered."""
        return self.clients is None or compare_digest(_key_of(request).encode(), self.clients.encode())

    def sent_on(self, request: Request) -> str | None:
        """The key that goes to the server in place of the client's, empty: no key; None: the client's own goes.

        A key that opens the gateway is none of the server's business.
        """
        if self.clients is not None:
            return self.servers or ""
        return self.servers if _key_of(request) in NO_KEY else None

    def headers(self, request: Request) -> dict[str, str]:
        """What goes along with a request to the server that the gateway makes itself."""
        kept = {name: value for name in _KEPT_HEADERS if (value := request.headers.get(name)) is not None}
        if (key := self.sent_on(request)) is not None:
            return kept | ({"authorization": f"Bearer {key}"} if key else {})
        own = request.headers.get("authorization")
        return kept | ({} if own is None else {"authorization": own})


@dataclass(frozen=True)
class Gateway:
    """What answers requests."""

    client: httpx.AsyncClient
    """with the server's address and the timeouts"""
    parts: Parts
    probe: PromptProbe | None
    """None: nobody reads the prompts"""
    keys: Keys
    about: Mapping[str, Any]
    """what `GET /t2` says"""
    registry: CollectorRegistry
    on_retry: Callable[[], None] = lambda: None
    most_at_once: int | None = None
    """samples that one request to the server may ask for"""
    habits: ServerHabits = field(default_factory=ServerHabits)
    """what is known of the server"""

    async def answer(self, request: Request, kind: Kind) -> Response:
        """A chat or completion request: by T2 if it asks for it, else passed on."""
        body = object_of(await request.body())
        if body is None:  # the server says what is wrong with it
            return await self.pass_on(request)
        try:
            check_form(body, kind)
        except T2Error as error:
            if not names_t2(body):
                return await self.pass_on(request)
            self.parts.metrics.refused()
            return _error(error_body(str(error)))
        try:
            taken = self.parts.taken(body, kind)
        except T2Error as error:
            return _error(error_body(str(error)))
        if taken is None:
            # The server need not know of T2's options to answer a request that wants nothing of it.
            return await self.pass_on(request, json.dumps(without_t2(body)).encode() if names_t2(body) else None)
        return await self._answered(request, taken, frozenset(body))

    async def _answered(self, request: Request, taken: Taken, own_fields: frozenset[str]) -> Response:
        """The answer of T2, or in shadow mode of the server behind, which T2 watches."""
        asked, by = taken.request, taken.by
        path, headers = request.url.path, self.keys.headers(request)
        upstream = HttpUpstream(self.client, path, headers, own_fields, self.most_at_once, self.on_retry, self.habits)
        probe = self.probe or NO_PROBE
        try:
            if asked.stream:
                return await self._streamed(request, by.stream(asked, upstream, probe))
            return JSONResponse(await unless_client_leaves(request, by.answer(asked, upstream, probe)))
        except UpstreamError as error:
            return _error(error.body, error.status)
        except ClientGoneError:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)

    async def pass_on(self, request: Request, content: bytes | None = None) -> Response:
        """Any request, as it is, or with other content."""
        try:
            return await passed_on(self.client, request, self.keys.sent_on(request), content)
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            return _unreachable(error, HTTPStatus.GATEWAY_TIMEOUT)
        except httpx.TransportError as error:
            return _unreachable(error)
        except ClientGoneError:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)

    async def health(self) -> Response:
        """Whether requests can be answered: the server behind answers anything at all that is no failure of its own."""
        headers = {} if self.keys.servers is None else {"authorization": f"Bearer {self.keys.servers}"}
        asked = request_to(self.client, "GET", "/v1/models", headers)
        asked.extensions["timeout"] = httpx.Timeout(_HEALTH_SECONDS).as_dict()
        try:
            response = await self.client.send(asked)
        except httpx.TransportError as error:
            return _unreachable(error)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _unreachable(httpx.RemoteProtocolError(f"status {response.status_code}"))
        return Response()

    async def _streamed(self, request: Request, chunks: AsyncGenerator[Json, None]) -> Response:
        """The first chunk is waited for: an error before it has a status of its own."""
        try:
            first = await unless_client_leaves(request, anext(chunks))
        except BaseException:
            await chunks.aclose()
            raise
        return EventStream(first, chunks)


def gateway_app(gateway: Gateway) -> FastAPI:
    """The application that uvicorn runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(gateway.parts.drain.wait, SHUTDOWN_SECONDS)
        await gateway.client.aclose()
        if gateway.probe is not None:
            gateway.probe.close()

    # No pages of its own: what is not T2's is the server's.
    app = FastAPI(title="T2 gateway", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)

    def budgeted(kind: Kind) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            return await gateway.answer(request, kind)

        return answer

    async def passed(request: Request) -> Response:
        return await gateway.pass_on(request)

    async def about() -> Response:
        return JSONResponse(gateway.about)

    async def metrics() -> Response:
        return Response(generate_latest(gateway.registry), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route("/health", gateway.health, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])
    app.add_api_route("/t2", about, methods=["GET"])
    for path, kind in PATHS.items():
        app.add_api_route(path, budgeted(kind), methods=["POST"])
    app.add_api_route("/{path:path}", passed, methods=PASSED_METHODS)
    app.add_middleware(_OnlyAllowed, keys=gateway.keys)
    return app


class _OnlyAllowed:
    """Lets requests through that have the gateway's key. Not of Starlette's kind, which hides that a client leaves."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_guarded = scope["type"] == "http" and scope["path"] not in _UNGUARDED
        if is_guarded and not self._keys.allows(Request(scope)):
            status = HTTPStatus.UNAUTHORIZED
            message = "Expected the gateway's key as `Authorization: Bearer KEY`, got none or another."
            await _error(error_body(message, status), status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def object_of(content: bytes) -> Json | None:
    """A JSON object; None: it is none."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def names_t2(body: Json) -> bool:
    """Whether a request says anything to T2."""
    options = body.get("vllm_xargs")
    return any(key.startswith(PREFIX) for key in (*body, *(options if isinstance(options, dict) else ())))


def without_t2(body: Json) -> Json:
    """A request without T2's options."""
    options = {key: value for key, value in body["vllm_xargs"].items() if not key.startswith(PREFIX)}
    plain = {key: value for key, value in body.items() if key != "vllm_xargs"}
    return plain | ({"vllm_xargs": options} if options else {})


def check_form(body: Json, kind: Kind) -> None:
    """Make sure of what `RequestReader` takes for granted. All else is for the server to judge.

    Raises:
        T2Error: a field that T2 looks at has a type that it cannot have.
    """
    turns = body.get("messages")
    if kind == "chat" and not (isinstance(turns, list) and turns and all(isinstance(turn, dict) for turn in turns)):
        raise T2Error("Expected `messages` as a list of objects, got something else. Give each a `role` and `content`.")
    for name in ("vllm_xargs", "stream_options", TEMPLATE_ARGUMENTS):
        if not isinstance(body.get(name) or {}, dict):
            raise T2Error(f"Expected `{name}` as an object, got {type(body[name]).__name__}.")


def _key_of(request: Request) -> str:
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""


def _error(body: Json, status: int = HTTPStatus.BAD_REQUEST) -> JSONResponse:
    return JSONResponse(body, status)


def _unreachable(error: Exception, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> JSONResponse:
    message = f"Expected an answer of the server behind the gateway, got {in_a_line(error)}. Is it running?"
    return _error(error_body(message, status), status)
