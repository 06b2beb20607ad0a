"""What tasks from generator families share: cells in turn, seeded questions, no text twice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.spec import Grader, Question, Task


class GeneratedTask(Task):
    """Questions from all cells (family and size) in turn, so that every prefix is balanced."""

    def __init__(self, num_questions: int, seed: int, families: Sequence[str] | None, known: Collection[str]) -> None:
        """Take the families among all `known` ones; None means all.

        Raises:
            T2Error: an unknown family, none at all, or no question.
        """
        names = list(known if families is None else families)
        if unknown := sorted(set(names) - set(known)):
            raise T2Error(f"Expected families among {sorted(known)}, got {unknown}. Change `task.families`.")
        if num_questions < 1 or not names:
            raise T2Error(
                f"Expected at least one question and one family, got {num_questions} and {names}. Change "
                "`num_questions` or `families`."
            )
        self.num_questions, self.seed, self.families = num_questions, seed, names

    @property
    def grader(self) -> Grader:
        return NumericGrader()

    @abstractmethod
    def cells(self) -> list[tuple[str, int]]:
        """Family and size of each cell, in the order in which they take turns."""

    @abstractmethod
    def question(self, index: int, family: str, size: int) -> Question:
        """Question `index`, which depends on the task's seed and these arguments alone."""

    def questions(self) -> list[Question]:
        """Question i is cell i mod (number of cells); repeated texts are skipped.

        Raises:
            T2Error: the families have fewer distinct questions than are asked for.
        """
        cells = self.cells()
        questions: dict[str, Question] = {}
        index = 0
        while len(questions) < self.num_questions:
            if index > 100 * self.num_questions + 1000:
                raise T2Error(f"Expected {self.num_questions} distinct questions, found {len(questions)}. Ask fewer.")
            question = self.question(index, *cells[index % len(cells)])
            questions.setdefault(question.text, question)
            index += 1
        return list(questions.values())
