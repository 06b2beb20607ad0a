"""configs/sweep.yaml: W&B finds nothing wrong with it, and `train.py` takes every run that it proposes."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sweeps import next_runs
from sweeps.config.schema import fill_validate_schema
from wandb.sdk.launch.sweeps import utils

from train import main

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "configs" / "sweep.yaml"


def value_at(config: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        config = config[key]
    return config


def command_of(sweep: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """What an agent starts, made as `wandb.wandb_agent` makes it."""
    words = utils.create_sweep_command_args({"args": run})
    words |= {"env": ["/usr/bin/env"], "interpreter": ["python"], "program": [sweep["program"]]}
    macros = [re.fullmatch(r"\$\{(\w+)\}", word) for word in utils.create_sweep_command(list(sweep["command"]))]
    return [
        part
        for word, macro in zip(sweep["command"], macros, strict=True)
        for part in (words[macro.group(1)] if macro else [word])
    ]


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_train_takes_what_the_sweep_proposes(
    method: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    random.seed(0)
    np.random.seed(0)  # what the package draws from
    sweep = utils.load_sweep_config(str(SWEEP))
    assert sweep is not None
    sweep["method"] = method
    assert fill_validate_schema(sweep)["parameters"].keys() == sweep["parameters"].keys()
    (run,) = next_runs(sweep, [], validate=True)
    assert run is not None
    assert run.config.keys() == sweep["parameters"].keys()
    command = command_of(sweep, run.config)
    assert command[:4] == ["/usr/bin/env", "python", "train.py", "fit"]
    assert not [word for word in command if "$" in word]
    with pytest.raises(SystemExit, match="0"):
        main([*command[3:], "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    for name, proposed in run.config.items():
        assert value_at(config, name) == pytest.approx(proposed["value"]), name
    assert config["trainer"]["logger"]["class_path"].endswith("WandbLogger")
    assert config["trainer"]["logger"]["init_args"]["save_dir"] == "runs/sweep"
    assert config["export"]["folder"] == ""
    assert config["calibration"]["mode"] == "skip"


def test_the_metric_is_what_checkpoints_monitor(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = yaml.safe_load(SWEEP.read_text(encoding="utf-8"))
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(ROOT / "configs" / "tiny-arith.yaml"), "--print_config"])
    checkpoint = yaml.safe_load(capsys.readouterr().out)["checkpoint"]
    assert (sweep["metric"]["name"], sweep["metric"]["goal"]) == (checkpoint["monitor"], "maximize")
    assert checkpoint["mode"] == "max"
