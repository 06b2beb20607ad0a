"""Runs that begin at the same time have folders of their own."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from t2.training.run_folder import give_folder_of_its_own

Kind = type[CSVLogger | TensorBoardLogger]
LOGGERS = [CSVLogger, TensorBoardLogger]


def logger_of(kind: Kind, folder: Path | str, **named: str) -> CSVLogger | TensorBoardLogger:
    settings: Any = {"name": None, **named}
    logger = kind(folder, **settings)
    give_folder_of_its_own(logger)
    return logger


@pytest.mark.parametrize("kind", LOGGERS)
def test_two_that_have_seen_the_same_folders_take_two(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that is old, as of a network file system, shows neither the other's folder nor one's own."""
    monkeypatch.setattr(kind, "_get_next_version", lambda _: 0)
    names = [Path(logger_of(kind, tmp_path).log_dir).name for _ in range(3)]
    assert names == ["version_0", "version_1", "version_2"]


@pytest.mark.parametrize("kind", LOGGERS)
def test_many_at_once(kind: Kind, tmp_path: Path) -> None:
    loggers = [logger_of(kind, tmp_path / "runs", name="heads") for _ in range(24)]
    with ThreadPoolExecutor(len(loggers)) as threads:
        folders = set(threads.map(lambda logger: logger.log_dir, loggers))
    assert folders == {str(tmp_path / "runs" / "heads" / f"version_{number}") for number in range(24)}
    assert all(Path(folder).is_dir() for folder in folders)


def test_nothing_is_made_before_the_run_is_known(tmp_path: Path) -> None:
    """A mistake in the data, or a command that trains without Lightning's loop, leaves no folder behind."""
    logger = logger_of(CSVLogger, tmp_path)
    assert not list(tmp_path.iterdir())
    assert logger.log_dir == str(tmp_path / "version_0") == logger.log_dir
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]


def test_a_version_that_is_named_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert logger_of(CSVLogger, tmp_path, version="mine").log_dir == str(tmp_path / "mine")


def test_files_in_the_way_are_passed_by(tmp_path: Path) -> None:
    """Lightning counts folders alone. Below a file there can be none: it says so itself when it writes."""
    (tmp_path / "version_0").touch()
    assert logger_of(CSVLogger, tmp_path).version == 1
    assert logger_of(CSVLogger, tmp_path / "version_0").version == 0


def test_a_tensorboard_folder_may_name_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning counts below the name as it is written, finds nothing, and begins anew in the same folder each time."""
    monkeypatch.setenv("RUNS", str(tmp_path))
    folders = [logger_of(TensorBoardLogger, "$RUNS").log_dir for _ in range(2)]
    assert folders == [str(tmp_path / "version_0"), str(tmp_path / "version_1")]


def test_other_ranks_and_stores_elsewhere_make_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert logger_of(CSVLogger, "memory://runs").version == 0
    assert not Path("memory:").exists()
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert logger_of(CSVLogger, tmp_path).version == 0
    assert not list(tmp_path.iterdir())


def test_a_logger_goes_to_other_processes(tmp_path: Path) -> None:
    assert pickle.loads(pickle.dumps(logger_of(CSVLogger, tmp_path))).version == 0
    assert logger_of(CSVLogger, tmp_path).version == 1
