"""One client's request inside vLLM's server: its samples by the stock handlers, its probe by the engine itself."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from torch import Tensor
from vllm import SamplingParams, envs
from vllm.entrypoints.generate.label_reads import next_token_label_reads
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.exceptions import GracefulHTTPError
from vllm.utils import random_uuid

from t2.api.requests import BudgetedRequest, Kind
from t2.api.upstream import ACCEPTED, Json, UpstreamError
from t2.engine.head_columns import column_ids, raw_outputs
from t2.serving.first_sample import ColumnReader, FirstSample, may_be_first

_REQUESTS: dict[str, Any] = {"chat": ChatCompletionRequest, "completion": CompletionRequest}
_REQUEST_ID_HEADER = b"x-request-id"


@dataclass(frozen=True)
class EngineService:
    """vLLM's server as T2 uses it; one for all requests."""

    engine_client: Any
    chat: Any
    """vLLM's `OpenAIServingChat`"""
    completion: Any
    """vLLM's `OpenAIServingCompletion`"""
    label_ids: tuple[int, ...]
    """token ids of the head's columns; empty: the export reads no activations"""
    most_at_once: int

    @classmethod
    def of(cls, engine_client: Any, state: Any, num_outputs: int | None) -> EngineService:
        """Of a server whose state is complete.

        Args:
            engine_client: of vLLM.
            state: of its app.
            num_outputs: of the head; None: no activations are read.
        """
        config = engine_client.vllm_config
        labels = () if num_outputs is None else column_ids(config.model_config.hf_config.t2_vocab_size, num_outputs)
        most = min(envs.VLLM_MAX_N_SEQUENCES, config.scheduler_config.max_num_seqs)
        return cls(engine_client, state.openai_serving_chat, state.openai_serving_completion, labels, most)

    def by_way_of(self, reader: ColumnReader) -> EngineService:
        """The same server, whose handlers ask the engine through a reader."""
        chat, completion = copy.copy(self.chat), copy.copy(self.completion)
        chat.engine_client = completion.engine_client = reader
        return replace(self, chat=chat, completion=completion)


class EngineSession:
    """`Upstream` and `Probe` of one request."""

    tokens = 1

    def __init__(self, service: EngineService, kind: Kind, raw_request: Any) -> None:
        """Take a client's request, whose headers go along: priority, trace, session.

        Its own request id does not, since every wave is a request of its own to vLLM.
        """
        self._service, self._kind = service, kind
        headers = [header for header in raw_request.scope["headers"] if header[0] != _REQUEST_ID_HEADER]
        self._raw_request = type(raw_request)({**raw_request.scope, "headers": headers})
        self.most_at_once = service.most_at_once

    async def send(self, body: Json) -> Json:
        answer = await self._ask(self._request(body))
        return dict(answer.model_dump())

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        request = self._request(body)
        has_begun = has_ended = False
        try:
            async with aclosing(await self._ask(request)) as lines:
                yield ACCEPTED
                async for line in lines:
                    said = line.removeprefix("data: ").strip()
                    if said == "[DONE]":
                        break
                    chunk = json.loads(said)
                    if "error" in chunk:
                        status = int(chunk["error"].get("code") or HTTPStatus.INTERNAL_SERVER_ERROR)
                        full = status == HTTPStatus.SERVICE_UNAVAILABLE
                        raise UpstreamError(status, chunk, refused=full and not has_begun)
                    has_begun = True
                    yield chunk
            has_ended = True
        finally:
            if not has_ended:
                await self._service.engine_client.abort(self._engine_id(request))

    def first_sample(self, request: BudgetedRequest) -> FirstSample | None:
        if not may_be_first(request):
            return None
        reader = ColumnReader(self._service.engine_client, self._service.label_ids)
        session = EngineSession(self._service.by_way_of(reader), self._kind, self._raw_request)
        return FirstSample(session, reader)

    async def read(self, request: BudgetedRequest) -> Tensor:
        """The head's raw outputs, from the log probabilities of the columns that carry them, see `head_columns`."""
        rendered = self._request({**request.body, "n": 1})
        try:
            if self._kind == "chat":
                inputs = await self._service.chat.render_chat_request(rendered)
                inputs = inputs if isinstance(inputs, ErrorResponse) else inputs[1]
            else:
                inputs = await self._service.completion.render_completion_request(rendered)
        except Exception as error:
            if (known := _not_begun(error)) is not None:
                raise known from error
            raise
        if isinstance(inputs, ErrorResponse):
            raise _not_answered(inputs)
        parameters = SamplingParams(max_tokens=1, temperature=0.0, logprob_token_ids=list(self._service.label_ids))
        (read,) = await next_token_label_reads(
            self._service.engine_client,
            inputs,
            [parameters],
            f"t2-probe-{random_uuid()}",
            priority=rendered.priority,
        )
        return raw_outputs(read.logprobs)

    def _request(self, body: Json) -> Any:
        """What vLLM makes of a body; a copy, since vLLM normalises messages in place."""
        own = {"request_id": f"t2-{random_uuid()}", "return_token_ids": True}
        return _REQUESTS[self._kind].model_validate({**copy.deepcopy(body), **own})

    async def _ask(self, request: Any) -> Any:
        """The stock handler's answer, or its lines where the request is for a stream."""
        try:
            if self._kind == "chat":
                answer = await self._service.chat.create_chat_completion(request, self._raw_request)
            else:
                answer = await self._service.completion.create_completion(request, self._raw_request)
        except Exception as error:
            if (known := _not_begun(error)) is not None:
                raise known from error
            raise
        if isinstance(answer, ErrorResponse):
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # vLLM has made an answer of it, for a client that has left
            raise _not_answered(answer)
        return answer

    def _engine_id(self, request: Any) -> str:
        """Under which the engine knows the request."""
        return f"chatcmpl-{request.request_id}" if self._kind == "chat" else f"cmpl-{request.request_id}-0"


def _not_begun(error: Exception) -> UpstreamError | None:
    """What an error of vLLM says: the request is wrong, or the engine is full; None: neither of them."""
    response = create_error_response(error)
    if isinstance(error, GracefulHTTPError):
        refused = response.error.code == HTTPStatus.SERVICE_UNAVAILABLE
        return UpstreamError(int(response.error.code), response.model_dump(), refused)
    return _not_answered(response) if response.error.code < HTTPStatus.INTERNAL_SERVER_ERROR else None


def _not_answered(response: Any) -> UpstreamError:
    return UpstreamError(int(response.error.code), response.model_dump())
