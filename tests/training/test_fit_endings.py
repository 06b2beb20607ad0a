"""`train.py` that is interrupted: one line, no process left, and the command that it names goes on."""

from __future__ import annotations

import csv
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from helpers.signals import end, go_on, start

from t2.comparison.predictions import load_predictions
from t2.pools.fill import fill
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.lock import is_held
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import JsonlTask
from train import main

Make = Callable[..., dict[str, Any]]
pytestmark = pytest.mark.slow


@pytest.fixture
def config(scripted_config: Make, tmp_path: Path) -> Make:
    """A config file, `config.yaml`, and its content."""

    def write(epochs: int = 4, full: bool = False, **arguments: Any) -> dict[str, Any]:
        content = scripted_config(num_questions=64, **arguments)
        content["trainer"]["max_epochs"] = epochs
        del content["trainer"]["enable_progress_bar"]
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        if full:
            pool = content["data"]["pool"]
            sampler = ScriptedSampler(pool["sampler"]["init_args"]["answers"])
            task = JsonlTask(pool["task"]["init_args"]["path"])
            fill(LabelJob(pool["path"], pool["model"], task, sampler, samples_per_question=8), SplitFractions())
        return content

    return write


def num_stored(folder: Path) -> int:
    reader = ShardReader(PoolPaths(folder / "pool"))
    reader.refresh()
    return sum(table.num_rows for table in reader.tables.values())


def last_line(err: str) -> str:
    """Lightning says on stderr what it runs on; an ending is one line after that, and nothing has a traceback."""
    assert "Traceback" not in err, err
    assert "Error" not in err, err
    assert "SIGTERM" not in err, err
    assert err.count("Interrupted") == 1, err
    line = err.splitlines()[-1]
    assert line.startswith("Interrupted: "), err
    return line


def test_fit_beside_its_labeller(config: Make, tmp_path: Path) -> None:
    """Lightning said that it attempts a graceful shutdown, and the labeller may have had a traceback of its own."""
    config(seconds_per_request=0.2)
    process = start(["python", "train.py", "fit", "--config", "config.yaml"], tmp_path)
    err = end(process, lambda: is_drawing(tmp_path), signal.SIGINT)
    assert last_line(err) == (
        f"Interrupted: {num_stored(tmp_path):,} samples are kept in {tmp_path / 'pool'}. "
        "Go on: python train.py fit --config config.yaml"
    )
    assert not is_held(PoolPaths(tmp_path / "pool"))
    log = (tmp_path / "pool" / "label.log").read_text()
    assert "Traceback" not in log


def is_drawing(folder: Path) -> bool:
    beat = folder / "pool" / "heartbeat.json"
    return beat.exists() and '"writer": ""' not in beat.read_text()


def test_fit_without_labeller_names_its_last_checkpoint(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM ended it with nothing but Lightning's word that a signal had come."""
    config(epochs=5000, full=True)
    process = start(["python", "train.py", "fit", "--config", "config.yaml"], tmp_path)
    last = tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt"
    line = last_line(end(process, last.exists, signal.SIGTERM))
    assert line == (
        f"Interrupted: {64 * 9} samples are kept in {tmp_path / 'pool'}. "
        "Go on: python train.py fit --config config.yaml --ckpt_path runs/version_0/checkpoints/last.ckpt"
    )
    monkeypatch.chdir(tmp_path)
    main([*go_on(line)[2:], "--trainer.max_time", "00:00:00:01"])
    with (tmp_path / "runs" / "version_1" / "metrics.csv").open() as file:
        assert int(next(csv.DictReader(file))["epoch"]) > 0


def test_cross_validation(config: Make, tmp_path: Path) -> None:
    """It was a traceback of joblib's, and one of each worker's."""
    config(full=True)
    words = [
        "python",
        "train.py",
        "cross_validate",
        "--config",
        "config.yaml",
        "--processes",
        "2",
        "--fold_seeds",
        "[0]",
    ]
    path = tmp_path / "pool" / "predictions.unfinished.safetensors"
    process = start([*words, "--epochs", "6"], tmp_path)

    def fits_on_processes() -> bool:
        workers = [child for child in psutil.Process(process.pid).children(True) if "loky" in " ".join(child.cmdline())]
        return path.exists() and len(workers) > 1

    line = last_line(end(process, fits_on_processes, signal.SIGINT))
    kept = load_predictions(path).by_seed[0]
    assert line.startswith(f"Interrupted: {len(kept)} fitted sources are kept in {path}. Go on: python train.py cross_")
    assert go_on(line) == [*words, "--epochs", "6"]
