"""Settings of the trainer: whatever they are, `fit` gives a head or says in a line why not, and replaces no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from jsonargparse import dict_to_namespace
from lightning.fabric.connector import _PRECISION_INPUT_STR
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file
from torch import Tensor

from t2.checkpoint import Checkpoint
from t2.errors import T2Error
from t2.heads.base import Head, Targets
from t2.training.cli import TRUE_HALF
from t2.training.config_checks import check_that_a_head_comes_of_it
from t2.training.logged_config import config_name
from train import main

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def fit(labelled_config: Make, tmp_path: Path) -> Callable[..., Path]:
    """Runs `fit` with further options on a pool that is labelled; gives the folder of the head."""
    config = labelled_config()
    config["trainer"]["max_epochs"] = 2
    path = tmp_path / "settings.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def run(*options: str, head: str = "head") -> Path:
        main(["fit", "--config", str(path), "--export.folder", str(tmp_path / head), *options])
        return tmp_path / head

    return run


def test_a_run_that_begins_together_with_another_leaves_its_folder_alone(
    fit: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both had seen that version_0 is free: one wrote its checkpoint over the other's, and exported what it found."""
    runs, count = tmp_path / "together", CSVLogger._get_next_version

    def then_another_begins(logger: CSVLogger) -> int:
        version = count(logger)
        (runs / "version_0").mkdir(parents=True, exist_ok=True)
        return version

    monkeypatch.setattr(CSVLogger, "_get_next_version", then_another_begins)
    fit("--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(runs), "--trainer.logger.name", "null")
    assert not list((runs / "version_0").iterdir())
    assert (runs / "version_1" / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--trainer.max_steps", "1", "--data.batch_size", "16"],  # the first epoch has four
        ["--trainer.limit_val_batches", "0"],
        ["--trainer.check_val_every_n_epoch", "5"],
    ],
    ids=lambda options: options[0],
)
def test_without_a_validated_epoch_the_last_weights_are_exported(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """It ended with exit code 0, without a head and without a word; the verdict spoke of a choice that nobody made."""
    folder = fit(*options)
    out = capsys.readouterr().out
    assert "No epoch was validated by `val/area`" in out
    assert "Verdict on the 15 validation questions: CurveHead" in out
    assert "on 15 validation questions; no checkpoint was chosen, it has the last weights:" in out
    (last,) = tmp_path.glob("runs/*/checkpoints/last.ckpt")
    weights, expected = load_file(folder / "model.safetensors"), Checkpoint.read(last).head().state_dict()
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("checkpoint.save_top_k", "0", "`checkpoint.save_top_k: 0`. Leave it out"),
        ("trainer.barebones", "true", "settings of `trainer` that go together"),
    ],
)
def test_settings_that_leave_no_head_are_one_line(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, words: str
) -> None:
    """The first ended with exit code 0, the second in a traceback."""
    with pytest.raises(SystemExit) as caught:
        fit(f"--{option}", value)
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: Expected ")
    assert words in line
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("checkpoint.save_top_k", 0),
        ("trainer.enable_checkpointing", False),
        ("trainer.max_epochs", 0),
        ("trainer.max_steps", 0),
        ("trainer.limit_train_batches", 0.0),
    ],
)
def test_settings_that_leave_no_head_are_refused_before_anything_is_loaded(setting: str, value: object) -> None:
    """`fit` ended with exit code 0."""
    nothing_set = {"checkpoint": {"save_top_k": 1}, "trainer": {"max_epochs": None, "max_steps": -1}}
    config = dict_to_namespace(nothing_set)
    check_that_a_head_comes_of_it(config)
    config[setting] = value
    with pytest.raises(T2Error, match=f"Expected .*{setting}.*{value}"):
        check_that_a_head_comes_of_it(config)


def test_an_export_into_the_folder_of_the_llm_is_refused(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It replaced the LLM's config, card and weights by the head's."""
    llm = tmp_path / "llm"
    llm.mkdir()
    (llm / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(SystemExit):
        fit(head="llm")
    assert "whose config.json is of something else" in capsys.readouterr().err
    assert [path.name for path in llm.iterdir()] == ["config.json"]


def test_a_dry_run_says_that_it_exports_nothing(
    fit: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not fit("--trainer.fast_dev_run", "true").exists()
    assert "No head was exported: `fast_dev_run` keeps none." in capsys.readouterr().out
    assert not list(tmp_path.glob("**/*.ckpt"))


def test_another_monitored_value_gives_a_head_too(fit: Callable[..., Path]) -> None:
    """The best checkpoint was looked for by the name `val/area`, so there was none."""
    assert (fit("--checkpoint.monitor", "val/loss", "--checkpoint.mode", "min") / "config.json").exists()


def test_half_precision_trains_the_head_in_float32(
    fit: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Features were float32 and weights 16 bits: a traceback. A head in 16 bits would round its targets, too."""
    full = load_file(fit(head="full") / "model.safetensors")
    half = load_file(fit("--trainer.precision", "bf16-true", head="half") / "model.safetensors")
    assert "`trainer.precision: bf16-true` leaves the head in float32" in capsys.readouterr().out
    assert all(torch.equal(half[name], full[name]) for name in full)
    assert set(TRUE_HALF) == {name for name in get_args(_PRECISION_INPUT_STR) if name.endswith("16-true")}


def test_mixed_precision_trains(fit: Callable[..., Path]) -> None:
    weights = load_file(fit("--trainer.precision", "bf16-mixed", "--model.head", "PriorHead") / "model.safetensors")
    floats = [tensor for tensor in weights.values() if tensor.is_floating_point()]
    assert {tensor.dtype for tensor in floats} == {torch.float32, torch.float64}
    assert all(bool(tensor.isfinite().all()) for tensor in floats)


@pytest.mark.parametrize("head", ["CurveHead", "PriorHead"])
def test_losses_are_in_float32_at_mixed_precision(
    fit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    """On a GPU, `CurveHead` ended in a traceback: autocast refuses a cross-entropy of probabilities there."""
    seen = set[tuple[torch.dtype, bool]]()
    loss = Head.loss

    def watched(self: Head, raw_BO: Tensor, targets: Targets) -> Tensor:
        seen.add((raw_BO.dtype, torch.is_autocast_enabled("cpu")))
        return loss(self, raw_BO, targets)

    monkeypatch.setattr(Head, "loss", watched)
    fit("--trainer.precision", "bf16-mixed", "--model.head", head)
    assert seen == {(torch.float32, False)}


@pytest.mark.parametrize("logger", [False, "CSVLogger"])
def test_the_config_that_was_read_is_not_replaced(
    labelled_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: bool | str
) -> None:
    """Without a folder of the run's own the parsed configuration, 130 lines of it, was written over the user's file."""
    config = labelled_config()
    # In the working folder, as W&B has it too.
    here = {"class_path": logger, "init_args": {"save_dir": ".", "name": "", "version": ""}}
    config["trainer"] |= {"max_epochs": 1, "logger": [here] if logger else False}
    own, parsed = tmp_path / "config.yaml", tmp_path / "config-2.yaml"
    own.write_text("# What I have found out, and would not want to lose.\n" + yaml.safe_dump(config), encoding="utf-8")
    before = own.read_bytes()
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", "config.yaml"])
    assert own.read_bytes() == before
    assert parsed.exists() == bool(logger)
    assert not logger or yaml.safe_load(parsed.read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 1


def test_a_configuration_is_kept_once_and_never_over_another(tmp_path: Path) -> None:
    assert config_name(str(tmp_path), "a: 1\n") == "config.yaml"
    (tmp_path / "config.yaml").write_text("a: 1 # mine\n")
    assert config_name(str(tmp_path), "a: 1\n") == "config-2.yaml"
    (tmp_path / "config-2.yaml").write_text("a: 1\n")
    assert config_name(str(tmp_path), "a: 1\n") == "config-2.yaml"
    assert config_name(str(tmp_path), "a: 2\n") == "config-3.yaml"
    assert config_name(str(tmp_path / "new"), "a: 2\n") == "config.yaml"
