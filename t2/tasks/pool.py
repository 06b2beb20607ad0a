"""`PoolTask`: the questions that a pool holds, as for one that was imported."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from t2.grading.given import grader_named, grader_of_pool
from t2.spec import Grader, Question, Task
from t2.store.pool_spec import read_spec
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths


class PoolTask(Task):
    """Reads the questions of a pool; nothing is read before it is asked."""

    def __init__(
        self, path: str, grader: Literal["numeric", "exact", "math", "choice", "given"] | Grader | None = None
    ) -> None:
        """Choose pool and grader.

        Args:
            path: folder of the pool, as in `data.pool.path`.
            grader: "numeric", "exact", "math", "choice", "given" (grades that came with an imported pool) or your own;
                None: the grader that the pool records, else the given grades.
        """
        self.path, self._chosen = Path(path), grader

    def questions(self) -> list[Question]:
        """All questions of the pool, in its order.

        Raises:
            T2Error: no pool there.
        """
        paths = PoolPaths(self.path)
        read_spec(paths)  # says best what is wrong with a folder that is no pool
        return read_questions(paths)[0]

    @cached_property
    def grader(self) -> Grader:
        if self._chosen is None:
            return grader_of_pool(read_spec(PoolPaths(self.path)))
        return grader_named(self._chosen) if isinstance(self._chosen, str) else self._chosen
