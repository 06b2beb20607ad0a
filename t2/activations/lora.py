"""A LoRA adapter on a frozen LLM, through peft: put on, read out, put back, and written as a folder that peft loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from t2.activations.layers import decoder_blocks, hook_index
from t2.errors import T2Error, quoted
from t2.store.files import write_atomically

ADAPTER_FOLDER = "adapter"
"""Inside an export."""
ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
"""peft's names."""


@dataclass(frozen=True)
class LoraSettings:
    """An adapter without its weights: a low-rank matrix is added to linear maps of the frozen LLM."""

    rank: int = 8
    """rank of each matrix, at least 1"""
    alpha: float = 16.0
    """the matrices are scaled by alpha / rank"""
    dropout: float = 0.0
    """share of a map's inputs that its matrix does not see in training"""
    targets: tuple[str, ...] | None = None
    """names of the linear maps, as q_proj and v_proj; None: all of a block's"""
    layers: tuple[int, ...] | None = None
    """blocks, numbered from 1; None: all that lie below the highest tapped layer"""

    def __post_init__(self) -> None:
        """Reject what cannot be trained."""
        if self.rank < 1 or not 0 <= self.dropout < 1 or not self.alpha > 0:
            raise T2Error(
                "Expected `model.lora` with a rank of at least 1, alpha above 0 and a dropout in [0, 1), got rank "
                f"{self.rank}, alpha {self.alpha:g}, dropout {self.dropout:g}."
            )


def with_adapter(model: Any, settings: LoraSettings, num_layers: int) -> Any:
    """The model with a fresh adapter, by peft, which changes nothing yet and is all of it that is trained.

    Args:
        model: a frozen decoder, which is changed; blocks above the highest tapped layer have been dropped.
        settings: of the adapter.
        num_layers: blocks that are left.

    Raises:
        T2Error: a block that is not there, or names that fit no linear map.
    """
    from peft import get_peft_model

    layers = settings.layers or tuple(range(1, num_layers + 1))
    if not all(1 <= layer <= num_layers for layer in layers):
        raise T2Error(
            f"Expected `model.lora.layers` between 1 and {num_layers}, the highest tapped layer, got {list(layers)}: "
            "what lies above is not read."
        )
    linear = _linear_maps(model, layers)
    targets = [name for name in linear if settings.targets is None or name.rsplit(".", 1)[-1] in settings.targets]
    if not targets:
        there = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise T2Error(
            f"Expected `model.lora.targets` that name linear maps of the LLM ({', '.join(there)}), got "
            f"{', '.join(settings.targets or ())}. Leave them out for all."
        )
    return get_peft_model(model, _config(settings, targets))


def _linear_maps(model: Any, layers: Sequence[int]) -> list[str]:
    """Full names of the linear maps inside these blocks. peft's own choice by block does not see a bare decoder's."""
    from transformers.pytorch_utils import Conv1D  # GPT-2's linear map

    blocks = decoder_blocks(model)
    chosen = {id(module) for layer in layers for module in blocks[hook_index(layer)].modules()}
    return [
        name
        for name, module in model.named_modules()
        if id(module) in chosen and isinstance(module, nn.Linear | Conv1D)
    ]


def _config(settings: LoraSettings, targets: list[str], **facts: Any) -> Any:
    """For peft: an adapter on these modules."""
    from peft import LoraConfig

    scales = {"r": settings.rank, "lora_alpha": settings.alpha, "lora_dropout": settings.dropout}
    return LoraConfig(**scales, target_modules=targets, **facts)


def adapter_weights(adapted: Any) -> dict[str, Tensor]:
    """The adapter's tensors under the names that peft gives them in its files, on the CPU."""
    from peft import get_peft_model_state_dict

    return {name: value.detach().cpu().contiguous() for name, value in get_peft_model_state_dict(adapted).items()}


def put_weights(adapted: Any, weights: Mapping[str, Tensor], where: str) -> None:
    """Give an adapter its weights; each must be there with its shape, and none besides.

    Raises:
        T2Error: it is the adapter of another model, or of other settings.
    """
    from peft import set_peft_model_state_dict

    own = adapter_weights(adapted)
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if wrong or own.keys() != weights.keys():
        first = sorted(wrong or own.keys() ^ weights.keys())[0]
        raise T2Error(
            f"Expected an adapter for this LLM in {where}, got one of another: {len(own)} tensors here, "
            f"{len(weights)} there, the first that differs is {quoted(first)}. Use the LLM that the head names."
        )
    set_peft_model_state_dict(adapted, dict(weights))


def save_adapter(folder: Path, settings: LoraSettings, weights: Mapping[str, Tensor], base_model: str | None) -> None:
    """Write what `PeftModel.from_pretrained` loads onto the LLM's decoder; needs no LLM.

    Args:
        folder: created.
        settings: of the adapter.
        weights: as `adapter_weights` gave them.
        base_model: hub id or folder's name of the LLM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ADAPTER_WEIGHTS_FILE, lambda path: save_file(dict(weights), path))
    # base_model.model.layers.0.mlp.up_proj.lora_A.weight is of the module layers.0.mlp.up_proj.
    modules = {name.removeprefix("base_model.model.").rsplit(".", 2)[0] for name in weights}
    facts = {"base_model_name_or_path": base_model, "inference_mode": True}
    _config(settings, sorted(modules), **facts).save_pretrained(str(folder))
