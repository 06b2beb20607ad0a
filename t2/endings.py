"""How a command ends before its work is done: one line, and the exit code that shells and schedulers know."""

from __future__ import annotations

import atexit
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

from t2.errors import T2Error

SIGNALS = (signal.SIGINT, signal.SIGTERM)
DEAF_SECONDS = 10.0
"""After a signal, others are ignored for so long: samples are being flushed and engines ended. A later one counts
again, since whatever was running when the first came may have swallowed it."""


class Interrupted(SystemExit):
    """Ctrl-C or SIGTERM, raised in the main thread so that `finally` blocks flush samples and end engines.

    Whoever knows what is kept adds it on the way up. It is a SystemExit: no library mistakes it for an error, and none
    prints a traceback.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.kept = ""
        """what is kept, a sentence without its end"""
        self.goes_on = False
        """the same command goes on from what is kept; else it starts again"""
        self.options: dict[str, str] = {}
        """to be added to the command that goes on"""

    def line(self, command: Sequence[str]) -> str:
        """What the user reads; `command` as it was typed."""
        words = list(command)
        for name, value in self.options.items():
            # What was typed goes, be it `--name value` or `--name=value`.
            words = [w for i, w in enumerate(words) if w != name and words[i - 1 : i] != [name]]
            words = [word for word in words if not word.startswith(f"{name}=")] + [name, value]
        head = f"Interrupted: {self.kept}." if self.kept else "Interrupted."
        return f"{head} {'Go on' if self.goes_on else 'Again'}: {shlex.join(words)}"


@contextmanager
def keeping(sentence: Callable[[], str], goes_on: bool = True) -> Iterator[None]:
    """Say what is kept if the work inside is interrupted, unless something further in has said it already.

    `sentence` is called then and has no full stop; `goes_on`: the same command goes on from what is kept.
    """
    try:
        yield
    except Interrupted as end:
        if not end.kept:
            end.kept, end.goes_on = sentence(), goes_on
        raise


def raise_on_signals() -> None:
    """Turn Ctrl-C and SIGTERM into `Interrupted` from now on, in the main thread of this process."""
    last = -DEAF_SECONDS

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= DEAF_SECONDS:
            last = now
            raise Interrupted(signum)

    if threading.current_thread() is threading.main_thread():
        for signum in SIGNALS:
            signal.signal(signum, end)


@contextmanager
def no_signals_in_children(*signums: signal.Signals) -> Iterator[None]:
    """Processes started inside never get these signals, not even while Python starts up in them.

    A blocked signal stays blocked in a child. Here it comes when the context ends.
    """
    # The first child that is spawned brings this process along, and starting it unblocks the signals again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    if threading.current_thread() is threading.main_thread():
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@contextmanager
def one_line_endings(*command: str) -> Iterator[None]:
    """Inside, a mistake of the user and a signal end the process with one line on stderr and an exit code."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    raise_on_signals()
    try:
        yield
    except T2Error as error:
        print(f"error: {error}", file=sys.stderr)
        _restore(before)
        raise SystemExit(T2Error.EXIT_CODE) from error
    except (Interrupted, KeyboardInterrupt) as error:
        end = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        # The handlers stay, so that a second Ctrl-C does not cut short what is ended at exit. Python itself would go
        # back to the default ones at its very end, and the exit code would be another.
        atexit.register(_restore, dict.fromkeys(SIGNALS, signal.SIG_IGN))
        print(end.line(command), file=sys.stderr)
        raise SystemExit(end.code) from None
    except BaseException:
        _restore(before)
        raise
    _restore(before)
