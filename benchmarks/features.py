"""Feature extraction at several tapped layers, against the bare forward pass on the same batches."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measure import Figures, forget_peak, in_turn, peak_mib, seconds


@dataclass(frozen=True)
class Case:
    """A random LLM large enough that its forward pass dominates, and prompts without a shared prefix."""

    device: str
    make: Callable[[], Any]
    """the LLM"""
    layers: tuple[int, ...]
    vocab: int
    num_prompts: int
    tokens: int
    """of each prompt"""
    batch: int
    """prompts of a training step"""
    steps: int
    """that are timed"""


def small() -> Any:
    """A Llama of 8 blocks x 512 in float32."""
    from transformers import LlamaConfig, LlamaModel

    return LlamaModel(
        LlamaConfig(
            vocab_size=2000, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8
        )
    )


def qwen_1_5b() -> Any:
    """The decoder of Qwen2.5-1.5B by its shape, 28 blocks x 1536, in bf16, made on the GPU."""
    import torch
    from transformers import AutoModel, Qwen2Config

    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32_768,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        return AutoModel.from_config(config, dtype=torch.bfloat16)


CASES = {
    "small": Case("cpu", small, (2, 4, 6, 8), vocab=2000, num_prompts=256, tokens=96, batch=32, steps=6),
    "1.5b": Case(
        "cuda", qwen_1_5b, tuple(range(4, 29, 4)), vocab=151_936, num_prompts=1024, tokens=256, batch=32, steps=20
    ),
}


def rows(repeats: int, case: str = "small") -> list[str]:
    """The measured rows."""
    pairs = in_turn(ours, bare, repeats, arguments=(case,))
    speed = statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
    memory = statistics.median(a["peak_mib"] / b["peak_mib"] for a, b in pairs)
    tokens = CASES[case].num_prompts * CASES[case].tokens
    rate, peak = tokens / statistics.median(a["seconds"] for a, _ in pairs), max(a["peak_mib"] for a, _ in pairs)
    return [
        f"| feature extraction, speed | {rate:,.0f} tokens/s | {speed:.3f} x the bare forward | at least 0.95 x |",
        f"| feature extraction, peak memory | {peak:,.0f} MiB | {memory:.3f} x the bare forward | at most 1.05 x |",
    ]


def ours(case: str) -> Figures:
    """`extract` at the tapped layers."""
    from t2.activations.backbone import extract

    of, (model, prompts) = CASES[case], inputs(case)
    extract(model, prompts[:16], of.layers)
    forget_peak(of.device)
    started = seconds(of.device)
    extract(model, prompts, of.layers)
    return {"seconds": seconds(of.device) - started, "peak_mib": peak_mib(of.device)}


def bare(case: str) -> Figures:
    """The bare forward pass on the same batches, nothing kept."""
    import torch

    from t2.activations.backbone import TOKENS_PER_BATCH

    of, (model, prompts) = CASES[case], inputs(case)
    size = TOKENS_PER_BATCH // of.tokens
    with torch.inference_mode():
        model(input_ids=torch.tensor(prompts[:16], device=of.device), use_cache=False)
        forget_peak(of.device)
        started = seconds(of.device)
        for start in range(0, len(prompts), size):
            ids = torch.tensor(prompts[start : start + size], device=of.device)
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return {"seconds": seconds(of.device) - started, "peak_mib": peak_mib(of.device)}


def inputs(case: str) -> tuple[Any, list[list[int]]]:
    """The LLM, on its device, and the prompts."""
    import torch

    torch.manual_seed(0)
    of, generator = CASES[case], torch.Generator().manual_seed(1)
    prompts = [torch.randint(of.vocab, (of.tokens,), generator=generator).tolist() for _ in range(of.num_prompts)]
    return of.make().eval().requires_grad_(False), prompts
