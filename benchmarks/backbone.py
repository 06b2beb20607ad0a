"""A training step with the LLM inside the module, frozen and with an adapter, against one on cached features."""

from __future__ import annotations

import time
from collections.abc import Callable

from features import inputs
from measure import Figures, medians, peak_mib

BATCH, STEPS, LAYERS = 32, 6, (2, 4, 6, 8)


def rows(repeats: int) -> list[str]:
    """The measured rows: seconds and memory of each, and ratios of the adapter's two ways."""
    ways: dict[str, Callable[[], Figures]] = {
        "cached": cached,
        "frozen": frozen,
        "lora": lora,
        "lora, blocks run again": lora_run_again,
    }
    of = {name: medians(way, repeats) for name, way in ways.items()}
    frozen_one, saved = of["frozen"], of["lora, blocks run again"]["peak_mib"] / of["lora"]["peak_mib"]
    lines = [
        f"| training step, {name} | {1000 * one['seconds']:.0f} ms, {one['peak_mib']:.0f} MiB | "
        f"{one['seconds'] / frozen_one['seconds']:.2f} x frozen's time, "
        f"{one['peak_mib'] / frozen_one['peak_mib']:.2f} x its memory | |"
        for name, one in of.items()
    ]
    return [*lines, f"| blocks run again, peak memory | | {saved:.2f} x lora | below 1 x |"]


def cached() -> Figures:
    """Features are there."""
    return _steps("cached")


def frozen() -> Figures:
    """The LLM reads each batch; no gradient reaches it."""
    return _steps("frozen")


def lora() -> Figures:
    """And an adapter on it is trained."""
    return _steps("lora")


def lora_run_again() -> Figures:
    """Gradient checkpointing: nothing inside a block is kept for the backward pass."""
    return _steps("lora", gradient_checkpointing=True)


def _steps(kind: str, gradient_checkpointing: bool = False) -> Figures:
    """Forward, backward and optimizer steps, the first one not counted."""
    import torch

    from t2.activations.lora import LoraSettings
    from t2.heads import CurveHead, HeadShape
    from t2.training.backbone import Backbone, padded

    model, prompts = inputs()
    settings = LoraSettings() if kind == "lora" else None
    backbone = Backbone(model, LAYERS, lora=settings, gradient_checkpointing=gradient_checkpointing).train()
    head = CurveHead(HeadShape(len(LAYERS), 512, (1, 3, 5, 9), (1, 3)), num_atoms=16)
    batch = padded(prompts[:BATCH], torch.device("cpu"))
    features_BLD = backbone(batch).detach()
    trained = [p for module in (backbone, head) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    started = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            started = time.perf_counter()
        optimizer.zero_grad()
        raw_BO = head(features_BLD if kind == "cached" else backbone(batch))
        raw_BO.square().mean().backward()
        optimizer.step()
    return {"seconds": (time.perf_counter() - started) / STEPS, "peak_mib": peak_mib()}
