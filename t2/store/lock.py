"""One labelling process a pool: a kernel lock that dies with its holder, and a heartbeat that others can read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from filelock import FileLock, Timeout

from t2.errors import T2Error
from t2.store.files import write_text_atomically
from t2.store.schema import PoolPaths

LOCK_WAIT_SECONDS = 2.0
"""How long a labeller waits for those who only look."""
BEAT_SECONDS = 15.0
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


class Heart:
    """Beats in a thread of its own while a pool is held: loading a large model takes longer than a beat may be old."""

    def __init__(self, paths: PoolPaths) -> None:
        self.paths, self.writer = paths, ""
        self.samples_done = self.samples_total = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._beat()
        self._thread.start()

    def begin(self, writer: str, samples_total: int) -> None:
        self.writer, self.samples_total = writer, samples_total
        self._beat()

    def stop(self) -> None:
        """End the thread and remove the heartbeat."""
        self._stop.set()
        self._thread.join()
        self.paths.heartbeat.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        with contextlib.suppress(OSError):  # a full disk is the writer's to report
            beat(self.paths, self.writer, self.samples_done, self.samples_total)


def is_held(paths: PoolPaths) -> bool:
    """Whether some process is filling the pool right now. Looking takes no lock that a starting labeller would miss."""
    if _beats_elsewhere(paths):
        return True
    try:
        handle = os.open(paths.lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two who look do not see each other
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(handle)


@contextmanager
def hold(paths: PoolPaths) -> Iterator[Heart]:
    """Hold the pool while labelling.

    Raises:
        T2Error: another process holds it.
    """
    if _beats_elsewhere(paths):
        raise _held(paths)
    _make_folder(paths)
    lock = FileLock(paths.lock)
    try:
        lock.acquire(timeout=LOCK_WAIT_SECONDS)
    except Timeout as error:
        raise _held(paths) from error
    heart = Heart(paths)
    heart.start()
    try:
        yield heart
    finally:
        heart.stop()
        lock.release()


@contextmanager
def adding_questions(paths: PoolPaths) -> Iterator[None]:
    """Held while questions are read, merged and written: a labeller and a training may both add some."""
    _make_folder(paths)
    with FileLock(paths.root / "questions.lock"):
        yield


def _make_folder(paths: PoolPaths) -> None:
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise T2Error(f"Expected a folder as `data.pool.path`, got the file {paths.root}. Name another.") from error


def _held(paths: PoolPaths) -> T2Error:
    other = read_heartbeat(paths)
    holder = f"process {other.pid} on {other.host}" if other else f"an unknown process ({paths.lock})"
    return T2Error(f"Expected a free pool, got one held by {holder}. Wait for it, or end it.")


def _beats_elsewhere(paths: PoolPaths) -> bool:
    other = read_heartbeat(paths)
    return bool(other and other.host != socket.gethostname() and time.time() - other.time < FOREIGN_BEAT_SECONDS)
