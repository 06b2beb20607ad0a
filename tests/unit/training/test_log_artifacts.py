"""`LogArtifacts`: it keeps out of runs without W&B, and W&B's refusal takes nothing away from an export."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.budget_data import NoBudgetData
from lightning.pytorch.loggers import Logger, WandbLogger
from wandb.errors import CommError

from t2.training.export_head import ExportHead
from t2.training.log_artifacts import LogArtifacts

POOL = Path(__file__).resolve().parents[3] / "assets" / "pools" / "tiny-arith"


class Data(NoBudgetData):
    job = SimpleNamespace(path=str(POOL))


class Wandb(WandbLogger):
    """One whose run keeps what it is asked for, or refuses."""

    def __init__(self, error: Exception | None = None) -> None:
        self.used: list[Any] = []
        self.error = error

    @property
    def experiment(self) -> Any:
        return SimpleNamespace(offline=False, use_artifact=self.use)

    def use(self, artifact: Any, aliases: list[str]) -> None:
        if self.error:
            raise self.error
        self.used.append(artifact)


def end(callback: LogArtifacts, loggers: list[Logger], **flags: Any) -> None:
    trainer = SimpleNamespace(
        loggers=loggers,
        callbacks=[ExportHead(), callback],
        datamodule=Data(),
        **{"is_global_zero": True, "fast_dev_run": False, **flags},
    )
    callback.on_fit_end(trainer, None)  # type: ignore[arg-type]  # the parts that are used


@pytest.fixture(autouse=True)
def _staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))


def test_without_an_export_the_pool_is_an_input_all_the_same() -> None:
    logger = Wandb()
    end(LogArtifacts(), [logger])
    (pool,) = logger.used
    assert (pool.type, pool.name, pool.metadata["samples"]) == ("pool", "pool-tiny-arith", 600 * 33)
    assert "questions.parquet" not in pool.manifest.entries
    end(LogArtifacts(pool_samples=True), [logger])
    assert "questions.parquet" in logger.used[1].manifest.entries


@pytest.mark.parametrize(
    ("callback", "flags"),
    [
        (LogArtifacts(log=False), {}),
        (LogArtifacts(), {"fast_dev_run": True}),
        (LogArtifacts(), {"is_global_zero": False}),
    ],
)
def test_nothing_is_logged(callback: LogArtifacts, flags: dict[str, Any]) -> None:
    logger = Wandb()
    end(callback, [logger], **flags)
    assert logger.used == []


def test_without_wandb_no_pool_is_looked_at() -> None:
    callback = LogArtifacts()
    trainer = SimpleNamespace(loggers=[], is_global_zero=True, fast_dev_run=False)  # no datamodule
    callback.on_fit_end(trainer, None)  # type: ignore[arg-type]  # the parts that are used


def test_a_refusal_is_said_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    refusing, taking = Wandb(CommError("quota\nexceeded")), Wandb()
    end(LogArtifacts(), [refusing, taking])
    assert capsys.readouterr().err.startswith("warning: Expected W&B to take pool-tiny-arith, got: quota exceeded.")
    assert len(taking.used) == 1
