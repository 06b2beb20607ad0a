"""W&B offline: a run is reopened from disk and holds configuration, scalar, table, picture and artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.wandb_runs import artifacts, configuration, contents, history

from train import main

ROOT = Path(__file__).resolve().parents[2]


def check_artifacts(run_file: Path, config: dict[str, Any], tmp_path: Path) -> None:
    """Pool in, head and report out; the pool without its samples."""
    found = artifacts(run_file)
    assert {kind: each.name for kind, each in found.items()} == {
        "pool": "pool-pool", "head": "head-head", "report": "report-head",
    }  # fmt: skip
    assert {kind: each.use_after_commit for kind, each in found.items()} == {
        "pool": True, "head": False, "report": False,
    }  # fmt: skip  # an input, and two outputs
    pool, head, report = (json.loads(found[kind].metadata) for kind in ("pool", "head", "report"))
    files = {kind: contents(each) for kind, each in found.items()}
    assert [name for name in files["pool"] if not name.startswith("manifests/")] == ["pool.json"]
    assert (pool["questions"], pool["samples"], pool["has_samples"]) == (96, 96 * 9, False)
    assert pool["model"]["id"] == "tiny-arith"
    tensors = ["model.safetensors", "votes.safetensors"]
    assert sorted(files["head"]) == sorted(["README.md", "config.json", "seen_questions.txt", *tensors])
    for name, path in files["head"].items():
        assert path.read_bytes() == (tmp_path / "head" / name).read_bytes()
    record = json.loads((tmp_path / "head" / "config.json").read_text())
    assert head["base_model"] == record["base_model"]
    assert (head["layers"], head["grid"]) == ([1, 2, 3, 4], config["data"]["grid"])
    assert head["n_ref"] in head["grid"]
    assert head["spec_digest"] == report["spec_digest"] == pool["spec_digest"]
    assert head["pool"] == found["pool"].name
    assert head["policy"].startswith("Utility(price=")
    assert head["decision"]["basis"] == "configured"
    assert head["calibration"]["status"] == "too_few_questions"
    saved = head["tokens_saved"]
    assert saved["low"] <= saved["value"] <= saved["high"] <= 1
    assert head["judged_on"]["split"] == "validation", "there are too few test questions"
    assert sorted(files["report"]) == ["config.yaml", "frontier.csv", "frontier.png", "summary.txt"]
    summary = files["report"]["summary.txt"].read_text(encoding="utf-8")
    assert f"tokens saved{' ' * 39}{100 * saved['value']:.0f}% [" in summary
    assert "Promise  Not calibrated" in summary


def test_offline_run_holds_configuration_scalar_table_picture_and_artifacts(
    labelled_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "WANDB_DATA_DIR", str(tmp_path / "staged")
    )  # copies of what artifacts hold; else in the home folder
    config = labelled_config()
    del config["trainer"]["logger"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    overlay = yaml.safe_load((ROOT / "configs" / "logger_wandb.yaml").read_text())
    for logger in overlay["trainer"]["logger"]:
        logger["init_args"]["save_dir"] = str(tmp_path / "runs")
    (tmp_path / "wandb.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    main(["fit", "--config", str(tmp_path / "config.yaml"), "--config", str(tmp_path / "wandb.yaml")])
    import wandb

    wandb.finish()
    (run_file,) = (tmp_path / "runs" / "wandb").glob("offline-run-*/*.wandb")
    configured = configuration(run_file)
    assert configured["data"]["pool"]["path"] == config["data"]["pool"]["path"]
    assert configured["data"]["grid"] == config["data"]["grid"]
    assert configured["data"]["splits"]["calibration"] == 0.1, "defaults count as much as what a file says"
    assert configured["model"]["head"]["class_path"].endswith("CurveHead")
    assert configured["model"]["head"]["init_args"]["dropout"] == 0.3
    assert configured["accuracy_cost"]["policy"] is None
    assert configured["trainer"]["max_epochs"] == 4
    assert configured["seed_everything"] == 0
    assert "optimizer" in configured["model"]
    (hparams,) = (tmp_path / "runs").rglob("hparams.yaml")
    assert yaml.safe_load(hparams.read_text(encoding="utf-8")) == configured, "every logger has the same"
    values = history(run_file)
    assert len(values["val/area"]) == 4
    assert all(isinstance(value, int | float) for value in values["val/area"])  # JSON writes 0.0 as 0
    files = run_file.parent / "files"
    content = json.loads((files / values["val/policies/path"][-1]).read_text())
    assert content["columns"][:3] == ["policy", "setting", "accuracy"]
    assert {row[0] for row in content["data"]} >= {"Greedy", "FixedN", "ASC", "OwnOracle", "CurveHead + Utility"}
    picture = files / values["val/frontier/filenames"][-1][0]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    check_artifacts(run_file, config, tmp_path)
