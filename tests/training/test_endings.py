"""Ctrl-C and SIGTERM: one line on stderr, the exit code of the signal, no process left, and the named command goes on."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from t2.store.lock import is_held
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths

ROOT = Path(__file__).parents[2]
Make = Callable[..., dict[str, Any]]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def start(command: list[str], folder: Path, terminal: bool = False) -> subprocess.Popen[str]:
    """In a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's `&` ignores it
    )  # fmt: skip


def end(process: subprocess.Popen[str], signum: signal.Signals) -> tuple[str, str]:
    """Signal the whole group, as a terminal's Ctrl-C and a scheduler's SIGTERM do; nothing may be left."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    os.killpg(process.pid, signum)
    out, err = process.communicate(timeout=60)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert process.returncode == 128 + signum, err
    return out, err
