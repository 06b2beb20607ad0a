"""`PuzzleTask`: counting, ordering, dates, codes and combinations; a second kind of task for heads trained on another.

It shares no family with `MathStepsTask`, and asks for the same final line, so that one prompt serves both: a head
belongs to its prompt.
"""

from __future__ import annotations

import re
from random import Random

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.spec import Grader, Question, Task
from t2.tasks.puzzle_families import FAMILIES, SIZES

_ABOUT_WORDS = ("letters", "counting")
"""Families whose questions differ in their words, not in their numbers alone."""


class PuzzleTask(Task):
    """Questions from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(self, num_questions: int = 300, seed: int = 0, families: list[str] | None = None) -> None:
        """Choose how many questions and which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: names of `t2.tasks.puzzle_families.FAMILIES`; None means all.
        """
        names = list(FAMILIES) if families is None else families
        if unknown := sorted(set(names) - set(FAMILIES)):
            raise T2Error(f"Expected families among {sorted(FAMILIES)}, got {unknown}. Change `task.families`.")
        if num_questions < 1 or not names:
            raise T2Error(f"Expected at least one question and one family, got {num_questions} and {names}.")
        self.num_questions, self.seed, self.families = num_questions, seed, names

    @property
    def grader(self) -> Grader:
        """The number after `####`."""
        return NumericGrader()

    def questions(self) -> list[Question]:
        """Question i is cell i mod (number of family-size cells); repeated texts are skipped.

        Raises:
            T2Error: the families have fewer distinct questions than are asked for.
        """
        cells = [(name, size) for size in SIZES for name in self.families]
        found: dict[str, Question] = {}
        index = 0
        while len(found) < self.num_questions:
            if index > 100 * self.num_questions + 1000:
                raise T2Error(f"Expected {self.num_questions} distinct questions, found {len(found)}. Ask fewer.")
            family, size = cells[index % len(cells)]
            text, answer = FAMILIES[family](Random(f"puzzle/{self.seed}/{index}"), size)
            question_id = f"puzzle-{self.seed}-{index:06d}"
            found.setdefault(
                text, Question(question_id, text, str(answer), _dedup_key(family, size, text), family, size)
            )
            index += 1
        return list(found.values())


def _dedup_key(family: str, size: int, text: str) -> str:
    """Equal for questions that ask the same in another order or story: the sorted numbers, words where they count."""
    tokens = re.findall(r"\w+" if family in _ABOUT_WORDS else r"\d+", text)
    return f"{family}-{size}:{' '.join(sorted(tokens))}"
