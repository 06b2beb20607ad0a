"""`MathStepsTask`: arithmetic and word problems of graded difficulty for a real LLM, generated from a seed."""

from __future__ import annotations

import re
from random import Random

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.spec import Grader, Question, Task
from t2.tasks.math_families import FAMILIES


class MathStepsTask(Task):
    """Questions from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(self, num_questions: int = 600, seed: int = 0, families: list[str] | None = None) -> None:
        """Choose how many questions and which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: names of `t2.tasks.math_families.FAMILIES`; None means all.
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
        """Question i is cell i mod (number of family-size cells); repeated texts are skipped."""
        cells = [(name, size) for name in self.families for size in FAMILIES[name][1]]
        found: list[Question] = []
        seen: set[str] = set()
        index = 0
        while len(found) < self.num_questions:
            family, size = cells[index % len(cells)]
            text, answer = FAMILIES[family][0](Random(f"{self.seed}/{index}"), size)
            index += 1
            if text in seen:
                if index > 100 * self.num_questions + 1000:
                    raise T2Error(f"Expected {self.num_questions} distinct questions, found {len(found)}. Ask fewer.")
                continue
            seen.add(text)
            question_id = f"math-{self.seed}-{index - 1:06d}"
            found.append(Question(question_id, text, str(answer), _dedup_key(family, text), family, size))
        return found


def _dedup_key(family: str, text: str) -> str:
    """Equal for questions that ask the same: the sorted words and signs, so that 12 * 34 and 34 * 12 stay together."""
    return f"{family}:{' '.join(sorted(re.findall(r'[a-zA-Z0-9_]+|[^a-zA-Z0-9_ ]', text)))}"
