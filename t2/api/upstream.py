"""Who draws samples, spoken to in OpenAI's JSON: vLLM's own handlers, or any server that understands it. Pure.

A *body* is the JSON of a chat or completion request, a *response* that of its answer, a *chunk* one piece of a
streamed answer. Where an upstream knows while it streams how many tokens there are so far, it says so in two fields
that OpenAI's protocol does not have, and that no client sees: `TOKENS_SO_FAR` of a choice, `PROMPT_TOKENS` of a chunk.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any, Protocol

Json = dict[str, Any]
"""An object of OpenAI's protocol. Fields that T2 does not know are passed on as they are."""

ACCEPTED: Json = {}
"""The first item of a stream, where an upstream knows before its first chunk that the request is not wrong. A client's
own stream can begin with it: that takes a few milliseconds, in which the engine reads the prompt."""
TOKENS_SO_FAR, PROMPT_TOKENS = "t2_tokens_so_far", "t2_prompt_tokens"


class Upstream(Protocol):
    """Draws the samples of one client's request: made for it, since its headers go along."""

    @property
    def most_at_once(self) -> int | None:
        """Samples that one request may ask for; None: any number."""

    async def send(self, body: Json) -> Json:
        """One request that is answered whole.

        Raises:
            UpstreamError: it was not answered.
        """

    def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """The same, chunk by chunk; `ACCEPTED` may come first, and the last one has the `usage`. Closing it aborts all.

        Raises:
            UpstreamError: it was not answered, or broke off.
        """


class UpstreamError(Exception):
    """A request that was not answered, with what the client is told."""

    def __init__(self, status: int, body: Json, refused: bool = False) -> None:
        error = body.get("error")
        super().__init__(error.get("message") if isinstance(error, dict) else str(body)[:300])
        self.status, self.body = status, body
        self.refused = refused
        """the engine was full: nothing of the request was begun, and later it may be taken"""

    @property
    def is_the_clients(self) -> bool:
        """Whether the request was wrong, not who was asked."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR


def error_body(message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST, param: str | None = None) -> Json:
    """An error as OpenAI's protocol has it."""
    kind = "BadRequestError" if status == HTTPStatus.BAD_REQUEST else status.phrase.replace(" ", "") + "Error"
    return {"error": {"message": message, "type": kind, "param": param, "code": int(status)}}
