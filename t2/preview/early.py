"""A look at the first questions of a pool that `t2 label` is filling: what is wrong is said before hours are spent."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from t2.pools.fill import Progress
from t2.pools.grader import PoolGrader
from t2.spec import LabelJob
from t2.stats.warnings import pool_warnings
from t2.store.reader import ShardReader, read_prompt_tokens, read_questions
from t2.store.schema import PoolPaths

LOOK_QUESTIONS = 32
"""Questions that are looked at, once they are complete."""
_STILL_EARLY = 4
"""A pool that has so many times their samples already is not looked at: to grade it would hold up the engine."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class EarlyLook:
    """Called as samples finish; looks once, as soon as the first questions are complete and stored."""

    def __init__(
        self, job: LabelJob, eps: float, grid: Sequence[int], write: Callable[[str], None] = _to_stderr
    ) -> None:
        """Arguments as those of `pool_warnings`; `write` is given a line for each warning."""
        self._job, self._eps, self._grid, self._write = job, eps, grid, write
        self._of_question = job.samples_per_question + 1  # and its greedy answer
        self._due: int | None = LOOK_QUESTIONS * self._of_question
        """samples of the pool at which to look; None: no more"""

    def __call__(self, now: Progress) -> None:
        held = now.resumed + now.samples_done
        if self._due is None or held < self._due:
            return
        # Samples are stored a few seconds after they are finished: else there is another look a little later.
        if held > _STILL_EARLY * LOOK_QUESTIONS * self._of_question or self._look():
            self._due = None
        else:
            self._due = held + self._of_question

    def _look(self) -> bool:
        """Warn of what is stored; False if too few questions are complete."""
        paths = PoolPaths(Path(self._job.path))
        grader = PoolGrader(ShardReader(paths), self._job.task.grader)
        grader.refresh()
        complete = grader.complete_ids(self._job.samples_per_question)
        wanted = {question.id for question in self._job.task.questions()} & complete  # a pool may have others
        if len(wanted) < LOOK_QUESTIONS:
            return False
        both = zip(read_questions(paths)[0], read_prompt_tokens(paths), strict=True)
        questions, tokens = zip(*(pair for pair in both if pair[0].id in wanted), strict=True)
        for warning in pool_warnings(grader.pool(questions, tokens), self._eps, self._grid):
            self._write(f"After {len(questions)} questions: {warning}")
        return True
