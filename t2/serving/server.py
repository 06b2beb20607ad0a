"""T2's part of vLLM's server: an export with all that answers requests by it, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2.answering.planner import Planner
from t2.api.conversation import frame_of
from t2.api.description import described
from t2.api.drain import failing_when_dead
from t2.api.parts import Parts
from t2.api.requests import Kind
from t2.api.upstream import Json
from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.prompts.renderer import PromptRenderer
from t2.serving.engine_session import EngineService, EngineSession
from t2.serving.settings import ServerSettings


@dataclass(frozen=True)
class T2Server:
    """Lives in the state of vLLM's app."""

    parts: Parts
    service: EngineService
    description: Json
    """the answer of `GET /t2`"""

    @classmethod
    def of(cls, settings: ServerSettings, engine_client: Any, state: Any) -> T2Server:
        """The server of an export, inside a server of vLLM that carries it.

        Raises:
            T2Error: no such export, or the engine carries another head.
        """
        head = BudgetHead.from_pretrained(settings.head)
        planner = Planner(head)
        if planner.needs_activations:
            _check_carries(engine_client, settings.head)
        service = EngineService.of(engine_client, state, head.head.num_outputs if planner.needs_activations else None)
        names = [path.name for path in state.openai_serving_models.base_model_paths]
        parts = Parts.of(planner, settings, settings.probe_seconds, _frame(head, engine_client), names)
        shutdown = failing_when_dead(engine_client.shutdown, lambda: bool(engine_client.errored))
        engine_client.shutdown = parts.drain.before(shutdown)
        description = described(planner, parts.reader, settings.head_name) | {"shadow": settings.shadow}
        return cls(parts, service, description)

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
