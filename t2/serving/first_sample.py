"""A probe that is the first sample: its first token brings what the head says, and nothing is computed twice.

vLLM's handler streams the sample as it would any other. On the way to the engine its request is told to read the
head's columns too, and what the engine says of them is taken on the way back. Asked for in the protocol's own fields
they came as JSON with every token of the sample, and to write and read it took longer than to send the sample.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from torch import Tensor

from t2.api.requests import BudgetedRequest
from t2.api.upstream import Json, Upstream, UpstreamError
from t2.engine.head_columns import raw_outputs
from t2.errors import T2Error
from t2.sampling.probes import label_logprobs


def may_be_first(request: BudgetedRequest) -> bool:
    """Whether a sample can say what the head does: the client wants no log probabilities and no grammar.

    A grammar allows none of the head's columns, and vLLM's first model runner masks them before it reads them.
    """
    body = request.body
    wanted, form, tool = (body.get(name) for name in ("logprobs", "response_format", "tool_choice"))
    has_grammar = (
        body.get("structured_outputs") is not None
        or (isinstance(form, dict) and form.get("type", "text") != "text")
        or tool == "required"
        or isinstance(tool, dict)
    )
    return (wanted is None or wanted is False) and not has_grammar  # of a completion 0 is a wish, too


class ColumnReader:
    """Stands in the place of vLLM's engine client while one sample is drawn, and reads the head's columns beside it."""

    def __init__(self, engine_client: Any, label_ids: Sequence[int]) -> None:
        """Read nothing yet.

        Args:
            engine_client: of vLLM.
            label_ids: token ids of the columns.
        """
        self._engine_client, self._label_ids = engine_client, list(label_ids)
        self.raw_O: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()
        self.raw_O.add_done_callback(_seen)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine_client, name)

    async def generate(self, prompt: Any, parameters: Any, *others: Any, **named: Any) -> AsyncGenerator[Any, None]:
        """As vLLM's, whose outputs these are."""
        parameters.logprob_token_ids = self._label_ids
        async with aclosing(self._engine_client.generate(prompt, parameters, *others, **named)) as outputs:
            async for output in outputs:
                if not self.raw_O.done() and output.outputs and output.outputs[0].logprobs:
                    self._take(output.outputs[0])
                yield output

    def _take(self, completion: Any) -> None:
        try:
            self.raw_O.set_result(raw_outputs(label_logprobs(self._label_ids, completion)))
        except (KeyError, T2Error) as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Tell whoever waits that nothing comes any more, unless it has come."""
        if not self.raw_O.done():
            self.raw_O.set_exception(error)


def _seen(raw_O: asyncio.Future[Tensor]) -> None:
    """An error that nobody waits for any more, since the request has failed by itself, is none to be logged."""
    if not raw_O.cancelled():
        raw_O.exception()


class FirstSample:
    """`Upstream` of one sample, and `Probe` of its prompt."""

    tokens = 0
    """The probe generates nothing besides the sample."""
    most_at_once = 1

    def __init__(self, upstream: Upstream, reader: ColumnReader) -> None:
        """Put them together.

        Args:
            upstream: draws by way of the reader.
            reader: of the head's columns.
        """
        self._upstream, self._reader = upstream, reader

    async def send(self, body: Json) -> Json:
        return await self._upstream.send(body)

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """The sample.

        Raises:
            UpstreamError: as the upstream's. One that was refused may be streamed again.
        """
        try:
            async with aclosing(self._upstream.stream(body)) as chunks:
                async for chunk in chunks:
                    yield chunk
            self._reader.fail(T2Error("Expected log probabilities of the head's columns with a token, got no token."))
        except Exception as error:  # whatever it is: who waits for the first token must know that there is none
            if not (isinstance(error, UpstreamError) and error.refused):
                self._reader.fail(error)
            raise

    async def read(self, request: BudgetedRequest) -> Tensor:
        """The head's raw outputs, as soon as the first token is there.

        Raises:
            UpstreamError: there is no first token.
            T2Error: it says nothing of the head.
        """
        return await asyncio.shield(self._reader.raw_O)
