"""LLMs of a few thousand random weights, one for each architecture that carries a head, with the embedded tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from helpers.own_group import ROOT

TINY_ARITH = ROOT / "assets" / "tiny-arith"
VOCAB = 70
"""More than the tokenizer's 64, and no multiple of anything that vLLM pads to."""
LAYERS, WIDTH = 4, 64
_SIZES: dict[str, Any] = {
    **{"vocab_size": VOCAB, "hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": LAYERS},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256},
    # Wide weights: what a prompt says then shows in its last token.
    **{"initializer_range": 0.15, "tie_word_embeddings": True},
    **{"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3-moe": ("Qwen3Moe", _EXPERTS),
    "gemma3": ("Gemma3", {"sliding_window": 16, "query_pre_attn_scalar": 32}),
}
"""By name: how transformers calls it, and what differs from the common sizes."""


def tiny_model(name: str, folder: Path) -> Path:
    """Write such a model."""
    import transformers

    kind, changes = MODELS[name]
    config = getattr(transformers, f"{kind}{'Text' if kind == 'Gemma3' else ''}Config")(**{**_SIZES, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TINY_ARITH / file, folder / file)
    return folder
