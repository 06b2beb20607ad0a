"""A probe that is the first sample: its first token brings what the head says, and nothing is computed twice.

The engine's log probabilities of the head's columns come with each token of this one sample; the client never sees
them, and the others are begun without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from torch import Tensor

from t2.api.requests import BudgetedRequest
from t2.api.upstream import ACCEPTED, Json, Upstream, UpstreamError
from t2.engine.head_columns import raw_outputs
from t2.errors import T2Error

_ASKS: dict[str, Json] = {"chat": {"logprobs": True}, "completion": {"logprobs": 1}}
"""How a request says that it wants log probabilities at all."""


def may_be_first(request: BudgetedRequest) -> bool:
    """Whether log probabilities are free for T2: the client wants none of its own, and hides none."""
    wanted = request.body.get("logprobs")  # of a completion 0 is a wish, too
    return (wanted is None or wanted is False) and request.body.get("include_reasoning", True) is not False


class FirstSample:
    """`Upstream` of one sample, and `Probe` of its prompt."""

    tokens = 0
    """The probe generates nothing besides the sample."""
    most_at_once = 1

    def __init__(self, upstream: Upstream, label_ids: Sequence[int]) -> None:
        self._upstream, self._label_ids = upstream, label_ids
        self._raw_O: asyncio.Future[Tensor] = asyncio.get_running_loop().create_future()

    async def send(self, body: Json) -> Json:
        return await self._upstream.send(body)

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """The sample, without the log probabilities.

        Raises:
            UpstreamError: as the upstream's. One that was refused may be streamed again.
        """
        asks = _ASKS["chat" if "messages" in body else "completion"]
        asked = {**body, **asks, "logprob_token_ids": list(self._label_ids), "return_tokens_as_token_ids": True}
        try:
            async with aclosing(self._upstream.stream(asked)) as chunks:
                async for chunk in chunks:
                    pieces = [self._without_logprobs(piece) for piece in chunk.get("choices") or []]
                    yield {**chunk, "choices": pieces} if chunk else ACCEPTED
            self._fail(T2Error("Expected log probabilities of the head's columns with the first token, got none."))
        except Exception as error:  # whatever it is: who waits for the first token must know that there is none
            if not (isinstance(error, UpstreamError) and error.refused):
                self._fail(error)
            raise

    async def read(self, request: BudgetedRequest) -> Tensor:
        """The head's raw outputs, as soon as the first token is there.

        Raises:
            UpstreamError: there is no first token.
            T2Error: it says nothing of the head.
        """
        return await asyncio.shield(self._raw_O)

    def _without_logprobs(self, piece: Json) -> Json:
        if (said := piece.get("logprobs")) and not self._raw_O.done():
            found = _of_first_token(said)
            try:
                self._raw_O.set_result(raw_outputs([found[f"token_id:{label}"] for label in self._label_ids]))
            except (KeyError, T2Error) as error:
                self._fail(error)
        return {**piece, "logprobs": None} if "logprobs" in piece else piece

    def _fail(self, error: Exception) -> None:
        if not self._raw_O.done():
            self._raw_O.set_exception(error)


def _of_first_token(said: Json) -> dict[str, float]:
    """Log probabilities by token, of a chat's chunk or a completion's."""
    if content := said.get("content"):
        return {entry["token"]: entry["logprob"] for entry in content[0]["top_logprobs"]}
    return dict((said.get("top_logprobs") or [{}])[0] or {})
