"""`PuzzleTask`: counting, ordering, dates, codes and combinations; a second kind of task for heads trained on another.

It shares no family with `MathStepsTask`, and asks for the same final line, so that one prompt serves both: a head
belongs to its prompt.
"""

from __future__ import annotations

import re
from random import Random

from t2.spec import Question
from t2.tasks.generated import GeneratedTask
from t2.tasks.puzzle_families import FAMILIES, SIZES

_ABOUT_WORDS = ("letters", "counting")
"""Families whose questions differ in their words, not in their numbers alone."""


class PuzzleTask(GeneratedTask):
    """Questions from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(self, num_questions: int = 300, seed: int = 0, families: list[str] | None = None) -> None:
        """Choose how many questions and which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: names of `t2.tasks.puzzle_families.FAMILIES`; None means all.
        """
        super().__init__(num_questions, seed, families, FAMILIES)

    def cells(self) -> list[tuple[str, int]]:
        return [(name, size) for size in SIZES for name in self.families]

    def question(self, index: int, family: str, size: int) -> Question:
        text, answer = FAMILIES[family](Random(f"puzzle/{self.seed}/{index}"), size)
        key = _dedup_key(family, size, text)
        return Question(f"puzzle-{self.seed}-{index:06d}", text, str(answer), key, family, size)


def _dedup_key(family: str, size: int, text: str) -> str:
    """Equal for questions that ask the same in another order or story: the sorted numbers, words where they count."""
    tokens = re.findall(r"\w+" if family in _ABOUT_WORDS else r"\d+", text)
    return f"{family}-{size}:{' '.join(sorted(tokens))}"
