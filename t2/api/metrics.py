"""What T2 counts while it serves, for Prometheus, beside what vLLM counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from t2.answering.question import QuestionInProgress
from t2.api.deciding import Decision
from t2.api.upstream import UpstreamError
from t2.shadow.replay import ShadowRecord

_SAMPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)
_ROUNDS = (1, 2, 3, 4, 6, 8, 12, 16)
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class ServingMetrics:
    """Counters and histograms; one object a registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "t2_requests",
            "Requests whose samples T2 decides, by how they ended: answered, refused (a wrong request), failed, left",
            ["outcome"],
            registry=registry,
        )
        self._chosen = Histogram(
            "t2_chosen_samples", "Samples of a question, aborted ones included", buckets=_SAMPLES, registry=registry
        )
        self._rounds = Histogram("t2_rounds", "Waits of a question", buckets=_ROUNDS, registry=registry)
        self._samples = Counter("t2_samples", "Samples drawn", registry=registry)
        self._reference_samples = Counter(
            "t2_reference_samples", "Samples that N_ref a question would have drawn", registry=registry
        )
        self._tokens = Counter(
            "t2_generated_tokens", "Generated tokens: of samples, probes and aborted samples", registry=registry
        )
        self._reference_tokens = Counter(
            "t2_reference_tokens", "N_ref times the mean length of the question's samples, in tokens", registry=registry
        )
        self._probe_seconds = Histogram(
            "t2_probe_seconds", "From a request to the head's outputs", buckets=_SECONDS, registry=registry
        )
        self._fallbacks = Counter(
            "t2_fallbacks", "Questions whose activations could not be had, by reason", ["reason"], registry=registry
        )
        self._refusals = Counter(
            "t2_split_waves", "Waves that the engine refused, and that were split or asked again", registry=registry
        )

        self._shadowed = Counter(
            "t2_shadow_requests",
            "Requests in shadow mode, by whether T2's vote is that of all samples: yes, no, unknown, lost (no record)",
            ["agrees"],
            registry=registry,
        )
        self._shadow_tokens = Counter(
            "t2_shadow_tokens", "Generated tokens in shadow mode that T2 would have drawn", registry=registry
        )
        self._shadow_drawn_tokens = Counter(
            "t2_shadow_drawn_tokens", "Generated tokens in shadow mode, as drawn", registry=registry
        )

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around the work for one request: says how it has ended."""
        outcome = "failed"
        try:
            yield
            outcome = "answered"
        except UpstreamError as error:
            outcome = "refused" if error.is_the_clients else "failed"
            raise
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "left"
            raise
        finally:
            self._requests.labels(outcome).inc()

    def refused(self) -> None:
        """A request was wrong, and nothing of it was begun."""
        self._requests.labels("refused").inc()

    def wave_refused(self) -> None:
        self._refusals.inc()

    def decided(self, decision: Decision) -> None:
        if decision.seconds is not None:
            self._probe_seconds.observe(decision.seconds)
        if decision.fallback is not None:
            self._fallbacks.labels(decision.fallback).inc()

    def answered(self, question: QuestionInProgress) -> None:
        """A question has all its samples."""
        answer = question.answer()
        self._chosen.observe(answer.samples)
        self._rounds.observe(len(answer.rounds))
        self._samples.inc(answer.samples)
        self._reference_samples.inc(question.n_ref)
        self._tokens.inc(answer.tokens)
        whole = [sample.tokens for sample in question.taken]
        self._reference_tokens.inc(question.n_ref * sum(whole) / len(whole) if whole else 0)

    def shadowed(self, record: ShadowRecord) -> None:
        """A request of shadow mode is written down."""
        agrees = "unknown" if record.agrees is None else "yes" if record.agrees else "no"
        self._shadowed.labels(agrees).inc()
        self._shadow_tokens.inc(record.tokens)
        self._shadow_drawn_tokens.inc(record.drawn_tokens)

    def shadow_lost(self) -> None:
        self._shadowed.labels("lost").inc()
