"""Requests and responses passed on as they are: bytes, headers, streams, and that a client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping
from typing import TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

HOP_BY_HOP = frozenset(
    (
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
        *("transfer-encoding", "proxy-connection"),
    )
)
"""Headers that are of one connection alone (RFC 9110, section 7.6.1)."""
_T = TypeVar("_T")


class ClientGoneError(Exception):
    """The client has closed its connection: nobody waits for an answer."""


def request_to(
    client: httpx.AsyncClient,
    method: str,
    path: str | bytes,
    headers: Mapping[str, str] | Iterable[tuple[bytes, bytes]],
    content: bytes | AsyncIterable[bytes] | None = None,
) -> httpx.Request:
    """A request to the client's server with these headers and no others.

    The client's own would be added by its `build_request`: a kind of encoding that nobody has asked for, and cookies
    that the server has given to somebody else.

    Args:
        client: with the server's address.
        method: of HTTP.
        path: from the root, escaped, with the query.
        headers: all but `host` and the length.
        content: None: there is none.
    """
    raw = path.encode("ascii") if isinstance(path, str) else path
    url = client.base_url.copy_with(raw_path=client.base_url.raw_path.rstrip(b"/") + raw)
    listed = headers if isinstance(headers, Mapping) else list(headers)
    return httpx.Request(method, url, headers=listed, content=content)


def end_to_end(headers: Iterable[tuple[bytes, bytes]], without: Iterable[str] = ()) -> list[tuple[bytes, bytes]]:
    """Headers that are meant for the other end, in order, names in small letters."""
    listed = [(name.lower(), value) for name, value in headers]
    named = {each.strip().lower() for name, value in listed if name == b"connection" for each in value.split(b",")}
    dropped = {each.encode() for each in (*HOP_BY_HOP, *without)} | named
    return [(name, value) for name, value in listed if name not in dropped]


class PassedOn(StreamingResponse):
    """A response as it comes, byte for byte; its connection is closed when the client has it, or has left."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.aiter_raw(), response.status_code)
        self.raw_headers = end_to_end(response.headers.raw)
        self._response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._response.aclose()


async def passed_on(
    client: httpx.AsyncClient, request: Request, key: str | None, content: bytes | None = None
) -> PassedOn:
    """Send a client's request on, and give back what comes, as it comes.

    Args:
        client: with the server's address.
        request: of the client.
        key: that goes in place of the client's, empty: none; None: the client's own goes.
        content: that goes in place of the client's; None: the client's own goes.

    Raises:
        httpx.TransportError: the server cannot be reached.
        ClientGoneError: the client did not wait for the answer to begin.
    """
    dropped = ("host", "content-length", *(("authorization",) if key is not None else ()))
    headers = end_to_end(request.headers.raw, dropped)
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    # Read whole: whether the client still waits can be heard only when it has said all.
    own = await request.body()
    has_content = bool(own) or "content-length" in request.headers
    content = content if content is not None else own if has_content else None
    path = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope["query_string"]
    asked = request_to(client, request.method, path + (b"?" + query if query else b""), headers, content)
    return PassedOn(await unless_client_leaves(request, client.send(asked, stream=True)))


async def unless_client_leaves(request: Request, work: Awaitable[_T]) -> _T:
    """The work's result; it is cancelled, and has ended, when the client leaves. The request's body has been read.

    Raises:
        ClientGoneError: the client has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
