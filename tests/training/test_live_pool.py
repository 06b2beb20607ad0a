"""A run that waits for labels says how far the labeller is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from data_modules import live_pool
from data_modules.live_pool import FillingPool
from t2.pools.fill import fill
from t2.pools.prepare import prepare
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.lock import beat, hold
from t2.tasks import JsonlTask


@pytest.mark.parametrize("in_training", [False, True])
def test_a_run_that_waits_shows_the_labellers_count(
    scripted_config: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    in_training: bool,
) -> None:
    """A quickstart whose output went to a file was silent for ten minutes; in training the epochs' lines say it."""
    for name in ("FIRST_SECONDS", "EVERY_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(f"t2.progress.{name}", 0.02)
    pool = scripted_config(num_questions=20)["data"]["pool"]
    task = JsonlTask(pool["task"]["init_args"]["path"])
    sampler = ScriptedSampler(pool["sampler"]["init_args"]["answers"])
    job = LabelJob(pool["path"], pool["model"], task, sampler, samples_per_question=8)
    filling = FillingPool(job, prepare(job).only_wanted(), SplitFractions(), stall_timeout_seconds=60.0)
    assert filling.drawn == ""
    looks: list[str] = []
    labeller = ExitStack()

    def stand_in(_: FillingPool) -> None:
        """A labeller that has drawn 45 samples at the first look, and is done at the third."""
        looks.append(filling.drawn)
        if len(looks) == 1:
            heart = labeller.enter_context(hold(filling.prepared.paths))
            heart.samples_done = 45
            heart.begin("writer", 180)
        elif len(looks) == 3:
            labeller.close()
            fill(job, SplitFractions())

    monkeypatch.setattr(FillingPool, "_look_after_labeller", stand_in)
    monkeypatch.setattr(live_pool, "POLL_SECONDS", 0.2)
    filling.wait_for(range(20), in_training=in_training)
    assert looks == ["", "labelling 45 of 180 samples", "labelling 45 of 180 samples"]
    lines = [line for line in capsys.readouterr().out.splitlines() if "45 of 180" in line]
    assert bool(lines) != in_training
    assert all(line.startswith("labelling: 45 of 180 samples, ") for line in lines)
    assert all(line.endswith(", 0 of the 20 questions that are waited for") for line in lines)
    assert filling.kept == f"180 samples are kept in {Path(pool['path'])}"
    beat(filling.prepared.paths, "writer", 45, 180)  # what a labeller that was killed leaves behind
    assert filling.drawn == ""
