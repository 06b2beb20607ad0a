"""Questions with scripted answers, and samplers that die, stop or keep count. Light: labelling processes import it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from t2.sampling import ScriptedSampler
from t2.spec import LabelJob, SampleRequest, SampleResult
from t2.store.writer import FLUSH_SECONDS
from t2.tasks import JsonlTask

TINY_ARITH = str(Path(__file__).resolve().parents[2] / "assets" / "tiny-arith")


def config_in(
    folder: Path, num_questions: int = 96, samples: int = 8, seconds_per_request: float = 0.0
) -> dict[str, Any]:
    """A whole train.py config on questions with scripted answers, from sure to hopeless; nothing is drawn yet.

    A run that takes up an unfinished pool needs another engine seed, or none.
    """
    answers, lines = {}, []
    for index in range(num_questions):
        a, b = 10 + index, 3 + index % 7
        right = (index % 5) / 4
        script = {f"####{a + b}": right, f"####{a - b}": (1 - right) * 0.7, "": (1 - right) * 0.3}
        answers[f"q{index}"] = {text: p for text, p in script.items() if p > 0}
        lines.append(json.dumps({"id": f"q{index}", "question": f"{a}+{b}", "answer": str(a + b)}))
    questions = folder / "questions.jsonl"
    questions.write_text("\n".join(lines), encoding="utf-8")
    sampler = {"answers": answers, "seconds_per_request": seconds_per_request, "samples_per_request": 4}
    logger = {"save_dir": str(folder / "runs"), "name": None}
    return {
        "data": {
            "pool": {
                "path": str(folder / "pool"),
                "model": TINY_ARITH,
                "task": {"class_path": "JsonlTask", "init_args": {"path": str(questions)}},
                "sampler": {"class_path": "ScriptedSampler", "init_args": sampler},
                "samples_per_question": samples,
                "engine_seed": 1,
            },
            "grid": [n for n in (1, 3, 5, 8) if n <= samples],
        },
        "model": {"layers": "all", "head": {"class_path": "CurveHead", "init_args": {"num_atoms": 8}}},
        "decision": {"mode": "configured"},  # quick, and what most tests are about; see test_decide.py
        "export": {"folder": str(folder / "head")},
        "trainer": {
            "max_epochs": 4,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger}],
        },
    }


def job_of(config: dict[str, Any], **changes: Any) -> LabelJob:
    """What `data.pool` of such a config says, with changes to its sampler."""
    pool = config["data"]["pool"]
    return LabelJob(
        path=pool["path"],
        model=pool["model"],
        task=JsonlTask(pool["task"]["init_args"]["path"]),
        sampler=ScriptedSampler(**{**pool["sampler"]["init_args"], **changes}),
        samples_per_question=pool["samples_per_question"],
        engine_seed=pool["engine_seed"],
    )


class DyingSampler(ScriptedSampler):
    """Fails in mid-stream, as an engine out of memory does."""

    def __init__(self, *args: Any, after: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.after, self.closed = after, 0

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        for index, result in enumerate(super().stream(requests)):
            if index == self.after:
                raise RuntimeError("the engine is out of memory")
            yield result

    def close(self) -> None:
        self.closed += 1
        super().close()


class CountedSampler(ScriptedSampler):
    """Writes down each sample that its labeller has taken from it, so that a test need not go by the clock."""

    def __init__(self, *args: Any, taken: Path, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.taken = taken

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        with self.taken.open("a", buffering=1) as file:
            for result in super().stream(requests):
                yield result
                file.write("x" * len(result.samples) + "\n")


class GatedSampler(ScriptedSampler):
    """Draws for `free` requests, sees to it that they are flushed, and goes on when `gate` is there.

    So that a test of what happens before a pool is complete does not depend on how fast the machine is.
    """

    def __init__(self, *args: Any, gate: Path, free: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gate, self.free = gate, free

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        for count, result in enumerate(super().stream(requests)):
            if count == self.free:
                time.sleep(FLUSH_SECONDS)
            while count > self.free and not self.gate.exists():
                time.sleep(0.05)
            yield result
