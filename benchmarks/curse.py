"""`t2 curse` from start to end, against a process that only loads and grades the pool."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import ROOT, Figures, in_process

QUESTIONS, SAMPLES = 10_000, 64


def rows(repeats: int) -> list[str]:
    """The measured row."""
    r = in_process(measured, repeats)
    return [
        f"| `t2 curse`, {QUESTIONS:,} questions x {SAMPLES} samples, start to end of the command | "
        f"{r['seconds']:.1f} s, peak {r['peak_mib']:.0f} MiB (`t2 import` before: {r['import_seconds']:.1f} s) | "
        f"{r['ratio']:.1f} x a process that only loads and grades the pool ({r['load_seconds']:.1f} s) "
        "| at most 10 s |"
    ]


def measured(repeats: int) -> Figures:
    """`t2 curse` on an imported pool, from start to end, against a process that only loads and grades the pool."""
    with tempfile.TemporaryDirectory() as folder:
        file, pool = f"{folder}/samples.jsonl", f"{folder}/pool"
        _write_samples(Path(file))
        import_seconds, _ = _timed("-m", "t2.cli", "import", file, "--pool", pool)
        curse = ["-m", "t2.cli", "curse", pool, "--out", f"{folder}/curse"]
        load = "import sys, t2.pools.load as m; m.load_pool(sys.argv[1])"
        pairs = [(_timed(*curse), _timed("-c", load, pool)) for _ in range(repeats)]
    return {
        "seconds": statistics.median(curse[0] for curse, _ in pairs),
        "load_seconds": statistics.median(load[0] for _, load in pairs),
        "ratio": statistics.median(curse[0] / load[0] for curse, load in pairs),
        "import_seconds": import_seconds,
        "peak_mib": max(curse[1] for curse, _ in pairs),
    }


def _write_samples(path: Path) -> None:
    """A file for `t2 import`: 24 answers with shares from a Dirichlet(0.25), one of them right, 6% cut off."""
    import numpy as np

    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(24, 0.25), size=QUESTIONS)
    with path.open("w", encoding="utf-8") as file:
        for question, share in enumerate(shares):
            answers = rng.choice(24, size=SAMPLES, p=share).tolist()
            tokens = rng.integers(20, 200, SAMPLES).tolist()
            samples = [
                {"answer": answer, "tokens": spent, "finish_reason": "length" if spent >= 189 else "stop"}
                for answer, spent in zip(answers, tokens, strict=True)
            ]
            gold = int(rng.choice(24, p=share))
            row = {"id": question, "question": f"question {question}", "answer": gold, "samples": samples}
            file.write(json.dumps(row) + "\n")


def _timed(*command: str) -> tuple[float, float]:
    """Seconds of a process from its start to its end, and its largest resident memory in MiB."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # of this child alone; that of all children is the largest one's
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"Expected {' '.join(command)} to succeed, got exit code {process.returncode}.")
    return time.perf_counter() - started, usage.ru_maxrss / 1024
