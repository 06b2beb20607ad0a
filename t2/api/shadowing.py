"""Shadow mode inside a server: every request gets its samples as before; afterwards a plan is walked over them.

The head is asked when the client has its answer, so that nothing of T2 makes it wait.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from t2.answering.question import Answered
from t2.api.deciding import Decider, Probe
from t2.api.drain import Drain
from t2.api.metrics import ServingMetrics
from t2.api.requests import BudgetedRequest, Kind, RequestReader
from t2.api.responses import Drawn, StreamedRequest, is_shown, shown_choice
from t2.api.upstream import ACCEPTED, Json, Upstream
from t2.errors import T2Error, in_a_line
from t2.grading.grade import vote_of
from t2.policies.record import in_words
from t2.shadow.log import ShadowLog
from t2.shadow.replay import shadow_record

_logger = logging.getLogger(__name__)


class Shadowing:
    """Answers as the server would without T2, and writes down what T2 would have done."""

    def __init__(
        self,
        samples: int,
        reader: RequestReader,
        decider: Decider,
        log: ShadowLog,
        metrics: ServingMetrics,
        with_text: bool = False,
        drain: Drain | None = None,
    ) -> None:
        """Set what is drawn and where it is written.

        Args:
            samples: of a request that says nothing.
            reader: of requests.
            decider: of the export.
            log: of what T2 would have done.
            metrics: that count it.
            with_text: keep prompts and answers in the log.
            drain: told of each request until its line is written.
        """
        if reader.grader is None:
            raise T2Error(
                "Expected a head whose answers are read by one of T2's graders for shadow mode, got one with a class "
                "of the user's own, which no file may name. Export it with another grader."
            )
        self._samples, self._reader, self._decider = samples, reader, decider
        self._log, self._metrics, self._with_text = log, metrics, with_text
        self._drain = drain or Drain()

    def request(self, body: Json, kind: Kind) -> BudgetedRequest | None:
        """A request as it is watched, with its number of samples; None: T2 could not decide it, so it is left alone."""
        shadowed = self._reader.shadowed(body, kind)
        if shadowed is None:
            return None
        samples = body.get("n") or self._samples
        shadowed.body["n"] = samples
        return shadowed

    async def answer(self, request: BudgetedRequest, upstream: Upstream, probe: Probe) -> Json:
        """What the upstream answers, in the fields that the client has asked for.

        Raises:
            UpstreamError: it does not.
        """
        with self._drain.running():  # so that whoever waits knows of the line before the answer is out
            response = await upstream.send(request.body)
            drawn = Drawn.of(response, request.body["n"])
            self._drain.later(self._write(request, drawn, str(response.get("id")), probe))
        choices = [shown_choice(choice, index, request) for index, choice in enumerate(drawn.choices)]
        return {key: value for key, value in {**response, "choices": choices}.items() if is_shown(key, request)}

    async def stream(self, request: BudgetedRequest, upstream: Upstream, probe: Probe) -> AsyncGenerator[Json, None]:
        """The same, chunk by chunk.

        Raises:
            UpstreamError: as for `answer`.
        """
        seen = StreamedRequest.of(0, request.body["n"])
        body = {**request.body, "stream": True, "stream_options": {"include_usage": True}}
        with self._drain.running():
            async with aclosing(upstream.stream(body)) as chunks:
                async for chunk in chunks:
                    if not chunk:
                        yield ACCEPTED
                        continue
                    seen.add(chunk)
                    pieces = chunk.get("choices") or []
                    if pieces or request.include_usage:
                        choices = [shown_choice(piece, int(piece["index"]), request) for piece in pieces]
                        shown = {**chunk, "choices": choices}
                        yield {key: value for key, value in shown.items() if is_shown(key, request)}
            seen.close()
            self._drain.later(self._write(request, seen.drawn(), str(seen.head.get("id")), probe))

    async def _write(self, request: BudgetedRequest, drawn: Drawn, request_id: str, probe: Probe) -> None:
        now = datetime.now(UTC)
        try:
            decision = await self._decider.decide(request, probe)
            self._metrics.decided(decision)
            votes = await asyncio.to_thread(_votes, request, drawn.samples)
            record = shadow_record(
                decision.plan,
                in_words(self._decider.planner.policy),
                drawn.samples,
                votes,
                time=now,
                request_id=request_id,
                prompt_tokens=drawn.prompt_tokens,
                other_tokens=decision.tokens,
                fell_back=decision.fallback is not None,
                form=request.prompt,
                prompt=_prompt_of(request) if self._with_text else None,
            )
            if await asyncio.to_thread(self._log.write, record):
                self._metrics.shadowed(record)
            else:  # a full disk, which the log has said
                self._metrics.shadow_lost()
        except Exception as error:  # the client has its answer; what is lost is a line of the log
            self._metrics.shadow_lost()
            _logger.warning("T2's shadow mode has lost a record: %s", in_a_line(error))


def _votes(request: BudgetedRequest, samples: list[Answered]) -> list[str | None]:
    return [vote_of(request.grader, sample.text, sample.finish_reason) for sample in samples]


def _prompt_of(request: BudgetedRequest) -> str:
    """For the log: the prompt of a completion, the messages of a chat as JSON."""
    if request.kind == "completion":
        prompt = request.body["prompt"]
        return prompt if isinstance(prompt, str) else json.dumps(prompt)
    return json.dumps(request.body["messages"], ensure_ascii=False)
