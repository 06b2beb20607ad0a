"""The progress bar of `t2 label`: samples and tokens a second, time left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from t2.pools.fill import Progress


class _Rates(ProgressColumn):
    """Samples/s and generated tokens/s since the first finished request."""

    def render(self, task: Task) -> Text:
        seconds = max(task.elapsed or 0.0, 1e-3)
        return Text(f"{task.completed / seconds:.1f} samples/s, {task.fields['tokens'] / seconds:.0f} tokens/s")


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A Rich bar; the context gives the function that advances it."""
    columns = (TextColumn("samples"), BarColumn(), MofNCompleteColumn(), _Rates(), TimeRemainingColumn())
    with RichProgress(*columns) as bar:
        task_id = None

        def advance(now: Progress) -> None:
            nonlocal task_id
            if task_id is None:
                task_id = bar.add_task("samples", total=now.samples_total, tokens=0)
            bar.update(task_id, completed=now.samples_done, tokens=now.tokens)

        yield advance
