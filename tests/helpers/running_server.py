"""`t2 serve` as a user starts it, in a process group of its own, on a free port of this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from helpers.own_group import environment

START_SECONDS = 300.0
KEY = "the-key"
SMALL = ("--kv-cache-memory-bytes", str(2**27), "--max-num-seqs", "48", "--api-key", KEY)


@dataclass
class RunningServer:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    url: str
    """without a path"""
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def metric(self, name: str) -> float:
        """A sample by its name, with or without labels; without, the sum over all. 0 before the first one."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))

    def wait_until_idle(self, seconds: float = 30.0) -> bool:
        """Whether the engine has nothing to do any more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting"):
                return True
            time.sleep(0.1)
        return False


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def running_server(model: Path, head: Path, folder: Path, flags: Sequence[str] = ()) -> Iterator[RunningServer]:
    """Start one and wait until it answers; whatever happens, nothing of it outlives the context."""
    port, log = free_port(), folder / "server.log"
    command = [sys.executable, "-m", "t2.cli", "serve", str(model), "--head", str(head), "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *SMALL, *flags], env=environment(), stdout=output, stderr=output, start_new_session=True
        )
    server = RunningServer(process, f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(server.url):
            assert process.poll() is None, server.output()[-4000:]
            assert time.monotonic() < deadline, server.output()[-4000:]
            time.sleep(0.2)
        yield server
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
