"""A server of `t2 serve` for a benchmark, and clients that ask it in every way that is compared."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import torch
from torch import Tensor

from t2.api.conversation import HeadPrompt
from t2.budget_head import BudgetHead
from t2.model_files import resolve_model
from t2.policies.rules import table_rules
from t2.policies.stoppers import StopByVotes, StopInputs
from t2.serving.arguments import ServerArguments, server_environment
from t2.spec import Grader, PromptSpec, Question
from t2.voting import majority

Json = dict[str, Any]
ASC_THRESHOLD = 0.95
"""As the paper has it."""
_START_SECONDS = 600.0
_PARTS = {"VLLM::EngineCore": "engine", "VLLM::Worker": "worker", "api_server": "server"}
"""What vLLM calls the processes of a server."""
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Asked:
    """What one question has got."""

    seconds: float
    tokens: int
    right: bool
    samples: int
    rounds: int


class Client:
    """Asks a server; votes itself where the server does not."""

    def __init__(self, http: httpx.AsyncClient, model: str, prompt: PromptSpec, grader: Grader) -> None:
        self.http, self.model, self.prompt, self.grader = http, model, prompt, grader
        self._salt = ""

    def forget_prompts(self) -> None:
        """From now on the engine finds no prompt of before in its prefix cache."""
        self._salt = secrets.token_hex(16)

    async def auto(self, question: Question, **options: object) -> Asked:
        """T2 decides and votes."""
        started = time.perf_counter()
        said = await self._chat(question, {"vllm_xargs": {"t2_budget": "auto", "t2_vote": True, **options}})
        seconds, t2 = time.perf_counter() - started, said["t2"]
        right, tokens = self._is_right(question, t2["answer"]), said["usage"]["completion_tokens"]
        return Asked(seconds, tokens, right, t2["samples"], len(t2["rounds"]))

    async def fixed(self, question: Question, samples: int) -> Asked:
        """A stock request."""
        started = time.perf_counter()
        said = await self._chat(question, {"n": samples})
        seconds = time.perf_counter() - started
        answer = majority([self._vote(choice) for choice in said["choices"]])
        return Asked(seconds, said["usage"]["completion_tokens"], self._is_right(question, answer), samples, 1)

    async def asc(self, question: Question, cap: int) -> Asked:
        """Stock requests one after the other, until the votes agree: adaptive self-consistency as published."""
        (rule,) = table_rules(StopByVotes(cap, ASC_THRESHOLD).rule(StopInputs()).table, [0])
        started, votes, tokens, rounds = time.perf_counter(), list[str | None](), 0, 0
        while extra := rule.extra(votes):
            said = await self._chat(question, {"n": extra})
            votes += [self._vote(choice) for choice in said["choices"]]
            tokens, rounds = tokens + said["usage"]["completion_tokens"], rounds + 1
        seconds = time.perf_counter() - started
        return Asked(seconds, tokens, self._is_right(question, majority(votes)), len(votes), rounds)

    async def first_text(self, question: Question, samples: int | None) -> tuple[float, int]:
        """Seconds until there is something to read, with a prefix cache that has not seen the question, and samples.

        Args:
            question: to ask.
            samples: of a stock request; None: T2 decides.
        """
        asked = {"vllm_xargs": {"t2_budget": "auto"}} if samples is None else {"n": samples}
        body = {**self.body(question), **asked, "stream": True, "cache_salt": secrets.token_hex(16)}
        started, seconds, last = time.perf_counter(), 0.0, ""
        async with self.http.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    last = line[6:]
                    seconds = seconds or (_has_text(json.loads(last)) and time.perf_counter() - started)
        return seconds, samples or json.loads(last)["t2"]["samples"]

    async def metric(self, name: str) -> float:
        """Of the server, summed over labels."""
        lines = (await self.http.get("/metrics")).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    async def computed_prompt_tokens(self) -> float:
        """Prompt tokens that the engine has not found in its prefix cache, so far."""
        return await self.metric("vllm:prefix_cache_queries_total") - await self.metric("vllm:prefix_cache_hits_total")

    def body(self, question: Question) -> Json:
        """Of every request: the head's whole conversation. T2 completes a bare question, and stock vLLM does not."""
        bare = {"model": self.model, "messages": [{"role": "user", "content": question.text}]}
        whole, _ = HeadPrompt(self.prompt).completed(bare)
        return {**whole, **({"cache_salt": self._salt} if self._salt else {})}

    async def _chat(self, question: Question, asked: Json) -> Json:
        response = await self.http.post("/v1/chat/completions", json={**self.body(question), **asked})
        response.raise_for_status()
        said: Json = response.json()
        return said

    def _vote(self, choice: Json) -> str | None:
        return self.grader.answer_class(choice["message"]["content"]) if choice["finish_reason"] == "stop" else None

    def _is_right(self, question: Question, answer: str | None) -> bool:
        return answer is not None and answer == self.grader.gold_class(question.answer)


@dataclass(frozen=True)
class Loop:
    """One way of asking, by many clients at once."""

    name: str
    asked: list[list[Asked]]
    """of each question what it got, each time"""
    peak_kv_use: float
    """largest share of the KV cache in use, as seen now and then"""

    def of(self, field: str) -> Tensor:
        """A field of `Asked` of each question, each time, (Q, times) float64."""
        return torch.tensor([[getattr(each, field) for each in times] for times in self.asked]).double()

    def and_then(self, again: Loop) -> Loop:
        """The same way once more."""
        asked = [first + second for first, second in zip(self.asked, again.asked, strict=True)]
        peak = max(self.peak_kv_use, again.peak_kv_use)
        return Loop(self.name, asked, peak)


async def closed_loop(
    name: str, client: Client, ask: Callable[[Question], Awaitable[Asked]], questions: Sequence[Question], clients: int
) -> Loop:
    """Each client asks its next question when it has its answer; no prompt is in the prefix cache."""
    client.forget_prompts()
    waiting, asked = list(enumerate(questions))[::-1], dict[int, Asked]()
    peak, is_over = 0.0, False

    async def one() -> None:
        while waiting:
            index, question = waiting.pop()
            asked[index] = await ask(question)

    async def watch() -> None:
        nonlocal peak
        while not is_over:
            peak = max(peak, await client.metric("vllm:kv_cache_usage_perc"))
            await asyncio.sleep(_POLL_SECONDS)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one() for _ in range(clients)))
    is_over = True
    await watching
    return Loop(name, [[asked[index]] for index in range(len(questions))], peak)


@dataclass(frozen=True)
class Server:
    """A running `t2 serve`."""

    process: subprocess.Popen[bytes]
    url: str

    @property
    def memory_mib(self) -> dict[str, float]:
        """Resident memory of each part, in MiB."""
        watching = psutil.Process(self.process.pid)
        parts = Counter({"first process": watching.memory_info().rss})
        for child in watching.children(recursive=True):
            title = " ".join(child.cmdline())
            part = next((part for sign, part in _PARTS.items() if sign in title), "others")
            parts[part] += child.memory_info().rss
        return {part: size / 2**20 for part, size in parts.items()}


@asynccontextmanager
async def started_server(
    model: str, head: str, flags: Sequence[str], stock: bool = False
) -> AsyncIterator[tuple[Server, httpx.AsyncClient]]:
    """Start one and wait until it answers; it ends with the context. A stock one is vLLM's, as `t2 serve` tells it."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    flags = ["--port", str(port), "--disable-uvicorn-access-log", *flags]
    command = ["-m", "t2.cli", "serve", model, "--head", head, *flags]
    environment = os.environ | {"VLLM_LOGGING_LEVEL": "WARNING"}
    if stock:
        on_cpu, answering = not torch.cuda.is_available(), BudgetHead.from_pretrained(head).record.answering
        told = ServerArguments.of(resolve_model(model), None, answering, flags, on_cpu)
        command = ["-m", "vllm.entrypoints.openai.api_server", *told.flags]
        environment = server_environment(environment, on_cpu, told.is_eager) | {"VLLM_PLUGINS": ""}
    process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
    server = Server(process, f"http://127.0.0.1:{port}")
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as http:
            deadline = time.monotonic() + _START_SECONDS
            while not await _answers(http):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"The server did not start: exit code {process.poll()}.")
                await asyncio.sleep(0.5)
            yield server, http
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(120)


async def _answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/health")).status_code == 200
    except httpx.TransportError:
        return False


def _has_text(chunk: Json) -> bool:
    return any(piece["delta"].get("content") for piece in chunk.get("choices", ()))
