"""What answers requests with one export, put together once for every server of T2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from prometheus_client import REGISTRY, CollectorRegistry

from t2.answering.planner import Planner
from t2.api.deciding import Decider
from t2.api.drain import Drain
from t2.api.metrics import ServingMetrics
from t2.api.requests import BudgetedRequest, Kind, RequestReader
from t2.api.settings import AnswerSettings
from t2.api.shadowing import Shadowing
from t2.api.upstream import Json
from t2.api.waves import Orchestrator
from t2.errors import T2Error
from t2.shadow.log import ShadowLog


@dataclass(frozen=True)
class Taken:
    """A request that T2 does not leave alone."""

    request: BudgetedRequest
    by: Orchestrator | Shadowing
    """who answers it: T2 itself, or shadow mode, which has whoever draws the samples answer it"""


@dataclass(frozen=True)
class Parts:
    """Of one server; who draws the samples and who reads the prompts is not among them."""

    reader: RequestReader
    orchestrator: Orchestrator
    metrics: ServingMetrics
    drain: Drain
    shadow: Shadowing | None
    """watches requests that ask nothing of T2; None: nobody does"""

    @classmethod
    def of(
        cls,
        planner: Planner,
        settings: AnswerSettings,
        probe_seconds: float,
        frame: tuple[str, str] | None,
        models: Sequence[str] = (),
        registry: CollectorRegistry = REGISTRY,
    ) -> Parts:
        """Put them together.

        Args:
            planner: of the export.
            settings: of the server.
            probe_seconds: longest time of a probe.
            frame: see `HeadPrompt`.
            models: see `RequestReader`.
            registry: of the metrics.

        Raises:
            T2Error: settings that this export cannot have, or a log that cannot be written.
        """
        metrics, drain = ServingMetrics(registry), Drain()
        reader = RequestReader(planner.head.record, planner.check, settings.default, frame, models)
        decider = Decider(planner, probe_seconds, settings.fallback_samples or planner.n_ref)
        # What plans share is made now, not while the first client waits.
        raw_O = torch.zeros(planner.head.head.num_outputs) if planner.needs_activations else None
        planner.plan(raw_O)
        if raw_O is not None:
            planner.is_surely_sampled(raw_O)
        planner.fixed(decider.fallback_samples)
        shadow = None
        if settings.shadow is not None and settings.shadow_log is not None:
            log = ShadowLog(settings.shadow_log)
            shadow = Shadowing(settings.shadow, reader, decider, log, metrics, settings.shadow_text, drain)
        return cls(reader, Orchestrator(decider, metrics, drain), metrics, drain, shadow)

    def taken(self, body: Json, kind: Kind) -> Taken | None:
        """What T2 makes of a request; None: nothing, so that it goes on untouched.

        Args:
            body: of a request that whoever answers it has found to be well-formed.
            kind: of request.

        Raises:
            T2Error: it asks T2 for what makes no sense; it is counted as refused.
        """
        try:
            asked = self.reader.read(body, kind)
        except T2Error:
            self.metrics.refused()
            raise
        if asked is not None:
            return Taken(asked, self.orchestrator)
        if self.shadow is not None and (watched := self.shadow.request(body, kind)) is not None:
            return Taken(watched, self.shadow)
        return None
