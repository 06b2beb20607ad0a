"""`train.py` on a GPU, end to end on the committed pool of the embedded LLM, and heads that are used beside one."""

from __future__ import annotations

import copy
import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.backbones import losses, ran
from helpers.trained_head import CONFIG, MODEL, POOL, export_trained
from torch import Tensor

import t2
from t2.activations.cache import FeatureCache
from t2.checkpoint import Checkpoint
from t2.comparison.predictions import load_predictions
from t2.heads import HEADS
from t2.pools.load import load_pool
from t2.training.data import data_of
from t2.training.module import Batch, BudgetProbe
from train import main

pytestmark = pytest.mark.gpu

Make = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """`configs/tiny-arith.yaml` with a copy of its pool, complete, whose features are read anew; few epochs.

    It names no accelerator: a GPU that is there is used.
    """
    folder = tmp_path_factory.mktemp("tiny-arith")
    aside = shutil.ignore_patterns("features", "predictions*", "learning_curve*")
    shutil.copytree(POOL, folder / "pool", ignore=aside)
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["data"]["pool"] |= {"path": str(folder / "pool"), "model": str(MODEL)}
    logger = {"save_dir": str(folder / "runs"), "name": None}
    config["trainer"] = {
        "max_epochs": 6,
        "enable_progress_bar": False,
        "logger": [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger}],
    }
    return config


@pytest.fixture(scope="module")
def run(config: dict[str, Any]) -> tuple[Path, Path]:
    """The folders of a fit on the GPU, whole: validation by replay, decision, calibration, export; and of its head."""
    devices = set[str]()
    training_step = BudgetProbe.training_step

    def watched(probe: BudgetProbe, batch: Batch, batch_index: int) -> Tensor:
        loss = training_step(probe, batch, batch_index)
        if data_of(probe.trainer) is not None:  # the heads that `Decide` trains to ask held-out questions have none
            devices.add(loss.device.type)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BudgetProbe, "training_step", watched)
        folders = ran(config, Path(config["data"]["pool"]["path"]).parent, "whole")
    assert devices == {"cuda"}
    return folders


def features_of(head: t2.BudgetHead, config: dict[str, Any]) -> Tensor:
    """Of the pool's questions, as the fit has read and kept them."""
    pool = Path(config["data"]["pool"]["path"])
    pooled_QLD = FeatureCache(pool / "features", head.feature_spec).load(load_pool(CONFIG).prompts)
    assert pooled_QLD is not None
    return pooled_QLD


def test_fit_gives_a_head_that_says_what_it_is_worth(run: tuple[Path, Path]) -> None:
    folder, exported = run
    head = t2.BudgetHead.from_pretrained(exported)
    assert head.record.decision is not None
    assert head.record.decision.basis in ("out_of_fold", "calibration")
    assert head.calibration is not None
    assert head.calibration.status in ("calibrated", "no_setting_passed")
    assert head.record.metrics is not None
    with (folder / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or [])
    assert columns >= {"val/area", "val/accuracy", "val/mae_log2_n", "val/calibration_error", "train/loss"}
    assert (folder / "frontier.png").exists()


def test_a_checkpoint_is_exported_as_on_the_gpu(run: tuple[Path, Path], config: dict[str, Any]) -> None:
    """Raw outputs and posterior of the exported head on the CPU are those of its copy on the GPU."""
    folder, exported = run
    export = t2.BudgetHead.from_pretrained(exported)
    pooled_QLD = features_of(export, config)
    head = Checkpoint.read(folder / "checkpoints" / "best.ckpt").head()
    with torch.no_grad():
        on_cpu_QO, prediction = head(pooled_QLD), head.predict(head(pooled_QLD))
        on_gpu = copy.deepcopy(head).to("cuda")
        found_QO = on_gpu(pooled_QLD.to("cuda"))
        found = on_gpu.predict(found_QO)
    torch.testing.assert_close(found_QO.cpu(), on_cpu_QO, rtol=1e-3, atol=1e-3)
    for name in ("log_tokens_B", "accuracy_BK", "atom_weights_BJ"):
        assert getattr(found, name).device.type == "cuda", name
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(prediction, name), rtol=1e-3, atol=1e-3)
    if export.has_weights:
        torch.testing.assert_close(export.raws(pooled_QLD), on_cpu_QO, rtol=0, atol=0)


def test_a_run_is_resumed_tested_and_asked_for_predictions(
    run: tuple[Path, Path], config: dict[str, Any], tmp_path: Path
) -> None:
    folder, _ = run
    again = {**config, "export": {"folder": str(tmp_path / "head")}, "decision": {"mode": "configured"}}
    path, last = tmp_path / "again.yaml", str(folder / "checkpoints" / "last.ckpt")
    path.write_text(yaml.safe_dump(again), encoding="utf-8")
    main(["fit", "--config", str(path), "--ckpt_path", last, "--trainer.max_epochs", "8"])
    assert (tmp_path / "head" / "config.json").exists()
    for command in ("validate", "test", "predict"):
        main([command, "--config", str(path), "--ckpt_path", last])
    # And on a machine without a GPU.
    main(["test", "--config", str(path), "--ckpt_path", last, "--trainer.accelerator", "cpu"])


def test_the_gpu_trains_as_the_cpu_does(config: dict[str, Any], tmp_path: Path) -> None:
    """But for dropout, whose draws are others there."""
    config = copy.deepcopy(config)
    config["model"]["head"] = {"class_path": "PriorHead", "init_args": {"dropout": 0.0}}
    config["decision"] = {"mode": "configured"}
    of: dict[str, list[float]] = {}
    for accelerator in ("gpu", "cpu"):
        config["trainer"] |= {"accelerator": accelerator, "max_epochs": 3}
        config["trainer"]["logger"][0]["init_args"]["save_dir"] = str(tmp_path / "runs")
        of[accelerator] = losses(ran(config, tmp_path, accelerator)[0])
    assert len(of["gpu"]) == 6
    assert of["gpu"] == pytest.approx(of["cpu"], rel=1e-2)


@pytest.mark.parametrize("head", sorted(HEADS))
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_every_head_trains_at_every_precision(labelled_config: Make, tmp_path: Path, head: str, precision: str) -> None:
    config = labelled_config()
    config["model"]["head"] = {"class_path": head}
    config["trainer"] |= {"accelerator": "gpu", "precision": precision, "max_epochs": 2}
    if not HEADS[head].gives_curve:
        config["accuracy_cost"] = {"policy": {"class_path": "PredictedN"}}
    run, folder = ran(config, tmp_path, "run")
    assert len(losses(run)) == 4
    assert all(loss < 100 for loss in losses(run))  # NaN fails too
    assert (folder / "config.json").exists()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_adapter_is_trained_exported_and_read_again(config: dict[str, Any], tmp_path: Path, precision: str) -> None:
    config = copy.deepcopy(config)
    config["trainer"] |= {"max_epochs": 1, "precision": precision}
    config["trainer"]["logger"][0]["init_args"]["save_dir"] = str(tmp_path / "runs")
    # Exported whatever it is worth after one epoch; `evidence` is another way through the same callbacks.
    config["decision"] = {"mode": "configured" if precision == "32-true" else "evidence"}
    model = {"backbone": "lora", "lora": {"rank": 4}, "pooling": "attention", "gradient_checkpointing": True}
    run, folder = ran(config, tmp_path, "lora", **model)
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert any(bool(value.any()) for name, value in content["t2_learned"].items() if "lora_B" in name), "it was trained"
    assert all(value.device.type == "cpu" for value in content["t2_learned"].values())
    if precision == "32-true":
        head = t2.BudgetHead.from_pretrained(folder)
        assert head.features.lora is not None
        texts = [question.text for question in load_pool(CONFIG).questions[:16]]
        again = head.activations(texts, MODEL)
        assert again.device.type == "cpu"
        assert bool(head.raws(again).isfinite().all())


def test_cross_validation_beside_a_gpu(labelled_config: Make, tmp_path: Path) -> None:
    """Features are read on the GPU, heads are fitted on the cores of the CPU."""
    config = labelled_config()
    config["data"]["features"] = str(tmp_path / "read on the GPU")
    config["trainer"]["accelerator"] = "gpu"
    path, out = tmp_path / "config.yaml", tmp_path / "predictions.safetensors"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    options = ["--fold_seeds", "[0]", "--epochs", "1", "--only_configured_head", "true", "--processes", "2"]
    main(["cross_validate", "--config", str(path), "--out", str(out), *options])
    assert set(load_predictions(out).by_seed) == {0}


def test_a_head_takes_activations_from_the_gpu(tmp_path: Path) -> None:
    """Whoever runs the LLM there has them there; plans, predictions and rules are the same."""
    head = t2.BudgetHead.from_pretrained(export_trained(tmp_path / "head"))
    pooled_QLD = FeatureCache(POOL / "features", head.feature_spec).load(load_pool(CONFIG).prompts[:40])
    assert pooled_QLD is not None
    on_gpu_QLD = pooled_QLD.to("cuda")
    torch.testing.assert_close(head.raws(on_gpu_QLD), head.raws(pooled_QLD), rtol=0, atol=0)
    assert head.predict(on_gpu_QLD).log_tokens_B.device.type == "cpu"
    for found, expected in zip(head.plans(on_gpu_QLD, 2.0, 0.3), head.plans(pooled_QLD, 2.0, 0.3), strict=True):
        assert found.extra([]) == expected.extra([])
    assert [rule.extra([]) for rule in head.rules(on_gpu_QLD)] == [rule.extra([]) for rule in head.rules(pooled_QLD)]
