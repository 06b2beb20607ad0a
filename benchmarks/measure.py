"""What every benchmark needs: a process of its own, medians over runs in turn, a clock, the name of the CPU."""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FOLDER = str(Path(__file__).resolve().parent)
ROOT = Path(__file__).resolve().parents[1]
TINY = str(ROOT / "assets" / "tiny-arith")
Figures = dict[str, Any]


def in_process(measured: Callable[..., Figures], *arguments: int | str) -> Figures:
    """Run a function of a benchmark in a fresh process and return its figures; arguments are written as Python."""
    # Of a benchmark that is run by itself the module is called `__main__`, under which nobody else can import it.
    module, name = Path(measured.__code__.co_filename).stem, measured.__name__
    run = f"{module}.{name}(*{arguments!r})"
    call = f"import json, sys; sys.path.insert(0, {FOLDER!r}); import {module}; print(json.dumps({run}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{module}.{name} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    result: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def in_turn(
    ours: Callable[..., Figures], bare: Callable[..., Figures], repeats: int, arguments: Sequence[int | str] = ()
) -> list[tuple[Figures, Figures]]:
    """Both, one after the other, so many times; the second also gets what the first has `told`, if anything."""
    pairs = []
    for _ in range(repeats):
        figures = in_process(ours, *arguments)
        pairs.append((figures, in_process(bare, *arguments, *figures.get("told", ()))))
    return pairs


def medians(measured: Callable[..., Figures], repeats: int, arguments: Sequence[int | str] = ()) -> Figures:
    """The median of each figure over so many processes, and the largest of those that are differences or checks.

    The latter are named `worst_...`.
    """
    runs = [in_process(measured, *arguments) for _ in range(repeats)]
    return {name: (max if name.startswith("worst_") else statistics.median)(r[name] for r in runs) for name in runs[0]}


def seconds(device: str = "cpu") -> float:
    """Of a clock, when all that a GPU was asked for so far is done."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak(device: str) -> None:
    """From now on `peak_mib` of a GPU counts anew; that of a process on a CPU has no beginning but its own."""
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_mib(device: str = "cpu") -> float:
    """Largest resident memory of this process; on a GPU the most that its tensors had together."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_name() -> str:
    """CPU model as the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown CPU"
