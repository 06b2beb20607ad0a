"""Every shipped config is parsed by both programs that read it, and bad ones end with one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from t2.config import read_data
from train import main

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.yaml") if not path.name.startswith(("logger_", "sweep")))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_shipped_config_is_read_by_both_programs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = read_data(path).pool
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(path), "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["pool"]["path"] == job.path
    assert printed["data"]["pool"]["samples_per_question"] == job.samples_per_question


def test_readme_config_is_read_by_both_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "readme.yaml"
    path.write_text(block, encoding="utf-8")
    assert read_data(path).pool.samples_per_question == 64
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--config", str(path), "--print_config"])
    assert "PriorHead" in capsys.readouterr().out


def mutated(config: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    *parents, last = dotted.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("data.gird", [1, 3], "gird"),
        ("data.eps", "much", "eps"),
        ("model.head", {"class_path": "NoSuchHead"}, "NoSuchHead"),
        ("data.grid", [1, 3, 99], "Expected budgets up to the pool's 8 samples a question, got 99"),
        ("data.grid", [3, 5], "starts at 1"),
        ("data.pool.model", "no/such-model", "Expected a model folder or hub id, got 'no/such-model'"),
        ("data.splits", {"train": 0.9, "validation": 0.9, "calibration": 0.0, "test": 0.0}, "sum to 1"),
        ("model.layers", [1, 9], "Expected distinct layers between 1 and 4"),
        (
            "model.head",
            {"class_path": "OrdinalHead"},
            "Expected a head that predicts a curve for policy Utility, got OrdinalHead",
        ),
        ("data.pool.task.init_args.path", "nowhere.jsonl", "Expected a file of questions, got nowhere.jsonl"),
    ],
)
def test_bad_config_ends_with_one_line(
    key: str,
    value: Any,
    message: str,
    scripted_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(mutated(scripted_config(num_questions=64), key, value)), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", str(path)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
