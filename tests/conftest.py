"""Fixtures of all tests: the embedded LLM, and small pools of scripted answers. No network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from t2.comparison import contenders
from t2.comparison.slices import Slice

ROOT = Path(__file__).resolve().parents[1]
pytest.register_assert_rewrite("helpers")  # their asserts explain themselves too
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
    from helpers.seeds import shift_seeds

    shift_seeds(getattr(request, "param", 0))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No hub, no W&B server, also in child processes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparisons of two settings a policy, few orders and resamples, where a test is not about what they find."""
    for name in ("PRICES", "TOTALS", "SHIFTS", "THRESHOLDS", "DSC_THRESHOLDS", "WINDOWS", "SHARES"):
        values = getattr(contenders, name)
        monkeypatch.setattr(contenders, name, (values[0], values[len(values) // 2]))
    monkeypatch.setattr("t2.stats.resampled.NUM_RESAMPLES", 100)
    monkeypatch.setattr(Slice, "of", partial(Slice.of, num_orders=4))


@pytest.fixture
def tiny_arith() -> str:
    return str(ROOT / "assets" / "tiny-arith")


@pytest.fixture
def scripted_config(tmp_path: Path, tiny_arith: str) -> Callable[..., dict[str, Any]]:
    """A whole train.py config on questions with scripted answers, from sure to hopeless; nothing drawn yet.

    A run that takes up an unfinished pool needs another engine seed, or none.
    """

    def make(num_questions: int = 96, samples: int = 8, seconds_per_request: float = 0.0) -> dict[str, Any]:
        answers, lines = {}, []
        for index in range(num_questions):
            a, b = 10 + index, 3 + index % 7
            right = (index % 5) / 4
            script = {f"####{a + b}": right, f"####{a - b}": (1 - right) * 0.7, "": (1 - right) * 0.3}
            answers[f"q{index}"] = {text: p for text, p in script.items() if p > 0}
            lines.append(json.dumps({"id": f"q{index}", "question": f"{a}+{b}", "answer": str(a + b)}))
        questions = tmp_path / "questions.jsonl"
        questions.write_text("\n".join(lines), encoding="utf-8")
        sampler = {"answers": answers, "seconds_per_request": seconds_per_request, "samples_per_request": 4}
        return {
            "data": {
                "pool": {
                    "path": str(tmp_path / "pool"),
                    "model": tiny_arith,
                    "task": {"class_path": "JsonlTask", "init_args": {"path": str(questions)}},
                    "sampler": {"class_path": "ScriptedSampler", "init_args": sampler},
                    "samples_per_question": samples,
                    "engine_seed": 1,
                },
                "grid": [n for n in (1, 3, 5, 8) if n <= samples],
            },
            "model": {"layers": "all", "head": {"class_path": "CurveHead", "init_args": {"num_atoms": 8}}},
            "export": {"folder": str(tmp_path / "head")},
            "trainer": {
                "max_epochs": 4,
                "accelerator": "cpu",
                "enable_progress_bar": False,
                "logger": [
                    {
                        "class_path": "lightning.pytorch.loggers.CSVLogger",
                        "init_args": {"save_dir": str(tmp_path / "runs"), "name": None},
                    }
                ],
            },
        }

    return make
