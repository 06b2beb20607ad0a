"""Tiny random models of many architectures, prompts with a prefix that all share, and runs padded on the left."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel

from t2.activations.pooling import tapped

NUM_LAYERS, WIDTH, VOCAB, WINDOW = 4, 32, 100, 16
ALL = (1, 2, 3, 4)
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,  # large enough for attention to matter
    "pad_token_id": 0,
}
GPT_SIZES: dict[str, Any] = {"n_layer": NUM_LAYERS, "n_head": 4, "vocab_size": VOCAB, "initializer_range": 0.1}
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
STATE_SPACE = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16,
}  # fmt: skip
LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

ATTENTION: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "qwen2": SIZES,
    "qwen3": SIZES | HEADS,
    "qwen3_moe": SIZES | HEADS | EXPERTS,
    "gemma3_text": SIZES | HEADS | SLIDING | {"query_pre_attn_scalar": 8},
    "mistral": SIZES | HEADS | {"sliding_window": WINDOW},
    "phi": SIZES,
    "phi3": SIZES,
    "gpt2": GPT_SIZES | {"n_embd": WIDTH, "n_positions": 256},
    "bloom": GPT_SIZES | {"hidden_size": WIDTH},
    "falcon": SIZES,
    "gpt_oss": SIZES | HEADS | SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2},
}
HYBRIDS: dict[str, dict[str, Any]] = {
    "lfm2": SIZES | {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
    "qwen3_next": SIZES | HEADS | EXPERTS | LINEAR | {"shared_expert_intermediate_size": WIDTH},
    "qwen3_5_text": SIZES | HEADS | LINEAR,
    "mamba": {**SIZES, "state_size": 8},
    "mamba2": {**SIZES, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
    "bamba": SIZES | STATE_SPACE | {"attn_layer_indices": [1, 3]},
    "falcon_h1": SIZES | HEADS | STATE_SPACE | {"mamba_d_ssm": 64},
    # Its config has no layer types, and it leaves the cache that it is given half used.
    "recurrent_gemma": SIZES
    | HEADS
    | {"lru_width": WIDTH, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"]},
    # Takes a cache as it takes any argument, and does not use it.
    "rwkv": {**SIZES, "attention_hidden_size": WIDTH},
}
KINDS = ATTENTION | HYBRIDS
FIRST_IS_A_BLOCK = {"mamba", "mamba2", "rwkv"}
"""Models whose `hidden_states` begin with the first block's output; those of all others begin with the embeddings."""
IGNORES_THE_MASK = {"rwkv"}
FINAL_NORMS = ("norm", "ln_f", "norm_f", "final_layernorm", "embedding_norm", "ln_out", "final_norm")


@cache
def built(kind: str) -> Any:
    """On the CPU, float32; shared by all tests of a process, which must not change it."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **KINDS[kind]), dtype=torch.float32)
    # A norm that is all ones hides whether it was applied.
    torch.nn.init.uniform_(final_norm(model).weight, 0.5, 2.0)
    return model.eval().requires_grad_(False)


def final_norm(model: Any) -> Any:
    return next(getattr(model, name) for name in FINAL_NORMS if hasattr(model, name))


def prompts_of(lengths: Sequence[int], prefix: Sequence[int] = (), seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [[*prefix, *torch.randint(1, VOCAB, (n,), generator=generator).tolist()] for n in lengths]


PREFIX = prompts_of([40], seed=1)[0]
"""More than two windows."""
PROMPTS = prompts_of([5, 1, 30, 12, 5, 2], PREFIX)


def pooled_left_padded(model: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    """The last tokens' activations, (B, L, D), where prompts are padded on the left and positions go with them."""
    device, longest = next(model.parameters()).device, max(map(len, prompts))
    ids_BT = torch.tensor([[0] * (longest - len(prompt)) + [*prompt] for prompt in prompts], device=device)
    lengths = [len(prompt) for prompt in prompts]
    mask_BT = torch.tensor([[0] * (longest - length) + [1] * length for length in lengths], device=device)
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    positions = {"position_ids": (mask_BT.cumsum(1) - 1).clamp(min=0)} if takes_positions else {}
    everywhere_BT = torch.ones_like(mask_BT)  # the last token of each row stands in the last place
    with torch.no_grad(), tapped(model, ALL, everywhere_BT) as pooled:
        model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False, **positions)
    return torch.stack([pooled[layer] for layer in ALL], 1)
