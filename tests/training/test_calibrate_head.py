"""`CalibrateHead` alone: on splits with known answers and a checkpoint on disk, without a fit."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.budget_data import NoBudgetData
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from t2.calibration.betting import questions_needed
from t2.curves.labels import BudgetLabels, budget_labels, dataset_optimum
from t2.errors import T2Error
from t2.export import BudgetHead, export_checkpoint, key_digest
from t2.grading.graded import GradedPool
from t2.head_record import HeadRecord
from t2.heads import CurveHead, HeadShape, OrdinalHead
from t2.heads.base import Head, targets_of
from t2.policies.one_round import Utility
from t2.policies.record import PolicyRecord
from t2.splits import SplitFractions
from t2.training.accuracy_cost import ValidationResult, predict
from t2.training.calibrate import CalibrateHead

SHAPE = HeadShape(num_layers=2, width=8, grid=(1, 3, 5, 9, 16), label_grid=(1, 3, 5))
UTILITY = {"name": "Utility", "arguments": {"price": 1.0}}
SEEN = [key_digest("train0"), key_digest("validation0")]


def pool_of(name: str, num: int, seed: int) -> GradedPool:
    """Easy to hopeless questions of 16 samples; class 0 is correct, lengths differ."""
    generator = torch.Generator().manual_seed(seed)
    shares_QC = torch.stack([torch.tensor([0.1, q / num + 0.05, 0.4, 0.2]) for q in range(num)])
    vote_QM = torch.multinomial(shares_QC, 16, replacement=True, generator=generator) - 1
    none = torch.zeros(num, dtype=torch.long)
    return GradedPool(
        question_ids=tuple(f"{name}{q}" for q in range(num)),
        dedup_keys=tuple(f"{name}{q}" for q in range(num)),
        families=("",) * num,
        sizes=(0,) * num,
        vote_QM=vote_QM,
        right_QM=vote_QM == 0,
        tokens_QM=torch.randint(5, 200, (num, 16), generator=generator),
        truncated_QM=torch.zeros(num, 16, dtype=torch.bool),
        greedy_right_Q=none.bool(),
        greedy_tokens_Q=none + 10,
        prompt_tokens_Q=none + 5,
        greedy_present_Q=~none.bool(),
    )


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


@pytest.fixture(scope="module")
def curve_head() -> Head:
    return trained(CurveHead(SHAPE, num_atoms=6, dropout=0.0))


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

    def calibrate(self, **levels: Any) -> dict[str, Any]:
        """End `fit`; the checkpoint's record."""
        checkpoint = ModelCheckpoint(monitor="val/area")
        checkpoint.best_model_path = str(self.path)
        trainer = SimpleNamespace(
            checkpoint_callbacks=[checkpoint],
            fast_dev_run=levels.pop("fast_dev_run", False),
            is_global_zero=True,
            datamodule=self.data,
            loggers=[self.logger],
            global_step=30,
        )
        CalibrateHead(**levels).on_fit_end(trainer, None)  # type: ignore[arg-type]  # the parts that are used
        record: dict[str, Any] = torch.load(self.path, weights_only=True)["t2"]
        return record


def test_a_setting_passes(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, curve_head, Splits())
    before = torch.load(run.path, weights_only=True)
    record = run.calibrate(alpha=0.1)
    found = record["calibration"]
    assert found["status"] == "calibrated"
    assert record["policy"] == found["settings"][found["chosen"]] != UTILITY
    assert found["configured_policy"] == UTILITY
    assert (found["num_questions"], found["needed"]) == (150, questions_needed(0.1, 0.1))
    both = torch.cat([run.data.split(name)[1].acc_QK for name in ("train", "validation")])
    assert found["n_ref"] == SHAPE.grid[dataset_optimum(both)]
    json.dumps(record, allow_nan=False)

    order = run.data.asked
    assert order.index("wait train") < order.index("split train") < order.index("wait calibration")
    assert order.index("split validation") < order.index("wait calibration") < order.index("split calibration")

    after = torch.load(run.path, weights_only=True)
    assert after["epoch"] == 3
    assert after["optimizer_states"] == [{}]
    assert all(torch.equal(before["state_dict"][name], value) for name, value in after["state_dict"].items())
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]
    assert record["seen_questions"] == sorted({*SEEN, *map(key_digest, run.data.dedup_keys("calibration"))})

    head = BudgetHead.from_pretrained(export_checkpoint(run.path, tmp_path / "head"))
    drawn = head.budgets(run.data.features_of("validation")).double()
    assert record["metrics"]["samples"]["value"] == pytest.approx(float(drawn.mean()))
    there = head.budgets(run.data.features_of("calibration")).double()
    tokens_Q = run.data.pools["calibration"].mean_tokens_Q
    ratio = float((there * tokens_Q).mean() / (found["n_ref"] * tokens_Q).mean())
    assert ratio <= 1
    printed = capsys.readouterr().out
    assert found["promise"] in printed
    assert f"draws {float(there.mean()):.1f} samples a question there and spends {ratio:.2f} x the tokens" in printed
    assert run.logger.logged == {
        "calibration/num_questions": 150.0,
        "calibration/needed": float(found["needed"]),
        "calibration/n_ref": float(found["n_ref"]),
        "calibration/chosen": float(found["chosen"]),
        "calibration/p_value": found["p_values"][found["chosen"]],
        "calibration/token_ratio": pytest.approx(ratio),
        "calibration/price": record["policy"]["arguments"]["price"],
    }


def test_the_reference_is_that_of_train_and_validation_together(curve_head: Head, tmp_path: Path) -> None:
    """600 train questions that are always right need 1 sample, 40 validation questions 16, and together it is 9."""
    data = Splits()
    train = pool_of("train", 600, 0)
    data.pools["train"] = replace(
        train, vote_QM=torch.zeros_like(train.vote_QM), right_QM=torch.ones_like(train.right_QM)
    )
    found = Run(tmp_path, curve_head, data).calibrate(alpha=0.1)["calibration"]
    curves = {name: data.split(name)[1].acc_QK for name in ("train", "validation")}
    together = SHAPE.grid[dataset_optimum(torch.cat(list(curves.values())))]
    assert dataset_optimum(curves["train"]) == 0
    assert SHAPE.grid[dataset_optimum(curves["validation"])] == 16
    assert found["n_ref"] == together == 9


def test_calibrating_again_is_the_same_and_skip_undoes_it(curve_head: Head, tmp_path: Path) -> None:
    """A resumed run ends on the best checkpoint of the run before, which is calibrated already."""
    run = Run(tmp_path, curve_head, Splits())
    once = run.calibrate(alpha=0.1)
    assert run.calibrate(alpha=0.1) == once
    undone = run.calibrate(mode="skip")
    assert "calibration" not in undone
    assert {**undone, "seen_questions": SEEN} == run.record, "labels that were read stay recorded, all else is back"
    few = run.calibrate(alpha=0.001)
    assert (few["calibration"]["status"], few["policy"]) == ("too_few_questions", UTILITY)


def test_no_setting_passes(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head takes easy questions for hard ones, so that even its dearest setting loses."""
    run = Run(tmp_path, curve_head, Splits(120, misleading=True))
    record = run.calibrate()
    found = record["calibration"]
    assert (found["status"], found["chosen"]) == ("no_setting_passed", None)
    assert found["p_values"][0] > 0.1
    assert record["policy"] == {"name": "FixedN", "arguments": {"n": found["n_ref"]}}
    assert record["metrics"]["samples"]["value"] == found["n_ref"]
    assert record["metrics"]["area"]["value"] == 0
    printed = capsys.readouterr().out
    assert "To keep Utility(price=1.0) without a promise: `calibration.mode: skip`." in printed
    assert run.logger.logged["calibration/chosen"] == -1
    card = (export_checkpoint(run.path, tmp_path / "head") / "README.md").read_text()
    assert f"so the policy is FixedN(n={found['n_ref']})" in card
    assert {*map(key_digest, run.data.dedup_keys("calibration"))} <= {*record["seen_questions"]}


def test_too_few_questions(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, curve_head, Splits(113))
    record = run.calibrate()
    said = (
        "Not calibrated, no accuracy is promised: that takes 114 calibration questions (alpha 0.02, delta 0.1), and "
        "there are 113. The head keeps Utility(price=1.0)."
    )
    advice = " About 1,140 questions, or a larger `data.splits.calibration` (now 0.1) would do."
    assert said + advice in capsys.readouterr().out
    assert (record["calibration"]["status"], record["calibration"]["promise"]) == ("too_few_questions", said)
    assert (record["policy"], record["metrics"], record["seen_questions"]) == (UTILITY, run.record["metrics"], SEEN)
    assert run.data.asked == [], "no label was needed to know that"
    assert run.logger.logged == {"calibration/num_questions": 113.0, "calibration/needed": 114.0}
    assert said in (export_checkpoint(run.path, tmp_path / "head") / "README.md").read_text()
    with pytest.raises(T2Error, match=r"at least 114 calibration questions .* `calibration.mode: required`, got 113"):
        run.calibrate(mode="required")


def test_the_stronger_form_takes_dearer_settings_too(curve_head: Head, tmp_path: Path) -> None:
    found = Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1, form="every_fixed")["calibration"]
    weak = Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1)["calibration"]
    assert (found["form"], weak["form"]) == ("every_fixed", "reference")
    assert found["settings"][0]["arguments"]["price"] <= weak["settings"][0]["arguments"]["price"]
    assert found["n_ref"] == weak["n_ref"]


def test_a_head_without_a_curve(tmp_path: Path) -> None:
    shift = {"name": "PredictedN", "arguments": {"shift": 0.5}}
    record = Run(tmp_path, trained(OrdinalHead(SHAPE, dropout=0.0)), Splits(), shift).calibrate(alpha=0.2)
    shifts = [each["arguments"]["shift"] for each in record["calibration"]["settings"]]
    assert shifts == sorted(shifts, reverse=True)
    assert record["calibration"]["status"] == "calibrated"
    assert record["policy"]["name"] == "PredictedN"


def test_token_counts_of_calibration_questions_change_no_decision(curve_head: Head, tmp_path: Path) -> None:
    data = Splits()
    pool = data.pools["calibration"]
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(1))
    data.pools["calibration"] = replace(
        pool, tokens_QM=pool.tokens_QM[order], prompt_tokens_Q=torch.arange(len(pool)), greedy_tokens_Q=order
    )
    shuffled = Run(tmp_path, curve_head, data).calibrate(alpha=0.1)
    assert shuffled == Run(tmp_path, curve_head, Splits()).calibrate(alpha=0.1)


def test_fixed_n_and_a_dry_run_are_left_alone(curve_head: Head, tmp_path: Path) -> None:
    run = Run(tmp_path, curve_head, Splits(), {"name": "FixedN", "arguments": {"n": 5}})
    assert run.calibrate() == run.record
    run = Run(tmp_path, curve_head, Splits())
    assert run.calibrate(fast_dev_run=True) == run.record
    assert run.data.asked == []


def test_the_wait_is_announced(curve_head: Head, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(tmp_path, curve_head, Splits(labelled=False)).calibrate(alpha=0.1)
    printed = capsys.readouterr().out
    assert "Waiting for the labels of 150 calibration questions." in printed
    assert printed.index("Waiting") < printed.index("Calibration: ")


def test_required_without_a_checkpoint() -> None:
    trainer = SimpleNamespace(checkpoint_callbacks=[], fast_dev_run=False, is_global_zero=True)
    CalibrateHead().on_fit_end(trainer, None)  # type: ignore[arg-type]  # nothing was validated, nothing is exported
    with pytest.raises(T2Error, match="Expected a best checkpoint by `val/area` to calibrate, got none"):
        CalibrateHead(mode="required").on_fit_end(trainer, None)  # type: ignore[arg-type]
