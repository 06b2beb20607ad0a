"""A command in a process group of its own: nothing of it outlives the test, whatever goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 540.0
"""Within a test's ten minutes: engines start slowly where others want the cores too."""


def environment() -> dict[str, str]:
    """That of a process which imports this checkout and asks no hub."""
    return os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def run_alone(command: Sequence[str], folder: Path) -> tuple[str, list[int]]:
    """Run a command that must end well.

    Returns:
        Its output, and the process ids of its group that are still there when it has ended.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, output[-3000:]
        return output, [other for other in psutil.pids() if _group(other) == process.pid]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None
