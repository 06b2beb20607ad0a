"""How a server ends: requests that still have rounds to draw end first, and a dead engine is no good end.

vLLM drains too, but knows only what runs: the next round of a question would come after the end. And when its engine
dies by itself, its server ends with the exit code of success, so that nobody would start it again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

SHUTDOWN_SECONDS = 60
"""How long what is running may take to end after SIGTERM."""


class Drain:
    """Counts what T2 is at work on, in the thread of the event loop; another thread may wait for it."""

    def __init__(self) -> None:
        self.is_draining = False
        """the server is shutting down: nothing new is begun"""
        self._running = 0
        self._idle = threading.Event()
        self._idle.set()
        self._later: set[asyncio.Task[None]] = set()
        """kept here, since the event loop itself holds no task"""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the work for one request."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Let work go on that its request does not wait for. It counts from now on, not from its first step."""
        self._begin()
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later_ended)

    def wait(self, seconds: float) -> bool:
        """Block until nothing runs, or the time is over; whether nothing runs. Not for the thread of the event loop."""
        return self._idle.wait(seconds)

    def before(self, shutdown: Callable[..., None]) -> Callable[..., None]:
        """A shutdown of the engine that lets all this end first, within its timeout.

        vLLM calls it in a thread of its own, so that the event loop goes on; from the main thread, where all is over,
        nothing is waited for.
        """

        def drained(timeout: float | None = None) -> None:
            began = monotonic()
            if timeout and threading.current_thread() is not threading.main_thread():
                self.is_draining = True
                self.wait(timeout)
                timeout = max(1.0, timeout - (monotonic() - began))
            shutdown(timeout=timeout)

        return drained

    def _begin(self) -> None:
        self._running += 1
        self._idle.clear()

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    def _later_ended(self, task: asyncio.Task[None]) -> None:
        self._later.discard(task)
        self._end()


def failing_when_dead(shutdown: Callable[..., None], is_dead: Callable[[], bool]) -> Callable[..., None]:
    """A shutdown of the engine that ends the server's process with an error if the engine was dead before.

    Args:
        shutdown: of the engine.
        is_dead: whether the engine has died; after a shutdown it has, too.
    """
    was_shut_down = False

    def shut_down(timeout: float | None = None) -> None:
        nonlocal was_shut_down
        has_died, was_shut_down = not was_shut_down and is_dead(), True
        shutdown(timeout=timeout)
        if has_died and threading.current_thread() is threading.main_thread():
            raise SystemExit("error: Expected a running engine, got one that has died; its last lines are above.")

    return shut_down
