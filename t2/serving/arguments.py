"""What vLLM's server is told by `t2 serve`: the user's own flags as they are, for all else what the export needs."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from t2.api.description import public_name
from t2.api.drain import SHUTDOWN_SECONDS
from t2.engine.engine_head import EngineHead
from t2.errors import T2Error, quoted
from t2.hardware import emulates_16_bits
from t2.head_record import Answering
from t2.model_files import ModelFiles
from t2.sampling.engine_environment import WIDE_STEPS_PROCESSOR, has_narrow_steps
from t2.sampling.vllm_sampler import CPU_BLOCK_SIZE, CPU_MAX_NUM_SEQS

PLUGINS = ("t2_models", "t2_server")
HOST, PORT = "127.0.0.1", "8000"
KV_CACHE_BYTES = 2 * 2**30
"""Of the KV cache on CPU."""
_REFUSED = {
    "model": "name the LLM first: t2 serve MODEL",
    "hf-overrides": "T2 sets it, so that the engine carries the head",
    "speculative-config": "drafts and a head inside the engine do not go together",
    "chat-template": "the head knows the LLM's own prompts alone",
    "default-chat-template-kwargs": "the head's own are set in each request",
}
"""Flags of vLLM that cannot be told, and why."""
_OF_THE_ENGINE = ("hf-overrides", "speculative-config")
"""Those of them that may be told where the engine carries no head."""


@dataclass(frozen=True)
class ServerArguments:
    """The command line of vLLM's server."""

    flags: tuple[str, ...]
    host: str
    port: str
    served_name: str
    """of the LLM, as clients say it"""

    @classmethod
    def of(
        cls,
        model: ModelFiles,
        engine_head: EngineHead | None,
        answering: Answering | None,
        told: Sequence[str],
        on_cpu: bool,
    ) -> ServerArguments:
        """Put it together.

        Args:
            model: the LLM.
            engine_head: what the engine carries; None: nothing, the export reads no activations.
            answering: how the LLM answered when the head was trained; None: the head does not say.
            told: flags of vLLM, as the user has typed them; each stands in the place of T2's own.
            on_cpu: there is no GPU.

        Raises:
            T2Error: a flag that T2 must set itself.
        """
        for name, why in _REFUSED.items():
            if _value(told, name) is not None and (name not in _OF_THE_ENGINE or engine_head is not None):
                raise T2Error(f"Expected no `--{name}`, got one: {why}. Leave it out.")
        own = {
            "host": HOST,
            "port": PORT,
            "served-model-name": public_name(model.id),
            "shutdown-timeout": str(SHUTDOWN_SECONDS),
            **_as_trained(answering, on_cpu),
            **(_for_cpu() if on_cpu else {}),
        }
        if engine_head is not None:
            own["hf-overrides"] = json.dumps(engine_head.hf_overrides)
            if has_narrow_steps(on_cpu):
                own["logits-processors"] = WIDE_STEPS_PROCESSOR
        flags = [part for name, value in own.items() if _value(told, name) is None for part in _flag(name, value)]
        values = [_value(told, name) or own[name] or "" for name in ("host", "port", "served-model-name")]
        return cls(("--model", str(model.folder), *flags, *told), *values)

    @property
    def is_eager(self) -> bool:
        """Whether nothing is to be compiled."""
        return "--enforce-eager" in self.flags

    @property
    def url(self) -> str:
        """Of OpenAI's interface."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/v1"


def check_names_the_llm(own: Sequence[str], others: Sequence[str], switches: Collection[str]) -> None:
    """Make sure that the command line of `t2 serve` names the LLM where it can be told from the value of a flag.

    T2 does not know which of vLLM's flags take a value, so that a word behind one of them goes to vLLM.

    Args:
        own: words for T2, behind `serve`.
        others: words for vLLM.
        switches: options of T2 without a value.

    Raises:
        T2Error: none of T2's own words is the LLM.
    """
    is_value = False
    for word in own:
        if word == "--help" or not (word.startswith("-") or is_value):
            return
        is_value = word.startswith("-") and "=" not in word and word not in switches
    got = f"only flags and {quoted(' '.join(others))}, which goes to vLLM" if others else "none"
    raise T2Error(
        f"Expected the LLM before the first flag that is not one of T2's, got {got}. Put MODEL first: "
        "t2 serve MODEL --head HEAD [flags of vLLM]"
    )


def server_environment(before: Mapping[str, str], on_cpu: bool, is_eager: bool = False) -> dict[str, str]:
    """Environment of the server; what the user has set stays, and T2's plugins are added to the user's."""
    plugins = [name for name in before.get("VLLM_PLUGINS", "").split(",") if name and name not in PLUGINS]
    defaults = {"VLLM_NO_USAGE_STATS": "1"}
    if on_cpu:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
        defaults |= {
            "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        }
        if is_eager:  # or the first probe waits until vLLM has compiled how it ranks tokens: ten seconds
            defaults["TORCHDYNAMO_DISABLE"] = "1"
    return {**defaults, **before, "VLLM_PLUGINS": ",".join([*plugins, *PLUGINS])}


def _as_trained(answering: Answering | None, on_cpu: bool) -> dict[str, str | None]:
    """Precision and length of the answers that the head has learned from."""
    told: dict[str, str | None] = {}
    dtype = "auto" if answering is None or answering.dtype is None else answering.dtype
    if dtype != "auto" or (on_cpu and emulates_16_bits()):
        told["dtype"] = "float32" if dtype == "auto" else dtype
    if answering is not None and answering.max_model_len is not None:
        told["max-model-len"] = str(answering.max_model_len)
    return told


def _for_cpu() -> dict[str, str | None]:
    """On a CPU: small blocks, or short prompts share no prefix; a bounded cache; no compilation: it takes minutes."""
    return {
        "block-size": str(CPU_BLOCK_SIZE),
        "kv-cache-memory-bytes": str(KV_CACHE_BYTES),
        "max-num-seqs": str(CPU_MAX_NUM_SEQS),
        "enforce-eager": None,
    }


def _flag(name: str, value: str | None) -> tuple[str, ...]:
    """A value of None: the flag stands alone."""
    return (f"--{name}",) if value is None else (f"--{name}", value)


def _value(told: Sequence[str], name: str) -> str | None:
    """What the user has told as a flag, written with dashes or underscores; empty: it stands alone; None: nothing."""
    for word, following in zip(told, [*told, ""][1:], strict=True):
        flag, has_value, value = word.partition("=")
        if flag.startswith("--") and flag[2:].replace("_", "-").removeprefix("no-") == name:
            return value if has_value else "" if following.startswith("-") else following
    return None
