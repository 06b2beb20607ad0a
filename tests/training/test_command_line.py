"""`train.py`'s command line: what it says of packages that are missing, and where its own options stand."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from t2.training.missing_packages import package_of
from t2.training.trainer import T2Trainer
from train import main


def test_a_logger_whose_package_is_missing_is_one_line(
    scripted_config: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was a traceback of 40 lines."""
    config = scripted_config()
    config["trainer"]["logger"] = {"class_path": "lightning.pytorch.loggers.CometLogger"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", str(tmp_path / "config.yaml")])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert "Expected the package comet-ml, which a class of the configuration needs, got none" in line
    assert "pip install comet-ml" in line
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize(
    ("error", "package"),
    [
        (ModuleNotFoundError("No module named 'wandb.sdk'", name="wandb.sdk"), "wandb"),
        (ModuleNotFoundError("Requirement 'comet-ml>=3.44.4' not met. HINT: Try running `pip ...`"), "comet-ml"),
        (ModuleNotFoundError("no words for it", name="mlflow.tracking"), "mlflow"),
    ],
)
def test_the_missing_package_is_named(error: ModuleNotFoundError, package: str) -> None:
    assert package_of(error) == package


def test_the_options_of_cross_validate_are_named_before_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    """They stood at line 827 alone."""
    with pytest.raises(SystemExit, match="0"):
        main(["cross_validate", "--help"])
    first = " ".join(capsys.readouterr().out.splitlines()[:4])
    own = inspect.signature(T2Trainer.cross_validate).parameters.keys() - {"self", "model", "datamodule"}
    assert own >= {"epochs", "only_configured_head", "fold_seeds", "processes", "out"}
    assert [name for name in own if f"--{name}" not in first] == []
