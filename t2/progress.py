"""How far a long piece of work is: a bar on a terminal, else a line now and then, for logs of CI, Slurm and nohup."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

FIRST_SECONDS, EVERY_SECONDS = 10.0, 30.0
"""From the start of the work to its first line, and from one line to the next."""
LOOK_SECONDS = 1.0
BAR_WIDTH = 30
"""characters"""


@contextmanager
def progress(name: str, total: int | None = None, *, unit: str) -> Iterator[Counts]:
    """Show the work inside the context on stdout; it gives the counts, to be called as it advances.

    Args:
        name: of the work.
        total: units of all the work, 0 shows nothing; None: the first call of the counts says it.
        unit: plural, such as "samples".
    """
    counts = Counts(name, total, unit)
    with contextlib.nullcontext() if total == 0 else _bar(counts) if sys.stdout.isatty() else _lines(counts):
        yield counts


class Counts:
    """What is done of how much, rate and time left."""

    def __init__(self, name: str, total: int | None, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self.total, self.unit, self.clock = name, total, unit, clock
        self.done, self.share, self.start = 0, 0.0, clock()
        self.over = False
        """the work has ended"""
        self._note: str | Callable[[], str] = ""
        self._first: tuple[float, int, float] | None = None
        """time, units and share of the first call"""

    def __call__(
        self,
        done: int,
        total: int | None = None,
        note: str | Callable[[], str] | None = None,
        share: float | None = None,
    ) -> None:
        """Say how far the work is, at every step if you like; rate and time left count from the first call.

        Args:
            done: units done so far.
            total: units in all; None: as said before.
            note: what else there is to say, or what says it when it is shown; None: as said before.
            share: done part of all the work, for the time left, where units take unlike time; None: done / total.
        """
        self.done, self.total = done, self.total if total is None else total
        self._note = self._note if note is None else note
        self.share = share if share is not None else done / self.total if self.total else 0.0
        if self._first is None:
            self._first = (self.clock(), done, self.share)

    def words(self) -> str:
        now = self.clock()
        since, done_before, share_before = self._first or (now, 0, 0.0)
        seconds = max(now - since, 1e-3)
        rate, pace = (self.done - done_before) / seconds, (self.share - share_before) / seconds
        of_all = f" of {self.total:,}" if self.total else ""
        parts = [f"{self.done:,}{of_all} {self.unit}" if self.total or self.done else "starting"]
        if rate > 0:
            parts.append(f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{60 * rate:.1f} {self.unit}/min")
        if self.over:
            parts.append(f"in {duration(now - self.start)}")
        elif pace > 0:
            parts.append(f"{duration((1 - self.share) / pace)} left")
        else:
            parts.append(f"{duration(now - self.start)} so far")
        note = self._note if isinstance(self._note, str) else self._note()
        return ", ".join([*parts, note] if note else parts)


class Lines:
    """Counts as lines; knows when the next one is due."""

    def __init__(self, counts: Counts, write: Callable[[str], None]) -> None:
        self._counts, self._write = counts, write
        self._due, self._begun = counts.start + FIRST_SECONDS, False

    def look(self) -> None:
        if self._counts.clock() >= self._due and self._counts.total != 0:
            self._due, self._begun = self._counts.clock() + EVERY_SECONDS, True
            self._write(f"{self._counts.name}: {self._counts.words()}")

    def finish(self) -> None:
        """Write the last line, if there was a first one: what is over sooner says so itself."""
        self._counts.over = True
        if self._begun:
            self._write(f"{self._counts.name}: {self._counts.words()}")


def duration(seconds: float) -> str:
    """Such as "45 s", "2 min 05 s", "1 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


@contextmanager
def _lines(counts: Counts) -> Iterator[None]:
    """Lines from a thread of their own: they also come while the work itself has nothing to say yet."""
    lines = Lines(counts, _write)
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(LOOK_SECONDS):
            lines.look()

    thread = threading.Thread(target=run, name=f"progress of {counts.name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    lines.finish()


def _write(line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more: no reason to end the work
        print(line, flush=True)


@contextmanager
def _bar(counts: Counts) -> Iterator[None]:
    """The same words beside a bar, drawn anew four times a second."""

    def row() -> RenderableType:
        if counts.over and not counts.total:
            return ""
        grid = Table.grid(padding=(0, 1))
        grid.add_row(counts.name, ProgressBar(1.0, counts.share, BAR_WIDTH), counts.words())
        return grid

    with Live(get_renderable=row):
        yield
        counts.over = True
