"""Runs that begin at the same time have folders of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from t2.training.run_folder import claim_folder

LOGGERS = [CSVLogger, TensorBoardLogger]


@pytest.mark.parametrize("kind", LOGGERS)
def test_two_that_have_seen_the_same_folders_take_two(kind: type[CSVLogger], tmp_path: Path) -> None:
    (tmp_path / "version_0").mkdir()
    one, other = kind(tmp_path, name=None), kind(tmp_path, name=None)
    for logger in (one, other):
        claim_folder(logger)
        claim_folder(logger)  # once is enough
    assert [Path(logger.log_dir).name for logger in (one, other)] == ["version_1", "version_2"]


@pytest.mark.parametrize("kind", LOGGERS)
def test_many_at_once(kind: type[CSVLogger], tmp_path: Path) -> None:
    loggers = [kind(tmp_path / "runs", name="heads") for _ in range(24)]
    with ThreadPoolExecutor(len(loggers)) as threads:
        list(threads.map(claim_folder, loggers))
    folders = {logger.log_dir for logger in loggers}
    assert folders == {str(tmp_path / "runs" / "heads" / f"version_{number}") for number in range(24)}
    assert all(Path(folder).is_dir() for folder in folders)


def test_a_version_that_is_named_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    logger = CSVLogger(tmp_path, name=None, version="mine")
    claim_folder(logger)
    assert logger.log_dir == str(tmp_path / "mine")


def test_files_in_the_way_are_left_to_lightning(tmp_path: Path) -> None:
    """It counts folders only, so that it would name the same one for ever."""
    (tmp_path / "version_0").touch()
    claim_folder(CSVLogger(tmp_path, name=None))
    claim_folder(CSVLogger(tmp_path / "version_0", name=None))
    assert [path.name for path in tmp_path.iterdir()] == ["version_0"]


def test_a_store_elsewhere_is_not_looked_at() -> None:
    logger = CSVLogger("memory://runs", name=None)
    claim_folder(logger)
    assert not Path("memory:").exists()
