"""`ArithTask`: chains of additions and subtractions for the tiny embedded LLM (`assets/tiny-arith`)."""

from __future__ import annotations

from random import Random

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.spec import Grader, Question, Task

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


class ArithTask(Task):
    """Questions like 12+7-5 from all families and sizes in turn, so that every prefix is balanced."""

    def __init__(
        self,
        num_questions: int = 400,
        seed: int = 0,
        families: list[str] | None = None,
        sizes: list[int] | None = None,
    ) -> None:
        """Choose how many questions of which kinds.

        Args:
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of the generator.
            families: "small", "medium", "large": one-, two- or three-digit terms; None means all.
            sizes: terms of a chain, each from 2 to 8; None means all.
        """
        self.families = list(DIGITS) if families is None else families
        self.sizes = list(SIZES) if sizes is None else sizes
        if set(self.families) - set(DIGITS) or set(self.sizes) - set(SIZES):
            raise T2Error(f"Expected families {list(DIGITS)} and sizes {SIZES}, got {self.families}, {self.sizes}.")
        if num_questions < 1 or not self.families or not self.sizes:
            raise T2Error(
                f"Expected at least one question, family and size, got num_questions {num_questions}, "
                f"families {self.families}, sizes {self.sizes}."
            )
        self.num_questions, self.seed = num_questions, seed

    @property
    def grader(self) -> Grader:
        """The number after `#`."""
        return NumericGrader(MARKER)

    def questions(self) -> list[Question]:
        """Question i is cell i mod (families x sizes); repeated texts are skipped."""
        cells = [(family, size) for size in self.sizes for family in self.families]
        found: dict[str, Question] = {}
        index = 0
        while len(found) < self.num_questions:
            if index > 100 * self.num_questions + 1000:
                raise T2Error(f"Expected {self.num_questions} distinct questions, found {len(found)}. Ask fewer.")
            family, size = cells[index % len(cells)]
            terms = signed_terms(Random(f"{self.seed}/{index}"), family, size)
            text = chain_text(terms)
            key = " ".join(map(str, sorted(terms)))
            question = Question(f"arith-{self.seed}-{index:06d}", text, str(sum(terms)), key, family, size)
            found.setdefault(text, question)
            index += 1
        return list(found.values())
