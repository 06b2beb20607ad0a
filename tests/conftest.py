"""Fixtures of all tests: the embedded LLM, and small pools of scripted answers. No network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from t2.splits import SplitFractions

pytest.register_assert_rewrite("helpers")  # their asserts explain themselves too
from helpers.scripted import TINY_ARITH, config_in, job_of  # noqa: E402  # after the line above
from helpers.seeds import shift_seeds  # noqa: E402
from helpers.sweeps import small_sweeps  # noqa: E402

# No hub, no W&B server, no telemetry, here and in child processes; all are read when their packages are imported.
os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
torch.set_num_threads(1)  # small tensors: threads only get in each other's way

# The same examples in every run: a red `make test` is about the change, not about what Hypothesis came upon today. New
# examples are searched with `pytest --hypothesis-profile=search`. How long an example takes is a matter of the machine.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed-shifts", type=int, default=1, help="seeds that each test marked `statistical` is tried on")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    shifts = metafunc.config.getoption("seed_shifts")
    if shifts > 1 and metafunc.definition.get_closest_marker("statistical"):
        metafunc.parametrize("_seed_shift", range(shifts), indirect=True)


@pytest.fixture(autouse=True)
def _seed_shift(request: pytest.FixtureRequest) -> None:
    """Moves the seeds of a statistical test, see `helpers.seeds`."""
    shift_seeds(getattr(request, "param", 0))


@pytest.fixture
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`t2 report` and `t2 evaluate` try little and repeat little, where a test is not about what they find."""
    from t2.comparison import command as comparison
    from t2.judging import command as judging

    small = small_sweeps()
    monkeypatch.setattr(comparison, "report_of", partial(comparison.report_of, sweeps=small))
    monkeypatch.setattr(judging, "evaluate_head", partial(judging.evaluate_head, sweeps=small))


@pytest.fixture
def tiny_arith() -> str:
    return TINY_ARITH


@pytest.fixture
def scripted_config(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Makes `config_in` the folder of the test; its pool is not labelled."""
    return partial(config_in, tmp_path)


@pytest.fixture(scope="session")
def labelled_pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes such a pool with all its samples, and with the features of all layers, once a session."""

    @cache
    def make(num_questions: int, samples: int) -> Path:
        from data_modules import BudgetDataModule
        from t2.pools.fill import fill

        job = job_of(config_in(tmp_path_factory.mktemp("labelled"), num_questions, samples))
        fill(job, SplitFractions())
        data = BudgetDataModule(job, layers="all", grid=[1, 3], max_epochs=1)
        data.setup("validate")
        data.teardown("validate")
        return Path(job.path)

    return make


@pytest.fixture
def labelled_config(tmp_path: Path, labelled_pool: Callable[..., Path]) -> Callable[..., dict[str, Any]]:
    """The same config with a copy of the labelled pool: for tests that are not about labelling or features."""

    def make(num_questions: int = 96, samples: int = 8) -> dict[str, Any]:
        shutil.copytree(labelled_pool(num_questions, samples), tmp_path / "pool")
        return config_in(tmp_path, num_questions, samples)

    return make
