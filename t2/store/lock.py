"""One labelling process a pool: a kernel lock that dies with its holder, and a heartbeat that others can read."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from filelock import FileLock, Timeout

from t2.errors import T2Error
from t2.store.files import write_text_atomically
from t2.store.schema import PoolPaths

FOREIGN_BEAT_SECONDS = 120.0
"""A heartbeat of another host younger than this means held: kernel locks do not cross every network file system."""


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of a labelling process."""

    host: str
    pid: int
    writer: str
    time: float
    """seconds since the epoch"""
    samples_done: int
    samples_total: int


def read_heartbeat(paths: PoolPaths) -> Heartbeat | None:
    """The last heartbeat, or None if there never was one (or it is unreadable)."""
    try:
        return Heartbeat(**json.loads(paths.heartbeat.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def beat(paths: PoolPaths, writer: str, samples_done: int, samples_total: int) -> None:
    """Write a heartbeat; only the holder of the lock does."""
    now = Heartbeat(socket.gethostname(), os.getpid(), writer, time.time(), samples_done, samples_total)
    write_text_atomically(paths.heartbeat, json.dumps(asdict(now)) + "\n")


def is_held(paths: PoolPaths) -> bool:
    """Whether some process is filling the pool right now."""
    other = read_heartbeat(paths)
    if other and other.host != socket.gethostname() and time.time() - other.time < FOREIGN_BEAT_SECONDS:
        return True
    if not paths.lock.exists():
        return False
    try:
        with FileLock(paths.lock, timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def hold(paths: PoolPaths) -> Iterator[None]:
    """Hold the pool while labelling.

    Raises:
        T2Error: another process holds it.
    """
    if is_held(paths):
        raise T2Error(f"Expected a free pool, got one held by {_holder(paths)}. Wait for it, or end it.")
    paths.root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(paths.lock, timeout=0):
            try:
                yield
            finally:
                paths.heartbeat.unlink(missing_ok=True)
    except Timeout as error:
        raise T2Error(f"Expected a free pool, got one held by {_holder(paths)}. Wait for it, or end it.") from error


def _holder(paths: PoolPaths) -> str:
    other = read_heartbeat(paths)
    return f"process {other.pid} on {other.host}" if other else f"an unknown process ({paths.lock})"
