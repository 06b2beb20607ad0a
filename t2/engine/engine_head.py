"""`EngineHead`: an export as an engine carries it. Checked against the LLM before anything is started."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from t2.budget_head import BudgetHead
from t2.engine.head_columns import column_ids, raw_outputs
from t2.errors import T2Error, quoted
from t2.heads.base import MAX_OUTPUTS
from t2.model_files import ModelFiles

PREFIX = "T2"
"""Before the name of vLLM's class: the one that carries a head."""
NATIVE = (
    *("LlamaForCausalLM", "MistralForCausalLM"),
    *("Qwen2ForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM"),
)
"""vLLM's own classes that carry a head. Each was tested with a tiny model: add one with its test."""
TRANSFORMERS, TRANSFORMERS_MOE = "TransformersForCausalLM", "TransformersMoEForCausalLM"
"""vLLM's classes that run the code of transformers: slower, for whatever is not in `NATIVE`."""


@dataclass(frozen=True)
class EngineHead:
    """What whoever starts an engine tells it of a head, and how the head's answer is read. Made with `of`."""

    folder: Path
    """of the export, absolute: the engine's processes read it"""
    layers: tuple[int, ...]
    """tapped, see `t2.activations.layers`"""
    num_outputs: int
    """O"""
    vocab_size: int
    """V, the LLM's own"""
    architectures: tuple[str, ...]
    """the LLM's own"""
    engine_class: str
    """vLLM's class that the head rides on"""

    @classmethod
    def of(cls, head: BudgetHead, folder: Path, model: ModelFiles) -> EngineHead | None:
        """The head for an engine that runs this LLM; None: the export decides without activations.

        Args:
            head: read from `folder`.
            folder: of the export, see `local_folder`.
            model: the LLM that answers.

        Raises:
            T2Error: the head reads another LLM, other layers, or prompts of another template, or what it reads would
                cost a second pass; both sides are named.
        """
        if not head.reads_activations:
            return None
        _check_reads_this_llm(head, model)
        _check_layers(head, model)
        if head.features.costs_a_pass:
            trained = "an adapter" if head.features.lora is not None else f"{head.features.pooling_name} pooling"
            raise T2Error(
                f"Expected a head that reads the last token of the frozen LLM, which the engine computes anyway, got "
                f"one with {trained}, which takes a second pass over the prompt. Serve it through `t2 gateway`, or "
                "train one with `model.pooling: last-token` and `model.backbone: cached`."
            )
        head.renderer(model)  # refuses another template
        if head.head.num_outputs > MAX_OUTPUTS:
            raise T2Error(
                f"Expected a head of at most {MAX_OUTPUTS} outputs, as many as vLLM reads of a request, got "
                f"{head.head.num_outputs}. Train one with fewer atoms, budgets or layers."
            )
        config = _config(model)
        own = tuple(config["architectures"])
        return cls(
            folder.resolve(),
            head.layers,
            head.head.num_outputs,
            config["vocab_size"],
            own,
            own[0] if own[0] in NATIVE else TRANSFORMERS_MOE if config["is_moe"] else TRANSFORMERS,
        )

    @property
    def hf_overrides(self) -> dict[str, Any]:
        """What the engine is told, as vLLM's `hf_overrides`: JSON values."""
        return {
            "architectures": [PREFIX + self.engine_class],
            "vocab_size": self.vocab_size + self.num_outputs + 1,
            "t2_vocab_size": self.vocab_size,
            "t2_architectures": list(self.architectures),
            "t2_layers": list(self.layers),
            "t2_head": str(self.folder),
        }

    @property
    def label_ids(self) -> tuple[int, ...]:
        """Token ids that a probe asks the log probabilities of; none of them is ever sampled."""
        return column_ids(self.vocab_size, self.num_outputs)

    def raw(self, logprobs: Sequence[float]) -> Tensor:
        """The head's raw outputs, (O,), from what a probe has read, in the order of `label_ids`.

        Raises:
            T2Error: another number of them, or the engine's features of this prompt were not finite.
        """
        if len(logprobs) != self.num_outputs + 1:
            raise T2Error(
                f"Expected {self.num_outputs + 1} log probabilities of a probe, got {len(logprobs)}. Does the engine "
                "carry this head?"
            )
        return raw_outputs(logprobs)


def _check_reads_this_llm(head: BudgetHead, model: ModelFiles) -> None:
    features, base = head.features, head.record.base_model
    if features.model_id:
        raise T2Error(
            f"Expected a head that reads the LLM which answers, {quoted(model.id)}, got one that reads a proxy, "
            f"{quoted(features.model_id)}. Serve it through `t2 gateway`, which runs the proxy beside the LLM."
        )
    if features.model_fingerprint != model.fingerprint:
        raise T2Error(
            f"Expected the LLM that the head was trained on, {quoted(base.id or 'unnamed')} "
            f"({features.model_fingerprint[:12]}...), got {quoted(model.id)} ({model.fingerprint[:12]}...). A head "
            "works on the activations of one LLM alone: take that LLM, or train a head for this one."
        )


def _check_layers(head: BudgetHead, model: ModelFiles) -> None:
    shape, layers = head.head.shape, head.layers
    if (
        len(layers) != shape.num_layers
        or list(layers) != sorted(set(layers))
        or not set(layers) <= set(range(1, model.num_layers + 1))
        or (not layers or shape.width != model.width)
    ):
        raise T2Error(
            f"Expected a head of rising layers among the {model.num_layers} of {quoted(model.id)}, of width "
            f"{model.width}, got one of {shape.num_layers} layers, {list(layers)}, of width {shape.width}. Is it for "
            "this LLM?"
        )


def _config(model: ModelFiles) -> dict[str, Any]:
    """Of the LLM: its classes, its vocabulary, and whether it is a mixture of experts.

    Raises:
        T2Error: the config names no class, or no vocabulary.
    """
    from transformers import AutoConfig

    place = model.folder / "config.json"
    classes = json.loads(place.read_text(encoding="utf-8")).get("architectures")
    config = AutoConfig.from_pretrained(model.folder, trust_remote_code=False)
    vocab_size = getattr(config, "vocab_size", None)
    if not (isinstance(classes, list) and classes and isinstance(vocab_size, int)):
        raise T2Error(
            f"Expected `architectures` and `vocab_size` in {place}, got {classes} and {vocab_size}. Restore the "
            "model's files."
        )
    # As vLLM tells mixtures of experts.
    experts = next((getattr(config, name, None) for name in _EXPERTS if getattr(config, name, None)), 0)
    return {"architectures": classes, "vocab_size": vocab_size, "is_moe": bool(experts)}


_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
