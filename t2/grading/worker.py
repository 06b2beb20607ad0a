"""A process for work that may never end, which is then killed. It imports nothing of the user's program."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from loky import ProcessPoolExecutor

MEMORY_BYTES = 4 * 2**30
"""Address space of the process: a tower of powers takes what it gets."""
_START_SECONDS = 120.0
"""Longest wait for the process to start and import what it needs, on a busy machine."""
_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class Worker(Generic[_Argument, _Result]):
    """Calls a function in the main thread of one process, started at the first call and again after each kill.

    Args:
        function: at the top level of a module, as pickles need it.
        example: an argument that it answers at once; the first call after a start answers it without the deadline.
        seconds: longest time of a call.
    """

    def __init__(self, function: Callable[[_Argument], _Result], example: _Argument, seconds: float) -> None:
        self._function, self._example, self._seconds = function, example, seconds
        self._process: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def __call__(self, argument: _Argument) -> _Result:
        """The function's result.

        Raises:
            TimeoutError: no result within the deadline; the process was killed.
            MemoryError: the process ran out of its memory, or died.
        """
        from concurrent.futures import TimeoutError as NoResultError

        from loky.process_executor import BrokenProcessPool

        with self._lock:
            process = self._started()  # a start that takes too long is no answer that does: an error of its own
            try:
                result: _Result = process.submit(self._function, argument).result(self._seconds)
            except NoResultError as error:
                self.kill()
                raise TimeoutError(f"no result within {self._seconds:g} s") from error
            except BrokenProcessPool as error:
                self.kill()
                raise MemoryError("the process died") from error
            return result

    def kill(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.shutdown(kill_workers=True)
            self._process = None

    def _started(self) -> ProcessPoolExecutor:
        if self._process is None:
            from loky import ProcessPoolExecutor

            # No end by idleness: the next call's deadline would run while a new process imports all it needs.
            self._process = ProcessPoolExecutor(max_workers=1, timeout=None, initializer=_limit_memory)
            self._process.submit(self._function, self._example).result(_START_SECONDS)
        return self._process


def _limit_memory() -> None:
    import resource

    with contextlib.suppress(OSError, ValueError):  # a system without this limit, or one that is lower already
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
