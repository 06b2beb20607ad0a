"""A request answered: its plan is made, waves of samples are drawn until the rule stops, and one answer comes of them.

Who draws the samples is an `Upstream`, who reads the prompt a `Probe`: vLLM's engine is both, a gateway has two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from t2.answering.question import QuestionInProgress
from t2.api.admission import Admission, Streamed, Wave
from t2.api.assembled import as_one_chunk
from t2.api.deciding import Decider, Decision, Probe, Reading, SamplingProbe
from t2.api.drain import Drain
from t2.api.metrics import ServingMetrics
from t2.api.requests import BudgetedRequest
from t2.api.responses import Drawn, StreamedRequest, StreamedSample, merged, merged_usage, shown_choice, t2_object
from t2.api.streams import Streams
from t2.api.upstream import ACCEPTED, Json, Upstream

_NOT_GREEDY = ("top_k", "min_p", "seed")
"""Fields that say how to sample, and mean nothing at temperature 0."""
_WHOLE = {"chat": "chat.completion", "completion": "text_completion"}
"""The `object` of an answer that is not streamed."""


@dataclass(frozen=True)
class _Decided:
    """A question with its plan."""

    decision: Decision
    question: QuestionInProgress


class Orchestrator:
    """Answers requests with one export."""

    def __init__(
        self, decider: Decider, metrics: ServingMetrics, drain: Drain | None = None, admission: Admission | None = None
    ) -> None:
        """Put together what answers requests.

        Args:
            decider: of the export.
            metrics: that count.
            drain: told of each request while it is answered.
            admission: of waves; None: as patient as it is by default.
        """
        self._decider, self._metrics, self._drain = decider, metrics, drain or Drain()
        self._admission = admission or Admission(metrics.wave_refused)

    async def answer(self, request: BudgetedRequest, upstream: Upstream, probe: Probe) -> Json:
        """The whole answer.

        Raises:
            UpstreamError: the request, or the upstream, does not allow one.
        """
        with self._metrics.request(), self._drain.running():
            decided = await self._decided(request, probe)
            question = decided.question
            if request.cancel and not question.is_greedy:
                drawn = await self._cancelling(request, question, upstream)
            else:
                drawn = await self._rounds(request, question, upstream)
            self._metrics.answered(question)
            return merged(request, question, drawn, {"decided": decided.decision.how})

    async def stream(self, request: BudgetedRequest, upstream: Upstream, probe: Probe) -> AsyncGenerator[Json, None]:
        """All choices as they are drawn, chunk by chunk; the last chunk has the `t2` object. Close it to abort.

        The first sample is begun at once, where it can be as the probe itself, and shown as it comes: no question gets
        less than one sample, so that a client waits for its first token no longer than without T2, and the plan is made
        meanwhile. Only where the plan may be the greedy answer, which would make that sample vain, it is held back
        until the plan is known.

        Raises:
            UpstreamError: as for `answer`; before the first chunk, or after.
        """
        with self._metrics.request(), self._drain.running():
            writer = _ChunkWriter(request)
            async with Streams[Streamed]() as streams:
                begun, early = int(self._decider.planner.needs_activations), list[Streamed]()
                if begun:
                    both = probe.first_sample(request) if isinstance(probe, SamplingProbe) else None
                    streams.start(self._admission.stream(both or upstream, Wave(request.body, 0, 1)))
                    if both is not None:
                        early, probe = await streams.next(), both
                    if early and not early[0].chunk:
                        yield ACCEPTED
                reading = await self._decider.read(request, probe)
                may_be_vain = bool(begun) and not self._decider.is_surely_sampled(request, reading)
                if begun and not may_be_vain:
                    # Sent on before anything else is done: planning and further samples keep the event loop busy.
                    there = [chunk for streamed in [*early, *streams.come()] for chunk in writer.shown(streamed)]
                    for chunk in as_one_chunk(there):
                        yield chunk
                planning = asyncio.ensure_future(self._planned(request, reading))
                if may_be_vain:
                    question = (await planning).question
                    if question.is_greedy:
                        vain = early + await streams.stop()
                        _abort(question, [sample for streamed in vain[-1:] for sample in streamed.request.samples])
                        begun = 0
                streams.start(self._rest_of_first_round(request, upstream, planning, begun))
                while True:
                    async for streamed in streams:
                        for chunk in writer.shown(streamed):
                            yield chunk
                    decided = await planning
                    question = decided.question
                    drawn = [part.drawn() for part in writer.take_requests()]
                    await self._take(question, drawn)
                    writer.usages += [part.response["usage"] for part in drawn]
                    if not (samples := question.next_round()):
                        break
                    wave = _wave(request, question, len(question.votes), samples)
                    streams.start(self._admission.stream(upstream, wave))
            self._metrics.answered(question)
            for chunk in writer.last(question, {"decided": decided.decision.how}):
                yield chunk

    async def _rest_of_first_round(
        self, request: BudgetedRequest, upstream: Upstream, planning: asyncio.Future[_Decided], begun: int
    ) -> AsyncGenerator[Streamed, None]:
        """Of the first round what has not begun, once the plan is known."""
        question = (await planning).question
        if (samples := question.next_round() - begun) > 0:
            async with aclosing(self._admission.stream(upstream, _wave(request, question, begun, samples))) as chunks:
                async for streamed in chunks:
                    yield streamed

    async def _decided(self, request: BudgetedRequest, probe: Probe) -> _Decided:
        return await self._planned(request, await self._decider.read(request, probe))

    async def _planned(self, request: BudgetedRequest, reading: Reading) -> _Decided:
        decision = await self._decider.planned(request, reading)
        self._metrics.decided(decision)
        return _Decided(decision, self._question(request, decision))

    def _question(self, request: BudgetedRequest, decision: Decision) -> QuestionInProgress:
        planner = self._decider.planner
        return QuestionInProgress(decision.plan, request.grader, 0, planner.n_ref, other_tokens=decision.tokens)

    async def _rounds(self, request: BudgetedRequest, question: QuestionInProgress, upstream: Upstream) -> list[Drawn]:
        drawn: list[Drawn] = []
        while samples := question.next_round():
            wave = _wave(request, question, len(question.votes), samples)
            parts = await self._admission.draw(upstream, wave)
            await self._take(question, parts)
            drawn += parts
        return drawn

    async def _take(self, question: QuestionInProgress, drawn: list[Drawn]) -> None:
        """Give the samples of a round to the question."""
        question.prompt_tokens = question.prompt_tokens or drawn[0].prompt_tokens
        samples = [sample for part in drawn for sample in part.samples]
        await asyncio.to_thread(question.take, samples)  # a grader may take its time

    async def _cancelling(
        self, request: BudgetedRequest, question: QuestionInProgress, upstream: Upstream
    ) -> list[Drawn]:
        """Start all samples, look at each as it ends, and abort the others as soon as the rule would have stopped."""
        requests: list[StreamedRequest] = []
        choices: list[Json] = []
        wave = _wave(request, question, 0, question.at_once)
        async with aclosing(self._admission.stream(upstream, wave)) as events:
            async for streamed in events:
                requests += [streamed.request] if streamed.request not in requests else []
                for sample in streamed.ended:
                    choices.append(sample.choice)
                    await asyncio.to_thread(question.add, sample.answered())
                if streamed.ended and question.plan.is_settled(question.votes):
                    break
        begun = [sample for part in requests for sample in part.samples if sample.choice]
        _abort(question, [sample for sample in begun if sample.reason is None])
        question.is_estimated = any(sample.counted is None for sample in begun)
        question.rounds.append(len(begun))
        question.prompt_tokens = max(part.prompt_tokens for part in requests)
        return [Drawn({**requests[0].head, "object": _WHOLE[request.kind]}, choices, list(question.taken))]


def _abort(question: QuestionInProgress, samples: list[StreamedSample]) -> None:
    question.abort(len(samples), sum(sample.tokens for sample in samples))
    question.is_estimated |= any(sample.counted is None for sample in samples)


def _wave(request: BudgetedRequest, question: QuestionInProgress, first: int, samples: int) -> Wave:
    if not question.is_greedy:
        return Wave(request.body, first, samples)
    body = {key: value for key, value in request.body.items() if key not in _NOT_GREEDY}
    return Wave({**body, "temperature": 0, "top_p": 1}, first, samples)


class _ChunkWriter:
    """Chunks of several requests to the upstream as those of one answer."""

    def __init__(self, request: BudgetedRequest) -> None:
        self._request = request
        self._head: Json = {}
        self._held: list[Json] = []
        """the chunk that may be the last one, which says more"""
        self._requests: list[StreamedRequest] = []
        self.usages: list[Json] = []

    def take_requests(self) -> list[StreamedRequest]:
        """Those whose chunks have come since it was last asked, in order of draw."""
        taken, self._requests = sorted(self._requests, key=lambda part: part.first), []
        return taken

    def shown(self, streamed: Streamed) -> list[Json]:
        """What the client gets now: the chunk, unless it may be the last one, and one that was held back."""
        if not streamed.chunk:  # its request was accepted, nothing more
            return []
        if streamed.request not in self._requests:
            self._requests.append(streamed.request)
        pieces = streamed.chunk.get("choices") or []
        if not pieces:  # its usage alone is that of one wave
            return []
        self._head = self._head or streamed.request.head
        first = streamed.request.first
        choices = [shown_choice(piece, first + int(piece["index"]), self._request) for piece in pieces]
        chunk = {**self._head, "choices": choices}
        released = self._held
        self._held = [chunk] if streamed.ended else []
        return released + ([] if streamed.ended else [chunk])

    def last(self, question: QuestionInProgress, notes: Json) -> list[Json]:
        """The end of the stream."""
        said = {"t2": t2_object(self._request, question, notes)}
        if self._request.include_usage:
            usage = merged_usage(self.usages, question)
            return [*self._held, {**self._head, "choices": [], "usage": usage, **said}]
        return [{**(self._held[-1] if self._held else {**self._head, "choices": []}), **said}]
