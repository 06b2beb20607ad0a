"""What vLLM reads from the environment when it is imported, and which of its plugins are loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import entry_points

from t2.errors import T2Error, quoted

MODELS_PLUGIN = "t2_models"
"""Entry point of `t2.serving.plugin`: the models that carry a head."""
WIDE_STEPS_PROCESSOR = "t2.engine.wide_steps:WideSteps"
"""Logits processor of an engine that carries a head: it spares steps without a probe what the head costs."""
_PLUGINS = "VLLM_PLUGINS"


def set_environment(ranks: int, plugins: Sequence[str], compiles: bool = True) -> None:
    """Settings of an engine in this process; what the user has set already stays.

    Args:
        ranks: processes that share the model.
        plugins: those that are loaded, of all that are installed. A labeller's engine is the stock one: none.
        compiles: whether anything may be compiled; an eager engine too compiles what ranks the token of a probe, which
            takes ten seconds at the first probe on a CPU.

    Raises:
        T2Error: the user's own list of plugins leaves out one that is needed.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    defaults = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    }
    if ranks == 1:  # among several processes that share the model vLLM itself shares the cores
        defaults["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, cores))
    if not compiles:
        defaults["TORCHDYNAMO_DISABLE"] = "1"
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    # An empty list may be that of an engine which labelled in this process before.
    os.environ[_PLUGINS] = os.environ.get(_PLUGINS) or ",".join(plugins)
    if lacking := set(plugins) - set(os.environ[_PLUGINS].split(",")):
        raise T2Error(
            f"Expected {_PLUGINS} to name {', '.join(sorted(lacking))}, without which the engine carries no head, got "
            f"{quoted(os.environ[_PLUGINS])}. Add it, or unset the variable."
        )


def has_narrow_steps(on_cpu: bool) -> bool:
    """Whether an engine that carries a head takes `WIDE_STEPS_PROCESSOR`.

    On GPUs forward passes are captured once, and vLLM's second model runner wants processors of another kind.
    """
    return on_cpu and os.environ.get("VLLM_USE_V2_MODEL_RUNNER", "0") in ("", "0")


def load_plugin(name: str) -> None:
    """Load one of vLLM's general plugins: vLLM loads them once a process, an earlier engine may have wanted none.

    Raises:
        T2Error: it is not installed.
    """
    found = [entry for entry in entry_points(group="vllm.general_plugins") if entry.name == name]
    if not found:
        raise T2Error(
            f"Expected the entry point {quoted(name)} of an installed t2, got none: this t2 is run from its source "
            "alone. Install it: pip install -e ."
        )
    found[0].load()()
