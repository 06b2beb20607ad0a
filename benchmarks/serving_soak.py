"""Mixed load: every kind of request, wrong ones and clients that leave too; nothing may fail that was not asked to."""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import httpx
from serving_client import Client, Json, Server

from t2.spec import Question

_MEMORY_SECONDS = 2.0
AUTO: Json = {"vllm_xargs": {"t2_budget": "auto"}}
Kind = Callable[[Question], Awaitable[str]]


async def soak(
    server: Server, client: Client, questions: Sequence[Question], seconds: float, clients: int, stock: bool
) -> list[str]:
    """So many clients ask at random for so long; of a stock server what it understands.

    Returns:
        A table of kinds of requests and how they ended, and what memory the server took.
    """
    kinds, draw = (
        {name: kind for name, kind in _kinds(client).items() if name == "fixed" or not stock},
        random.Random(0),
    )
    ended: dict[str, Counter[str]] = {name: Counter() for name in kinds}
    asked, memory = Counter[str](), list[tuple[float, dict[str, float]]]()
    began = time.monotonic()

    async def one() -> None:
        while time.monotonic() - began < seconds:
            name = draw.choice(list(kinds))
            asked[name] += 1
            try:
                end = await kinds[name](draw.choice(questions))
            except Exception as error:  # counted as what it is: nothing may be raised
                end = f"failed: {type(error).__name__}"
            ended[name][end] += 1

    async def watch() -> None:
        while time.monotonic() - began < seconds:
            memory.append((time.monotonic() - began, server.memory_mib))
            await asyncio.sleep(_MEMORY_SECONDS)

    await asyncio.gather(watch(), *(one() for _ in range(clients)))
    minute = min(60.0, seconds / 3)
    second = statistics.mean(sum(mib.values()) for at, mib in memory if minute <= at < 2 * minute)
    last = statistics.mean(sum(mib.values()) for at, mib in memory if at >= seconds - minute)
    lines = ["| mixed load | requests | as expected | otherwise |", "|---|---|---|---|"]
    for name, ends in ended.items():
        others = ", ".join(f"{end} {count}" for end, count in ends.items() if end != "as expected")
        lines.append(f"| {name} | {asked[name]} | {ends['as expected']} | {others or 'none'} |")
    lost = sum(asked.values()) - sum(ends.total() for ends in ended.values())
    growth = f"{second:.0f} MiB in the second minute, {last:.0f} in the last: {last / second:.3f} x"
    by_minute = {int(at // 60): mib for at, mib in memory}
    parts = [f"{part} {', '.join(f'{mib.get(part, 0):.0f}' for mib in by_minute.values())}" for part in memory[-1][1]]
    fallbacks = await client.metric("t2_fallbacks_total")
    return [
        *lines,
        "",
        f"{lost} requests without an end, {fallbacks:.0f} fallbacks. Memory of the server: {growth}.",
        f"At the end of each minute, MiB: {'; '.join(parts)}.",
    ]


def _kinds(client: Client) -> dict[str, Kind]:
    """Ways to ask, each with what must come of it."""
    http = client.http

    def body(question: Question, **changes: object) -> Json:
        return {**client.body(question), **changes}

    async def whole(asked: Json, is_right: Callable[[httpx.Response], bool]) -> str:
        response = await http.post("/v1/chat/completions", json=asked)
        return "as expected" if is_right(response) else f"status {response.status_code}"

    def answered(response: httpx.Response) -> bool:
        said = response.json()
        return (
            response.status_code == 200 and said["t2"]["samples"] - said["t2"]["aborted"] >= len(said["choices"]) >= 1
        )

    async def streamed(question: Question) -> str:
        last = ""
        async with http.stream("POST", "/v1/chat/completions", json=body(question, stream=True, **AUTO)) as response:
            async for line in response.aiter_lines():
                last = line or last
        return "as expected" if last == "data: [DONE]" else f"ended by {last[:40]}"

    async def left(question: Question) -> str:
        async with http.stream("POST", "/v1/chat/completions", json=body(question, stream=True, **AUTO)) as response:
            await anext(response.aiter_lines())
        return "as expected"

    async def impatient(question: Question) -> str:
        with contextlib.suppress(httpx.TimeoutException):
            await http.post("/v1/chat/completions", json=body(question, **AUTO), timeout=0.02)
        return "as expected"

    async def malformed(question: Question) -> str:
        wrong = body(question, vllm_xargs={"t2_budget": "auto", "t2_price": -1})
        return await whole(wrong, lambda response: response.status_code == 400)

    def options(**xargs: object) -> Json:
        return {"vllm_xargs": {"t2_budget": "auto", **xargs}}

    return {
        "auto, one round": lambda q: whole(body(q, **options(t2_round_price=100)), answered),
        "auto, planned": lambda q: whole(body(q, **options(t2_round_price=0, t2_vote=True)), answered),
        "auto, cancelled at the stop": lambda q: whole(body(q, **options(t2_cancel=True)), answered),
        "fixed": lambda q: whole(body(q, n=4), lambda response: len(response.json()["choices"]) == 4),
        "streamed": streamed,
        "client leaves a stream": left,
        "client leaves before the answer": impatient,
        "malformed": malformed,
    }
