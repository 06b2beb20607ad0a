"""Heads of every class for an LLM that an engine can run: its true features, made-up targets, weights at random."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from helpers.targets import targets
from torch import Tensor

from t2.activations.cache import FeatureSpec
from t2.activations.features import computed
from t2.export import save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, Head, HeadShape, LayerwiseRegression, OrdinalHead, PriorHead
from t2.model_files import ModelFiles, resolve_model
from t2.prompts import PromptRenderer, load_tokenizer
from t2.spec import PromptSpec
from t2.tasks import ArithTask

GRID = (1, 3, 5, 7)
UTILITY: dict[str, Any] = {"name": "Utility", "arguments": {"price": 3.0}}
PREDICTED: dict[str, Any] = {"name": "PredictedN", "arguments": {"shift": 0.5}}
HEADS: dict[str, tuple[Callable[[HeadShape], Head], dict[str, Any]]] = {
    "PriorHead": (lambda shape: PriorHead(shape, num_atoms=6, components=8, hidden=8), UTILITY),
    "CurveHead": (lambda shape: CurveHead(shape, num_atoms=6, hidden=8), UTILITY),
    "OrdinalHead": (lambda shape: OrdinalHead(shape, hidden=8), PREDICTED),
    "LayerwiseRegression": (lambda shape: LayerwiseRegression(shape), PREDICTED),
}


def questions(num: int) -> list[str]:
    """Sums that the embedded tokenizer can write."""
    return [question.text for question in ArithTask(num).questions()]


def taught(head: Head, pooled_QLD: Tensor, seed: int = 2) -> Head:
    """Statistics of these features with made-up targets, then weights at random, so that budgets differ."""
    generator, num = torch.Generator().manual_seed(seed), len(pooled_QLD)
    acc_QK = torch.rand(num, len(GRID), generator=generator).sort(1).values
    fold_Q = torch.arange(num) % 2
    log_tokens_Q = 3 + torch.rand(num, generator=generator)
    head.start_stage(pooled_QLD, targets(acc_QK, fold_Q, fold_Q == 0, log_tokens_Q, fold_Q))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return head.eval()


def record_for(head: Head, policy: dict[str, Any], model: ModelFiles, layers: tuple[int, ...]) -> dict[str, Any]:
    """What an export says of a head that reads this LLM."""
    renderer = PromptRenderer.of(load_tokenizer(model.folder), PromptSpec())
    return {
        **HeadRecord.of(head).as_json(),
        "base_model": {"id": str(model.folder), "revision": None, "fingerprint": model.fingerprint},
        "features": {"model_fingerprint": model.fingerprint, "layers": list(layers), "pooling": "last-token"},
        "prompt": renderer.recorded,
        "sampling": {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_tokens": 32, "stop": []},
        "labels": {"eps": 0.02, "grader": "numeric-3-####-1", "cost_unit": "tokens", "first": "sampled"},
        "policy": policy,
        "metrics": {"n_ref": 7},
    }


def export_for(model_folder: Path, folder: Path, name: str, layers: tuple[int, ...] = (2, 4), num: int = 24) -> Path:
    """Export a head of the class `name` of `HEADS` for the LLM in a folder."""
    model = resolve_model(str(model_folder))
    renderer = PromptRenderer.of(load_tokenizer(model_folder), PromptSpec())
    spec = FeatureSpec(model.fingerprint, layers)
    pooled_QLD = computed(model.folder, [renderer.ids(text) for text in questions(num)], spec)
    make, policy = HEADS[name]
    head = taught(make(HeadShape(len(layers), model.width, GRID, (1, 3))), pooled_QLD)
    return save_head(head, HeadRecord.from_json(record_for(head, policy, model, layers), "the test"), folder)
