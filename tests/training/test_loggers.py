"""TensorBoard and MLflow: a fit with both gives each configuration, scalars, table and picture where it shows them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train import main

PNG = b"\x89PNG\r\n\x1a\n"


def test_tensorboard_and_mlflow_hold_scalars_table_and_picture(
    labelled_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow got neither table nor picture, TensorBoard had them only as files."""
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder is enough here; people have a server
    tracking = f"file:{tmp_path / 'mlruns'}"
    config = labelled_config()
    config["trainer"]["max_epochs"] = 2
    config["trainer"]["logger"] = [
        {
            "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
            "init_args": {"save_dir": str(tmp_path / "runs"), "name": ""},
        },
        {
            "class_path": "lightning.pytorch.loggers.MLFlowLogger",
            "init_args": {"experiment_name": "budgets", "tracking_uri": tracking},
        },
    ]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(tmp_path / "config.yaml")])

    board = EventAccumulator(str(tmp_path / "runs" / "version_0"))
    board.Reload()
    tags = board.Tags()
    assert {"val/area", "val/accuracy", "val/generated_tokens", "train/loss"} <= set(tags["scalars"])
    assert "val/frontier" in tags["images"]
    assert board.Images("val/frontier")[0].encoded_image_string.startswith(PNG)
    (text,) = board.Tensors("val/policies/text_summary")
    shown = text.tensor_proto.string_val[0].decode()
    assert "| policy | setting | accuracy |" in shown
    assert "| CurveHead + Utility |" in shown

    (tmp_path / "downloaded").mkdir()
    client = MlflowClient(tracking)
    (run,) = client.search_runs([client.get_experiment_by_name("budgets").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["data/pool/path"] == config["data"]["pool"]["path"]
    assert run.data.params["model/head/init_args/dropout"] == "0.3", "defaults count as much as what a file says"
    whole = Path(client.download_artifacts(run.info.run_id, "config.yaml", str(tmp_path / "downloaded")))
    answers = yaml.safe_load(whole.read_text(encoding="utf-8"))["data"]["pool"]["sampler"]["init_args"]["answers"]
    assert answers == config["data"]["pool"]["sampler"]["init_args"]["answers"], "the parameter is cut at 250 letters"
    history = client.get_metric_history(run.info.run_id, "val/area")
    assert len(history) == 2
    assert [point.value for point in history] == pytest.approx([event.value for event in board.Scalars("val/area")])
    picture = Path(client.download_artifacts(run.info.run_id, "frontier.png", str(tmp_path / "downloaded")))
    assert picture.read_bytes().startswith(PNG)
    table = Path(client.download_artifacts(run.info.run_id, "frontier.csv", str(tmp_path / "downloaded")))
    with table.open(newline="", encoding="utf-8") as file:
        policies = {row["policy"] for row in csv.DictReader(file)}
    assert {"Greedy", "FixedN", "OwnOracle", "CurveHead + Utility"} <= policies
