"""T2's routes in vLLM's server, an endpoint plugin of vLLM: chat and completions with `t2_budget`, and `GET /t2`.

Requests without it go to vLLM's own routes as they came. FastAPI reads the annotations of routes, so they are no texts.
"""

from argparse import Namespace
from collections.abc import AsyncGenerator, Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from vllm import envs
from vllm.entrypoints.openai.chat_completion import api_router as chat_routes
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion import api_router as completion_routes
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.middleware.authenticate import AuthenticationMiddleware
from vllm.entrypoints.serve.utils.api_utils import load_aware_call, validate_json_request, with_cancellation
from vllm.entrypoints.serve.utils.sse_keep_alive import with_sse_keep_alive

from t2.api.event_stream import EventStream
from t2.api.parts import Parts, Taken
from t2.api.requests import Kind
from t2.api.upstream import Json, UpstreamError, error_body
from t2.errors import T2Error
from t2.serving.server import T2Server
from t2.serving.settings import ServerSettings


class T2Endpoint:
    """What vLLM asks of an endpoint plugin."""

    name = "t2_server"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Put T2's routes in the place of vLLM's."""
        app.include_router(_router())

    async def init_state(self, engine_client: Any, state: Any, args: Namespace) -> None:
        """Load the export; the server does not start without it."""
        state.t2 = T2Server.of(ServerSettings.from_environment(), engine_client, state)
        keys = [key for key in (args.api_key or [envs.VLLM_API_KEY]) if key]
        state.t2_guard = AuthenticationMiddleware(app=None, tokens=keys) if keys else None


def _router() -> APIRouter:
    router = APIRouter()

    @router.post("/v1/chat/completions", dependencies=[Depends(validate_json_request)])
    async def chat(request: ChatCompletionRequest, raw_request: Request) -> Any:
        return await _dispatched("chat", request, raw_request, chat_routes.create_chat_completion)

    @router.post("/v1/completions", dependencies=[Depends(validate_json_request)])
    async def completion(request: CompletionRequest, raw_request: Request) -> Any:
        return await _dispatched("completion", request, raw_request, completion_routes.create_completion)

    @router.get("/t2")
    async def description(raw_request: Request) -> Any:
        # vLLM guards paths by their beginnings, and this one is none of them.
        guard = raw_request.app.state.t2_guard
        if guard is not None and not guard.verify_token(raw_request.headers):
            return JSONResponse({"error": "Unauthorized"}, HTTPStatus.UNAUTHORIZED)
        return JSONResponse(raw_request.app.state.t2.description)

    return router


async def _dispatched(kind: Kind, request: Any, raw_request: Request, stock_route: Callable[..., Any]) -> Any:
    """The answer of T2, or of vLLM's own route where a request asks nothing of T2."""
    parts: Parts = raw_request.app.state.t2.parts
    body = await raw_request.json()  # read and kept when `request` was made of it
    try:
        taken = parts.taken(body, kind)
    except T2Error as error:
        return JSONResponse(error_body(str(error)), HTTPStatus.BAD_REQUEST)
    if taken is None:
        return await stock_route(request, raw_request)
    if parts.drain.is_draining:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse(error_body("The server is shutting down. Ask another one.", status), status)
    return await _answered(taken, raw_request)


@with_cancellation  # type: ignore[untyped-decorator]  # of vLLM: a client that leaves ends all that runs for it
@load_aware_call  # type: ignore[untyped-decorator]  # of vLLM
async def _answered(taken: Taken, raw_request: Request) -> Any:
    """The answer of T2, or in shadow mode of the engine, which T2 watches."""
    request, by = taken.request, taken.by
    session = raw_request.app.state.t2.session(request.kind, raw_request)
    try:
        if not request.stream:
            return JSONResponse(await by.answer(request, session, session))
        return await _streamed(by.stream(request, session, session), raw_request)
    except UpstreamError as error:
        return JSONResponse(error.body, error.status)


async def _streamed(chunks: AsyncGenerator[Json, None], raw_request: Request) -> EventStream:
    """A stream of events; what goes wrong before the first one is raised, since its status is still to be said."""
    first = await anext(chunks)
    interval = float(getattr(raw_request.app.state.args, "sse_keep_alive_interval", 0))
    return EventStream(first, chunks, partial(with_sse_keep_alive, interval=interval))
