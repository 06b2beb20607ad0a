"""T2's part of vLLM's server: an export with all that answers requests by it, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from t2.answering.planner import Planner
from t2.api.conversation import frame_of
from t2.api.deciding import Decider
from t2.api.description import described
from t2.api.drain import Drain, failing_when_dead
from t2.api.metrics import ServingMetrics
from t2.api.requests import Kind, RequestReader
from t2.api.shadowing import Shadowing
from t2.api.upstream import Json
from t2.api.waves import Orchestrator
from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.prompts.renderer import PromptRenderer
from t2.serving.engine_session import EngineService, EngineSession
from t2.serving.settings import ServerSettings
from t2.shadow.log import ShadowLog


@dataclass(frozen=True)
class T2Server:
    """Lives in the state of vLLM's app."""

    reader: RequestReader
    orchestrator: Orchestrator
    metrics: ServingMetrics
    drain: Drain
    service: EngineService
    shadow: Shadowing | None
    description: Json
    """the answer of `GET /t2`"""

    @classmethod
    def of(cls, settings: ServerSettings, engine_client: Any, state: Any) -> T2Server:
        """The server of an export, inside a server of vLLM that carries it.

        Raises:
            T2Error: no such export, or the engine carries another head.
        """
        head = BudgetHead.from_pretrained(settings.head)
        planner, metrics, drain = Planner(head), ServingMetrics(), Drain()
        if planner.needs_activations:
            _check_carries(engine_client, settings.head)
        outputs = head.head.num_outputs if planner.needs_activations else None
        service = EngineService.of(engine_client, state, outputs)
        reader = RequestReader(head.record, planner.check, settings.default, _frame(head, engine_client))
        decider = Decider(planner, settings.probe_seconds, settings.fallback_samples or planner.n_ref)
        # What plans share is made now, not while the first client waits.
        planner.plan(None if outputs is None else torch.zeros(outputs))
        planner.fixed(decider.fallback_samples)
        shadow = None
        if settings.shadow is not None and settings.shadow_log is not None:
            log = ShadowLog(settings.shadow_log)
            shadow = Shadowing(settings.shadow, reader, decider, log, metrics, settings.shadow_text)
        shutdown = failing_when_dead(engine_client.shutdown, lambda: bool(engine_client.errored))
        engine_client.shutdown = drain.before(shutdown)
        description = described(planner, reader, settings.head_name) | {"shadow": settings.shadow}
        return cls(reader, Orchestrator(decider, metrics, drain), metrics, drain, service, shadow, description)

    def session(self, kind: Kind, raw_request: Any) -> EngineSession:
        """Of one client's request."""
        return EngineSession(self.service, kind, raw_request)


def _check_carries(engine_client: Any, folder: str) -> None:
    carried = getattr(engine_client.vllm_config.model_config.hf_config, "t2_head", None)
    if carried is None or Path(carried).resolve() != Path(folder).resolve():
        got = "no head" if carried is None else "another"
        raise T2Error(
            f"Expected an engine that carries the head {Path(folder).name}, got {got}. Start the server with "
            "`t2 serve`, and leave `--hf-overrides` out."
        )


def _frame(head: BudgetHead, engine_client: Any) -> tuple[str, str] | None:
    """Of the head's prompt as the engine's tokenizer renders it."""
    try:
        renderer = PromptRenderer.of(engine_client.renderer.tokenizer, head.prompt)
    except T2Error:
        return None
    return frame_of(renderer)
