"""A `PriorHead` that has learned from the committed pool of the embedded LLM, exported as `fit` would, in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from helpers.own_group import ROOT

from t2.activations.cache import FeatureSpec
from t2.activations.features import pooled_features
from t2.config import read_data
from t2.curves.labels import budget_labels
from t2.export import save_head
from t2.grading.record import GraderRecord
from t2.head_record import Answering, HeadRecord
from t2.heads import HeadShape, PriorHead
from t2.heads.base import targets_of
from t2.heads.training_votes import TrainingVotes
from t2.pools.load import load_pool
from t2.store.pool_spec import read_spec
from t2.store.schema import PoolPaths

MODEL, POOL = ROOT / "assets" / "tiny-arith", ROOT / "assets" / "pools" / "tiny-arith"
CONFIG = ROOT / "configs" / "tiny-arith.yaml"
GRID = (1, 3, 5, 7, 9, 12, 16)
NUM_TRAIN = 400
PLAN = {"name": "HeadThenStop", "arguments": {"cap": 16, "price": 2.0, "round_price": 0.3}}


def export_trained(folder: Path, policy: Mapping[str, object] = PLAN, steps: int = 150) -> Path:
    """Export a head that was trained on the first `NUM_TRAIN` questions; the others it has not seen."""
    spec, job = read_spec(PoolPaths(POOL)), read_data(str(CONFIG)).pool
    loaded = load_pool(CONFIG)
    features = FeatureSpec(spec.model["fingerprint"], (1, 2, 3, 4), "last-token")
    pooled_QLD = pooled_features(POOL / "features", features, loaded.prompts, lambda: MODEL)[:NUM_TRAIN]
    pool = loaded.pool.take(torch.arange(NUM_TRAIN))
    labels = budget_labels(pool, GRID, 0.02)
    torch.manual_seed(0)
    head = PriorHead(HeadShape(4, spec.model["width"], GRID, (1, 3, 5, 7, 9, 12, 16)))
    targets = targets_of(labels, pool)
    head.start_stage(pooled_QLD, targets)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        head.loss(head(pooled_QLD), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    head.eval()
    record = {
        **HeadRecord.of(head).as_json(),
        "base_model": {name: spec.model[name] for name in ("id", "revision", "fingerprint")},
        "features": {"model_fingerprint": spec.model["fingerprint"], "layers": [1, 2, 3, 4], "pooling": "last-token"},
        "prompt": spec.prompt,
        "sampling": spec.sampling,
        "labels": {"eps": 0.02, "cost_unit": "tokens", "grader": job.task.grader.version, "first": "greedy"},
        "answering": Answering(GraderRecord.of(job.task.grader), "float32", None).as_json(),
        "policy": policy,
        "metrics": {"n_ref": 16},
    }
    return save_head(head, HeadRecord.from_json(record, "the test"), folder, TrainingVotes.of(pool, labels))
