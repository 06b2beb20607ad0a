"""Fixtures of all tests: the embedded LLM, and small pools of scripted answers. No network."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from t2.comparison.sweeps import Sweeps

ROOT = Path(__file__).resolve().parents[1]
pytest.register_assert_rewrite("helpers")  # their asserts explain themselves too
torch.set_num_threads(1)  # small tensors: threads only get in each other's way


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No hub, no W&B server, also in child processes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """`t2 report` and `t2 evaluate` try little and repeat little, where a test is not about what they find."""
    from t2.comparison import command as comparison
    from t2.judging import command as judging

    small = Sweeps.small()
    monkeypatch.setattr(comparison, "report_of", partial(comparison.report_of, sweeps=small))
    monkeypatch.setattr(judging, "evaluate_head", partial(judging.evaluate_head, sweeps=small))


@pytest.fixture
def tiny_arith() -> str:
    return str(ROOT / "assets" / "tiny-arith")


@pytest.fixture
def scripted_config(tmp_path: Path, tiny_arith: str) -> Callable[..., dict[str, Any]]:
    """A whole train.py config on questions with scripted answers, from sure to hopeless; nothing drawn yet."""

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
