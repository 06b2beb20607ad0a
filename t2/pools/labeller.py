"""The labeller as a child process of a training run: started, watched, and always ended."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

from t2.endings import no_signals_in_children, raise_on_signals
from t2.errors import T2Error
from t2.pools.fill import fill
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.lock import is_held
from t2.store.schema import PoolPaths

_PARENT_POLL_SECONDS = 1.0
_END_SECONDS = 30.0
"""How long the labeller may take to flush after SIGTERM before it is killed."""


class LabellerProcess:
    """`t2 label` in a process group of its own, output in a log file. Ended by `stop`, at the latest at exit."""

    def __init__(self, job: LabelJob, fractions: SplitFractions, log_path: Path) -> None:
        self.log_path, self._stopped = log_path, False
        log_path.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_main, args=(job, fractions, str(log_path), os.getpid()), name="t2-label")
        with no_signals_in_children(signal.SIGINT):  # Ctrl-C is for this process, which ends the labeller
            self.process.start()
        # Before multiprocessing's own exit handler, which would wait for the child to finish its job.
        atexit.register(self.stop)

    def check(self) -> None:
        """Do nothing while the labeller runs or after it has finished well.

        Raises:
            T2Error: it died; shows its last lines.
        """
        code = self.process.exitcode
        if code not in (None, 0):
            raise T2Error(
                f"Expected the labeller to finish, got exit code {code}. Its last lines:\n{self.last_lines()}"
            )

    def lost_to_another(self, paths: PoolPaths) -> bool:
        """It gave up because another process holds the pool."""
        return self.process.exitcode == T2Error.EXIT_CODE and is_held(paths)

    def last_lines(self, count: int = 15) -> str:
        try:
            return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])
        except OSError:
            return "(no log)"

    def stop(self) -> None:
        """End it: SIGTERM to let it flush, then SIGKILL to its whole group."""
        if self._stopped or self.process.pid is None:
            return
        self._stopped = True  # its id may belong to another process later
        atexit.unregister(self.stop)
        try:
            if self.process.is_alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.process.pid, signal.SIGTERM)
                self.process.join(_END_SECONDS)
        finally:  # also where a second Ctrl-C cuts the wait short
            # Even after it has ended well: workers of its engine would be in the same group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.join()


def _main(job: LabelJob, fractions: SplitFractions, log_path: str, parent: int) -> None:
    """What the child process does: label, into a log file, until it is done or its parent is gone."""
    with contextlib.suppress(OSError):
        os.setsid()
    log = open(log_path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  # lives as long as the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    raise_on_signals()
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    try:
        summary = fill(job, fractions)
        print(f"labelled {summary.samples_done} samples, {summary.tokens} tokens", flush=True)
    except T2Error as error:
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(T2Error.EXIT_CODE) from error


def _end_with_parent(parent: int) -> None:
    """A labeller whose trainer was killed ends itself and keeps what it has."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
