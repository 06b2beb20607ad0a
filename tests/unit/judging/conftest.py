"""A labelled pool, and exported heads with random weights that read its LLM."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.judged_heads import (
    GRID,
    LIVE_SEED,
    MODEL,
    NUM_QUESTIONS,
    POOL_SEED,
    PRICE,
    SAMPLES,
    SEEN,
    TOKENS,
    MakeHead,
    World,
)
from helpers.targets import targets

from t2.export import key_digest, save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, HeadShape
from t2.pools.fill import fill as label
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.tasks import JsonlTask


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Questions from sure to hopeless; 25 tokens each answer."""
    folder = tmp_path_factory.mktemp("world")
    answers, lines = {}, []
    for index in range(NUM_QUESTIONS):
        a, b = 10 + index, 3 + index % 7
        right = (index % 5) / 4
        script = {f"####{a + b}": right, f"####{a - b}": (1 - right) * 0.7, "": (1 - right) * 0.3}
        answers[f"q{index}"] = {text: p for text, p in script.items() if p > 0}
        row = {"id": f"q{index}", "question": f"{a}+{b}", "answer": str(a + b), "dedup_key": f"{a} {b}", "family": "f"}
        lines.append(json.dumps(row))
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    sampler: dict[str, Any] = {"answers": answers, "tokens_per_answer": TOKENS}
    pool: dict[str, Any] = {
        "path": str(folder / "pool"),
        "model": str(MODEL),
        "task": {"class_path": "JsonlTask", "init_args": {"path": str(folder / "questions.jsonl")}},
        "sampler": {"class_path": "ScriptedSampler", "init_args": sampler},
        "samples_per_question": SAMPLES,
        "engine_seed": LIVE_SEED,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"pool": pool}}), encoding="utf-8")
    task = JsonlTask(str(folder / "questions.jsonl"))
    job = LabelJob(
        pool["path"],
        pool["model"],
        task,
        ScriptedSampler(**sampler),
        samples_per_question=SAMPLES,
        engine_seed=POOL_SEED,
    )
    label(job, SplitFractions())
    return World(folder, folder / "config.yaml")


@pytest.fixture(scope="module")
def make_head(world: World, tmp_path_factory: pytest.TempPathFactory) -> MakeHead:
    """An exported head with random weights that reads the embedded LLM."""
    spec = world.loaded().spec

    def make(layers: tuple[int, ...] = (1, 2, 3, 4), grid: tuple[int, ...] = GRID, **record: Any) -> Path:
        shape = HeadShape(len(layers), spec.model["width"], grid, (1, 3))
        torch.manual_seed(0)
        head, generator = CurveHead(shape, num_atoms=6), torch.Generator().manual_seed(2)
        pooled_QLD = torch.randn(20, len(layers), shape.width, generator=generator)
        acc, fold = torch.rand(20, len(grid), generator=generator).sort(1).values, torch.arange(20) % 2
        head.start_stage(pooled_QLD, targets(acc, fold, fold == 0, torch.full((20,), 3.2), fold))
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        base = {name: spec.model[name] for name in ("id", "revision", "fingerprint")}
        reads = {"model_fingerprint": spec.model["fingerprint"], "layers": list(layers), "pooling": "last-token"}
        config = {
            **HeadRecord.of(head).as_json(),
            "base_model": base,
            "features": reads,
            "prompt": spec.prompt,
            "sampling": spec.sampling,
            "labels": {"eps": 0.02, "cost_unit": "tokens"},
            "policy": {"name": "Utility", "arguments": {"price": PRICE}},
            "metrics": {"n_ref": 5},
        }
        return save_head(
            head.eval(),
            HeadRecord.from_json({**config, **record}, "the test"),
            tmp_path_factory.mktemp("head") / "head",
        )

    return make


@pytest.fixture(scope="module")
def seen_keys(world: World) -> list[str]:
    return list(world.loaded().pool.dedup_keys[:SEEN])


@pytest.fixture(scope="module")
def head(make_head: MakeHead, seen_keys: list[str]) -> Path:
    """A head that says which questions it has learned from and makes a promise."""
    record = {"status": "calibrated", "form": "reference", "n_ref": 5, "alpha": 0.02, "delta": 0.1, "promise": "."}
    policy = {"name": "Utility", "arguments": {"price": PRICE}}
    tested = {"num_questions": 120, "needed": 114, "settings": [policy], "p_values": [0.01], "chosen": 0}
    calibration = {**record, **tested, "configured_policy": policy}
    return make_head(seen_questions=[key_digest(key) for key in seen_keys], calibration=calibration)
