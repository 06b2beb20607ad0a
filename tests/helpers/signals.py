"""Commands in processes of their own that are told to end, as a terminal's Ctrl-C and a scheduler's SIGTERM do it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handlers_come_back() -> Iterator[None]:
    """Those of the test run, after a command that was interrupted inside it: it keeps its own to its end."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    """`t2 ...` or `python train.py ...`, output piped, in a process group of its own."""
    command = [
        sys.executable,
        *(["-m", "t2.cli", *words[1:]] if words[0] == "t2" else [str(ROOT / words[1]), *words[2:]]),
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where pytest has it so
    )


def end(process: subprocess.Popen[str], when: Callable[[], bool], signum: signal.Signals, seconds: float = 120) -> str:
    """Signal the whole group `when` it is time; gives what came on stderr. No process may be left.

    A second signal follows at once, as from someone impatient: it changes nothing.
    """
    deadline = time.monotonic() + seconds
    while not when():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for _ in range(2):
        os.killpg(process.pid, signum)
        time.sleep(0.1)
    _, err = process.communicate(timeout=60)
    assert psutil.wait_procs(family[1:], timeout=20)[1] == []
    assert process.returncode == 128 + signum, err
    return err


def go_on(line: str) -> list[str]:
    """The command that the last line names."""
    return shlex.split(line.strip().rsplit(": ", 1)[1])
