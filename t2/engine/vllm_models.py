"""vLLM's models with a budget head inside. They are made from vLLM's own classes, when vLLM asks for one.

Layer k of `t2.activations.layers` is auxiliary hidden state k of vLLM's EAGLE-3 interface, so no hook is set and graphs
are captured as ever. `forward` gives the final hidden states with those of the tapped layers beside them, and vLLM
takes from them the rows that it samples from: the last token of each prompt among them. `compute_logits` sees these
rows, gives the left part to the LM head and the right part to the budget head, see `head_columns`. On a CPU, steps
without a probe are those of the plain LLM, see `wide_steps`.

Not covered: pipeline parallelism and speculative decoding (both refused), multimodal models, and sleep mode of level 2,
which throws weights away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import new_class
from typing import Any, cast

import torch
from torch import Tensor

from t2.engine.engine_head import NATIVE, PREFIX, TRANSFORMERS, TRANSFORMERS_MOE
from t2.engine.head_columns import HeadColumns
from t2.errors import T2Error
from t2.export import read_head

WIDE_STEPS = "t2_wide_steps"
"""Attribute of an engine's `VllmConfig`: its `wide_steps.WideSteps`. Without one all steps are wide."""
CARRIERS = (*NATIVE, TRANSFORMERS, TRANSFORMERS_MOE)
"""vLLM's classes with a T2 class beside them."""


def register_models() -> None:
    """Make the classes known to vLLM by name; none is made yet, and doing it again changes nothing."""
    from vllm import ModelRegistry

    for name in CARRIERS:
        ModelRegistry.models[PREFIX + name] = Carrier(ModelRegistry.models[name])


@dataclass(frozen=True)
class Carrier:
    """An entry of vLLM's registry: one of its own classes, with a head.

    vLLM would start a process to see what a class can do, which takes ten seconds. What it can do without a head is
    mostly known, from the time when it drew samples.
    """

    own: Any
    """vLLM's entry of the class"""

    def inspect_model_cls(self) -> Any:
        return self.own.inspect_model_cls()

    def load_model_cls(self) -> type:
        return _with_head(self.own.load_model_cls())


@cache
def _with_head(own: type) -> type:
    # Under vLLM's own name: some of its settings go by the name of a class.
    made = new_class(own.__name__, (CarriesHead, own))
    made.__module__ = __name__
    return made


class CarriesHead:
    """Goes before one of vLLM's classes. What `EngineHead.hf_overrides` says stands in the model's config."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        """Build the LLM as vLLM does, then load the head."""
        config = vllm_config.model_config.hf_config
        _refuse_what_breaks_rows(vllm_config)
        with _its_own_config(vllm_config.model_config):
            super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]  # of vLLM's class
        self.set_aux_hidden_state_layers(tuple(config.t2_layers))  # type: ignore[attr-defined]  # of vLLM's class
        # No submodule: vLLM's loader looks for every parameter of the model in the LLM's files.
        self.t2_columns = _head_columns(config.t2_head, config.t2_vocab_size, vllm_config.device_config.device)
        self.t2_wide_steps = getattr(vllm_config, WIDE_STEPS, None)

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Final hidden states and those of the tapped layers, side by side, (tokens, (1 + L) x D).

        In a step that does not need the head, the final ones alone, (tokens, D).
        """
        if input_ids is not None:
            # vLLM takes the head's columns for tokens, so a request may send one as part of a prompt, and there is no
            # embedding of it. In place: a captured graph reads the ids from where they are.
            input_ids.clamp_(max=self.t2_columns.vocab_size - 1)
        hidden, tapped = super().forward(  # type: ignore[misc]  # of vLLM's class
            input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs
        )
        if self.t2_wide_steps is not None and not self.t2_wide_steps.is_wide:
            return cast(Tensor, hidden)
        return torch.cat([hidden, *tapped], dim=-1)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Logits of the vocabulary and, of wide rows, the head's columns in float32.

        None on a rank that samples nothing.
        """
        width = self.t2_columns.head.shape.width
        hidden, tapped = hidden_states[..., :width], hidden_states[..., width:]
        logits: Tensor | None = super().compute_logits(hidden.contiguous())  # type: ignore[misc]  # of vLLM's class
        return self.t2_columns(logits, tapped) if logits is not None and tapped.shape[-1] else logits

    @property
    def compute_logits_local(self) -> Any:
        """Logits of a part of the vocabulary have no place for the head: vLLM samples as it does without this."""
        raise AttributeError("compute_logits_local")


def _refuse_what_breaks_rows(vllm_config: Any) -> None:
    """What would read the rows of `forward` as plain hidden states, or give them in parts.

    Raises:
        T2Error: names the setting.
    """
    ranks = vllm_config.parallel_config.pipeline_parallel_size
    if ranks > 1:
        raise T2Error(
            f"Expected the whole LLM on each rank (tensor parallelism is fine), got pipeline_parallel_size = {ranks}. "
            "Set it to 1, or use `t2 gateway` before a server without the head."
        )
    if vllm_config.speculative_config is not None:
        raise T2Error(
            f"Expected no speculative decoding beside a head, got {vllm_config.speculative_config.method!r}. Leave it "
            "out, or use `t2 gateway` before a server without the head."
        )


@contextmanager
def _its_own_config(model_config: Any) -> Iterator[None]:
    """Within the context the configs say what the LLM's own does: its embeddings and LM head are built from them."""
    config = model_config.hf_config
    changed = {id(each): (each, {"vocab_size": config.t2_vocab_size}) for each in (config, model_config.hf_text_config)}
    changed[id(config)][1]["architectures"] = list(config.t2_architectures)
    wide = [(each, {name: getattr(each, name) for name in names}) for each, names in changed.values()]
    try:
        for each, own in changed.values():
            each.update(own)
        yield
    finally:
        for each, values in wide:
            each.update(values)


def _head_columns(folder: str, vocab_size: int, device: Any) -> HeadColumns:
    head = read_head(folder, None).head
    if head is None:
        raise T2Error(f"Expected an export with a head in {folder}, got one without. Export the head again.")
    return HeadColumns(head.to(device), vocab_size)
