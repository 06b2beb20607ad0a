"""`ArithTask`: chains of additions and subtractions for the tiny embedded LLM (`assets/tiny-arith`)."""

from __future__ import annotations

from random import Random

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.spec import Grader, Question
from t2.tasks.generated import GeneratedTask

MARKER = "#"
"""What precedes the final answer in the tiny LLM's output."""
DIGITS = {"small": 1, "medium": 2, "large": 3}
"""Family -> digits of a term."""
SIZES = (2, 3, 4, 5, 6, 7, 8)
"""Terms of a chain."""


def signed_terms(rng: Random, family: str, size: int) -> list[int]:
    """`size` terms, the first positive; magnitudes have exactly the digits of the family."""
    digits = DIGITS[family]
    low, high = 10 ** (digits - 1), 10**digits - 1
    magnitudes = [rng.randint(low, high) for _ in range(size)]
    return [magnitudes[0]] + [m if rng.random() < 0.5 else -m for m in magnitudes[1:]]


def chain_text(terms: list[int]) -> str:
    """[12, 7, -5] -> "12+7-5"."""
    return "".join(f"{term:+d}" for term in terms).removeprefix("+")


class ArithTask(GeneratedTask):
    """Questions like 12+7-5 from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(
        self, num_questions: int = 400, seed: int = 0, families: list[str] | None = None, sizes: list[int] | None = None
    ) -> None:
        """Choose how many questions of which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: "small", "medium", "large": one-, two- or three-digit terms; None means all.
            sizes: terms of a chain, each from 2 to 8; None means all.
        """
        super().__init__(num_questions, seed, families, DIGITS)
        self.sizes = list(SIZES) if sizes is None else sizes
        if not self.sizes or set(self.sizes) - set(SIZES):
            raise T2Error(f"Expected sizes among {list(SIZES)}, at least one, got {self.sizes}. Change `task.sizes`.")

    @property
    def grader(self) -> Grader:
        return NumericGrader(MARKER)

    def cells(self) -> list[tuple[str, int]]:
        return [(family, size) for size in self.sizes for family in self.families]

    def question(self, index: int, family: str, size: int) -> Question:
        terms = signed_terms(Random(f"{self.seed}/{index}"), family, size)
        key = " ".join(map(str, sorted(terms)))  # 3+4 is 4+3
        return Question(f"arith-{self.seed}-{index:06d}", chain_text(terms), str(sum(terms)), key, family, size)
