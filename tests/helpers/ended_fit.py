"""The end of a fit without one: splits with known answers, and a trainer with the best checkpoint on disk."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from helpers.budget_data import NoBudgetData
from helpers.graded_pools import graded_pool
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from t2.curves.labels import BudgetLabels, budget_labels
from t2.export import key_digest
from t2.grading.graded import GradedPool
from t2.head_record import HeadRecord
from t2.heads import HeadShape
from t2.heads.base import Head, targets_of
from t2.policies.one_round import Utility
from t2.policies.record import PolicyRecord
from t2.splits import SplitFractions
from t2.training.accuracy_cost import ValidationResult, predict
from t2.training.calibrate import CalibrateHead
from t2.training.module import BudgetProbe

SHAPE = HeadShape(num_layers=2, width=8, grid=(1, 3, 5, 9, 16), label_grid=(1, 3, 5))
UTILITY = {"name": "Utility", "arguments": {"price": 1.0}}
SEEN = [key_digest("train0"), key_digest("validation0")]


def pool_of(name: str, num: int, seed: int) -> GradedPool:
    """Easy to hopeless questions of 16 samples; class 0 is correct, lengths differ."""
    generator = torch.Generator().manual_seed(seed)
    shares_QC = torch.stack([torch.tensor([0.1, q / num + 0.05, 0.4, 0.2]) for q in range(num)])
    vote_QM = torch.multinomial(shares_QC, 16, replacement=True, generator=generator) - 1
    names = tuple(f"{name}{q}" for q in range(num))
    tokens_QM = torch.randint(5, 200, (num, 16), generator=generator)
    return graded_pool(vote_QM.tolist(), tokens_QM.tolist(), question_ids=names, dedup_keys=names)


class Splits(NoBudgetData):
    """What `CalibrateHead` asks of a DataModule; remembers the order. Asking for test questions is a KeyError."""

    splits = SplitFractions()

    def __init__(self, num_calibration: int = 150, labelled: bool = True, misleading: bool = False) -> None:
        sizes = {"train": 60, "validation": 40, "calibration": num_calibration}
        self.pools = {name: pool_of(name, num, seed) for seed, (name, num) in enumerate(sizes.items())}
        self.asked: list[str] = []
        self.labelled, self.misleading = labelled, misleading

    def split(self, name: str) -> tuple[GradedPool, BudgetLabels]:
        self.asked.append(f"split {name}")
        return self.pools[name], budget_labels(self.pools[name], SHAPE.grid, 0.02, first="sampled")

    def together(self, *names: str) -> tuple[GradedPool, BudgetLabels, Tensor]:
        pools = [self.pools[name] for name in names]
        joined: dict[str, Any] = {
            name: torch.cat([getattr(pool, name) for pool in pools])
            if isinstance(value, Tensor)
            else tuple(each for pool in pools for each in getattr(pool, name))
            for name, value in vars(pools[0]).items()
        }
        pool = GradedPool(**joined)
        pooled_QLD = torch.cat([self.features_of(name) for name in names])
        return pool, budget_labels(pool, SHAPE.grid, 0.02, first="sampled"), pooled_QLD

    def features_of(self, name: str) -> Tensor:
        """They say how hard a question is, with noise; if misleading, the opposite."""
        num, generator = len(self.pools[name]), torch.Generator().manual_seed(9)
        hard_Q = torch.linspace(-2, 2, num) * (-1 if self.misleading else 1)
        return hard_Q[:, None, None] + 0.5 * torch.randn(num, 2, 8, generator=generator)

    def dedup_keys(self, name: str) -> list[str]:
        return list(self.pools[name].dedup_keys)

    def all_labelled(self, name: str) -> bool:
        return self.labelled

    def wait_for(self, name: str) -> None:
        self.asked.append(f"wait {name}")


class Scalars:
    """A logger."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        assert step == 30
        self.logged.update(metrics)


def trained(head: Head) -> Head:
    """A few steps on the train split: enough to tell easy from hopeless."""
    torch.manual_seed(0)
    data = Splits()
    pool, labels = data.split("train")
    pooled_QLD, targets = data.features_of("train"), targets_of(labels, pool)
    head.start_stage(pooled_QLD, targets)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        head.loss(head(pooled_QLD), targets).backward()
        optimizer.step()
    return head.eval()


@cache
def metrics_of(head: Head) -> dict[str, Any]:
    """On validation, of the configured policy."""
    data = Splits()
    pool, labels = data.split("validation")
    prediction = predict(head, data.features_of("validation"), torch.device("cpu"))
    policy = PolicyRecord.from_json(UTILITY, "the test").policy()
    assert isinstance(policy, Utility)
    return ValidationResult(type(head).__name__, policy, pool, labels, prediction).metrics.as_json()


class Run:
    """A trainer after training, with the best checkpoint on disk."""

    def __init__(self, folder: Path, head: Head, data: Splits, policy: dict[str, Any] = UTILITY) -> None:
        self.path, self.data, self.logger = folder / "best.ckpt", data, Scalars()
        self.record = {
            **HeadRecord.of(head).as_json(),
            "base_model": {"id": "org/model"},
            "features": {"model_fingerprint": "f" * 64, "layers": [1, 2]},
            "policy": policy,
            "metrics": metrics_of(head) if policy == UTILITY else {},
            "seen_questions": SEEN,
        }
        state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
        torch.save({"t2": self.record, "state_dict": state, "epoch": 3, "optimizer_states": [{}]}, self.path)

    def end(self, *callbacks: L.Callback, probe: BudgetProbe | None = None, **flags: Any) -> dict[str, Any]:
        """End `fit`; the checkpoint's record."""
        checkpoint = ModelCheckpoint(monitor="val/area")
        checkpoint.best_model_path = str(self.path)
        trainer = SimpleNamespace(
            checkpoint_callbacks=[checkpoint],
            callbacks=list(callbacks),
            is_global_zero=True,
            datamodule=self.data,
            loggers=[self.logger],
            global_step=30,
            **{"fast_dev_run": False, "max_epochs": 4, **flags},
        )
        for callback in callbacks:
            callback.on_fit_end(trainer, probe)  # type: ignore[arg-type]  # the parts that are used
        record: dict[str, Any] = torch.load(self.path, weights_only=True)["t2"]
        return record

    def calibrate(self, **levels: Any) -> dict[str, Any]:
        """End `fit` with calibration alone."""
        dev = levels.pop("fast_dev_run", False)
        return self.end(CalibrateHead(**levels), fast_dev_run=dev)
