"""Heads of random weights, what is recorded of them, and their exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from helpers.targets import targets
from torch import Tensor

from t2.export import save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, Head, HeadShape, LayerwiseRegression, OrdinalHead
from t2.heads.training_votes import TrainingVotes

SHAPE = HeadShape(num_layers=3, width=16, grid=(1, 3, 5, 7), label_grid=(1, 3))
FINGERPRINT = "f" * 64
FEATURES = {"model_fingerprint": FINGERPRINT, "layers": [4, 8, 12], "pooling": "last-token"}
HEADS: dict[str, tuple[Callable[[], Head], dict[str, Any]]] = {
    "CurveHead": (lambda: CurveHead(SHAPE, num_atoms=6), {"name": "Utility", "arguments": {"price": 3.0}}),
    "OrdinalHead": (lambda: OrdinalHead(SHAPE, hidden=8), {"name": "PredictedN", "arguments": {"shift": 0.5}}),
    "LayerwiseRegression": (lambda: LayerwiseRegression(SHAPE), {"name": "PredictedN", "arguments": {"shift": 1.0}}),
    "constant": (lambda: CurveHead(SHAPE, num_atoms=6), {"name": "FixedN", "arguments": {"n": 5}}),
}
VOTES = TrainingVotes(
    count_Q3=torch.tensor([[9.0, 2.0, 1.0], [5.0, 4.0, 3.0], [12.0, 0.0, 0.0], [6.0, 5.0, 1.0]], dtype=torch.float64),
    right_Q=torch.tensor([1, 2, 1, 0]),
    tokens_Q=torch.tensor([40.0, 60.0, 20.0, 80.0], dtype=torch.float64),
    greedy_Q=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
)
NO_HEAD = {"name": "NoHeadThenStop", "arguments": {"cap": 7, "price": 2.0, "round_price": 0.5}}
ASC = {"name": "ASC", "arguments": {"cap": 7, "threshold": 0.9}}


def features(num: int = 20) -> Tensor:
    return torch.randn(num, 3, 16, generator=torch.Generator().manual_seed(1))


def randomised(head: Head) -> Head:
    """Statistics from a few made-up questions and random weights, so that budgets differ."""
    generator = torch.Generator().manual_seed(2)
    acc = torch.rand(20, 4, generator=generator).sort(1).values
    fold = torch.arange(20) % 2
    head.start_stage(features(), targets(acc, fold, fold == 0, 3 + torch.rand(20, generator=generator), fold))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head.eval()


def record_of(head: Head, policy: dict[str, Any]) -> dict[str, Any]:
    interval = {"value": 0.0213, "low": 0.01, "high": 0.03}
    return {
        **HeadRecord.of(head).as_json(),
        "base_model": {"id": "org/model", "revision": None, "fingerprint": FINGERPRINT},
        "features": FEATURES,
        "sampling": {"temperature": 1.0},
        "labels": {"eps": 0.02, "samples_per_question": 32, "grader": "numeric-1-####-1", "questions": {"train": 20}},
        "policy": policy,
        "metrics": {"area": interval, "n_ref": 7},
    }


def save(head: Head, record: dict[str, Any], folder: Path) -> Path:
    return save_head(head, HeadRecord.from_json(record, "the test"), folder)


def save_without(policy: dict[str, Any], folder: Path) -> Path:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    return save_head(head, HeadRecord.from_json(record_of(head, policy), "the test"), folder, VOTES)


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def calibration_record(**changes: Any) -> dict[str, Any]:
    settings = [{"name": "Utility", "arguments": {"price": price}} for price in (1.0, 3.0)]
    record = {"status": "calibrated", "promise": "It keeps.", "settings": settings, "p_values": [0.01, 0.0625]}
    levels = {"alpha": 0.02, "delta": 0.1, "form": "reference", "num_questions": 120, "needed": 114, "n_ref": 5}
    return {**record, **levels, "chosen": 1, "configured_policy": settings[0], **changes}
