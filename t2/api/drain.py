"""How a server ends: requests that still have rounds to draw end first, and a dead engine is no good end.

vLLM drains too, but knows only what runs: the next round of a question would come after the end. And when its engine
dies by itself, its server ends with the exit code of success, so that nobody would start it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic


class Drain:
    """Counts the requests that T2 is answering, in the thread of the event loop; another thread may wait for them."""

    def __init__(self) -> None:
        self.is_draining = False
        """the server is shutting down: nothing new is begun"""
        self._running = 0
        self._idle = threading.Event()
        self._idle.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around the work for one request."""
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    def before(self, shutdown: Callable[..., None]) -> Callable[..., None]:
        """A shutdown of the engine that lets these requests end first, within its timeout.

        vLLM calls it in a thread of its own, so that the event loop goes on; from the main thread, where all is over,
        nothing is waited for.
        """

        def drained(timeout: float | None = None) -> None:
            began = monotonic()
            if timeout and threading.current_thread() is not threading.main_thread():
                self.is_draining = True
                self._idle.wait(timeout)
                timeout = max(1.0, timeout - (monotonic() - began))
            shutdown(timeout=timeout)

        return drained


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
