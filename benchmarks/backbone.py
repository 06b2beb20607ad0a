"""A training step with the LLM inside the module, frozen and with an adapter, against one on cached features."""

from __future__ import annotations

from collections.abc import Callable

from features import CASES, inputs
from measure import Figures, forget_peak, medians, peak_mib, seconds


def rows(repeats: int, case: str = "small") -> list[str]:
    """The measured rows: seconds and memory of each, and ratios of the adapter's two ways."""
    ways: dict[str, Callable[..., Figures]] = {
        "cached": cached,
        "frozen": frozen,
        "lora": lora,
        "lora, blocks run again": lora_run_again,
    }
    of = {name: medians(way, repeats, arguments=(case,)) for name, way in ways.items()}
    frozen_one, saved = of["frozen"], of["lora, blocks run again"]["peak_mib"] / of["lora"]["peak_mib"]
    lines = [
        f"| training step, {name} | {1000 * one['seconds']:,.1f} ms, {one['peak_mib']:,.0f} MiB | "
        f"{one['seconds'] / frozen_one['seconds']:.3f} x frozen's time, "
        f"{one['peak_mib'] / frozen_one['peak_mib']:.2f} x its memory | |"
        for name, one in of.items()
    ]
    return [*lines, f"| blocks run again, peak memory | | {saved:.2f} x lora | below 1 x |"]


def cached(case: str) -> Figures:
    """Features are there, and the LLM is not."""
    return _steps("cached", case)


def frozen(case: str) -> Figures:
    """The LLM reads each batch; no gradient reaches it."""
    return _steps("frozen", case)


def lora(case: str) -> Figures:
    """And an adapter on it is trained."""
    return _steps("lora", case)


def lora_run_again(case: str) -> Figures:
    """Gradient checkpointing: nothing inside a block is kept for the backward pass."""
    return _steps("lora", case, gradient_checkpointing=True)


def _steps(kind: str, case: str, gradient_checkpointing: bool = False) -> Figures:
    """Forward, backward and optimizer steps, the first one not counted."""
    import torch

    from t2.activations.lora import LoraSettings
    from t2.heads import CurveHead, HeadShape
    from t2.training.backbone import Backbone, padded

    of, (model, prompts) = CASES[case], inputs(case)
    device, width = torch.device(of.device), model.config.hidden_size
    settings = LoraSettings() if kind == "lora" else None
    read = Backbone(model, of.layers, lora=settings, gradient_checkpointing=gradient_checkpointing).to(device).train()
    head = CurveHead(HeadShape(len(of.layers), width, (1, 3, 5, 9), (1, 3)), num_atoms=16).to(device)
    batch = padded(prompts[: of.batch], device)
    trained = [p for module in (read, head) for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)
    features_BLD = read(batch).detach() if kind == "cached" else None
    if features_BLD is not None:
        del model, read  # so that a GPU has its memory back
    forget_peak(of.device)
    started = 0.0
    for step in range(of.steps + 1):
        if step == 1:
            started = seconds(of.device)
        optimizer.zero_grad()
        raw_BO = head(read(batch) if features_BLD is None else features_BLD)
        raw_BO.square().mean().backward()
        optimizer.step()
    return {"seconds": (seconds(of.device) - started) / of.steps, "peak_mib": peak_mib(of.device)}
