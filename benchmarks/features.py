"""Feature extraction with four tapped layers, against the bare forward pass on the same batches."""

from __future__ import annotations

import statistics
import time
from typing import Any

from measure import Figures, in_turn, peak_mib

PROMPTS, TOKENS = 256, 96


def rows(repeats: int) -> list[str]:
    """The measured rows."""
    pairs = in_turn(ours, bare, repeats)
    speed = statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
    memory = statistics.median(a["peak_mib"] / b["peak_mib"] for a, b in pairs)
    return [
        f"| feature extraction, speed | | {speed:.3f} x the bare forward | at least 0.95 x |",
        f"| feature extraction, peak memory | | {memory:.3f} x the bare forward | at most 1.05 x |",
    ]


def ours() -> Figures:
    """`extract` with four tapped layers."""
    from t2.activations.backbone import extract

    model, prompts = inputs()
    extract(model, prompts[:8], (2, 4, 6, 8))
    started = time.perf_counter()
    extract(model, prompts, (2, 4, 6, 8))
    return {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}


def bare() -> Figures:
    """The bare forward pass on the same batches, nothing kept."""
    import torch

    from t2.activations.backbone import TOKENS_PER_BATCH

    model, prompts = inputs()
    size = TOKENS_PER_BATCH // TOKENS
    with torch.inference_mode():
        model(input_ids=torch.tensor(prompts[:8]), use_cache=False)
        started = time.perf_counter()
        for start in range(0, len(prompts), size):
            ids = torch.tensor(prompts[start : start + size])
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return {"seconds": time.perf_counter() - started, "peak_mib": peak_mib()}


def inputs() -> tuple[Any, list[list[int]]]:
    """A random Llama large enough that the forward pass dominates, and prompts without a shared prefix."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2000, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8
    )
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(2000, (TOKENS,), generator=generator).tolist() for _ in range(PROMPTS)]
    return LlamaModel(config).eval().requires_grad_(False), prompts
