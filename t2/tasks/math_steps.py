"""`MathStepsTask`: arithmetic and word problems of graded difficulty for a real LLM, generated from a seed."""

from __future__ import annotations

from random import Random

from t2.spec import Question
from t2.tasks.generated import GeneratedTask
from t2.tasks.keys import unordered_key
from t2.tasks.math_families import FAMILIES


class MathStepsTask(GeneratedTask):
    """Questions from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(self, num_questions: int = 600, seed: int = 0, families: list[str] | None = None) -> None:
        """Choose how many questions and which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: names of `t2.tasks.math_families.FAMILIES`; None means all.
        """
        super().__init__(num_questions, seed, families, FAMILIES)

    def cells(self) -> list[tuple[str, int]]:
        return [(name, size) for name in self.families for size in FAMILIES[name][1]]

    def question(self, index: int, family: str, size: int) -> Question:
        text, answer = FAMILIES[family][0](Random(f"{self.seed}/{index}"), size)
        return Question(f"math-{self.seed}-{index:06d}", text, str(answer), unordered_key(family, text), family, size)
