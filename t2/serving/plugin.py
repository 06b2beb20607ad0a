"""What vLLM finds under its entry points. It is loaded in every engine, so it imports nothing heavy by itself."""

from __future__ import annotations

from typing import Any


def register() -> None:
    """Entry point `vllm.general_plugins`: make the models that carry a head known to vLLM, in every process of it."""
    from t2.engine.label_reads import mend_label_reads
    from t2.engine.vllm_models import register_models

    register_models()
    mend_label_reads()


def endpoint() -> Any:
    """Entry point `vllm.endpoint_plugins`: T2's routes of vLLM's server; loaded where `VLLM_PLUGINS` names it alone."""
    from t2.serving.endpoint import T2Endpoint

    return T2Endpoint()
