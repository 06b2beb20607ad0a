"""`ReasoningGymTask`: questions of the package reasoning-gym, of those generators whose questions have one answer.

Majority voting needs one canonical answer. Many generators of the package accept several, or grade in parts; the ones
below do not, and their answers are read by T2's graders, never by the package's graded scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from t2.errors import T2Error
from t2.grading.exact import ExactGrader
from t2.grading.numeric import NumericGrader
from t2.hashing import digest
from t2.spec import Grader, Question
from t2.tasks.generated import GeneratedTask
from t2.tasks.keys import unordered_key

SEED_STRIDE = 1_000_000
"""Item i of the package's seed s is drawn from s + i: its seeds 1 and 2 share all items but one. Ours lie so far apart,
and each data set is as long, so that no item depends on how many are asked for."""


Item = Mapping[str, Any]
"""Question, answer and metadata, as the package gives them."""


def _probability(item: Item) -> str:
    """Of a coin flip as a fraction: the package's answer is rounded to ten digits, and the exact one would be wrong."""
    rational = item["metadata"]["rational"]
    return f"{rational['numerator']}/{rational['denominator']}"


@dataclass(frozen=True)
class Generator:
    """What is to be known of a generator of reasoning-gym."""

    numbers: bool
    """its answers are numbers; False: texts, equal when they are written the same"""
    size: str = ""
    """what of an item's metadata is its difficulty, a whole number; empty: nothing"""
    gold: Callable[[Item], str] = lambda item: str(item["answer"])
    """an item's answer"""
    settings: Mapping[str, object] = field(default_factory=dict)
    """that make its answers canonical"""


GENERATORS: dict[str, Generator] = {
    "base_conversion": Generator(numbers=False),
    "basic_arithmetic": Generator(numbers=True, size="num_terms"),
    "bitwise_arithmetic": Generator(numbers=False),
    "calendar_arithmetic": Generator(numbers=False),
    "chain_sum": Generator(numbers=True, size="num_terms"),
    "coin_flip": Generator(numbers=True, size="num_trials", gold=_probability),
    "count_bits": Generator(numbers=True),
    "decimal_chain_sum": Generator(numbers=True, size="num_terms"),
    # As numbers 24/36 would be as good as 2/3; in LaTeX an answer can be written in several ways.
    "fraction_simplification": Generator(numbers=False, settings={"styles": ("plain",)}),
    "gcd": Generator(numbers=True, size="num_terms"),
    "gsm_symbolic": Generator(numbers=True),
    "knights_knaves": Generator(numbers=False),
    "lcm": Generator(numbers=True),
    "leg_counting": Generator(numbers=True, size="num_animals"),
    "letter_counting": Generator(numbers=True, size="span_length"),
    "number_sequence": Generator(numbers=True, size="complexity"),
    "products": Generator(numbers=True, size="num_digits"),
    "simple_equations": Generator(numbers=True),
    "spell_backward": Generator(numbers=False, size="word_len"),
    "time_intervals": Generator(numbers=False),
    "word_sorting": Generator(numbers=False, size="num_words"),
}
"""Generators whose questions have one answer, by the package's names."""


class ReasoningGymTask(GeneratedTask):
    """Questions from all generators in turn, so that every prefix is balanced."""

    def __init__(self, generators: dict[str, dict[str, Any] | None], num_questions: int = 400, seed: int = 0) -> None:
        """Choose generators and their settings.

        Args:
            generators: name and settings of each, as {chain_sum: {min_terms: 3, max_terms: 8}, gcd: {}}. All of them
                have numbers as answers, or all texts, since one grader reads them.
            num_questions: questions; the first n of a larger task are the task of n.
            seed: of all generators.

        Raises:
            T2Error: a generator that is none, or has several right answers, or generators that no one grader reads.
        """
        if unknown := sorted(set(generators) - set(GENERATORS)):
            raise T2Error(
                f"Expected generators with one right answer, got {unknown}. Those are {', '.join(GENERATORS)}. Change "
                "`task.generators`."
            )
        super().__init__(num_questions, seed, list(generators), GENERATORS)
        if len({GENERATORS[name].numbers for name in generators}) > 1:
            numbers = [name for name in generators if GENERATORS[name].numbers]
            texts = [name for name in generators if not GENERATORS[name].numbers]
            raise T2Error(
                f"Expected generators whose answers one grader reads, got numbers from {', '.join(numbers)} and texts "
                f"from {', '.join(texts)}. Make two pools of them."
            )
        if not 0 <= seed < 2**32 // SEED_STRIDE:
            raise T2Error(f"Expected `seed` from 0 to {2**32 // SEED_STRIDE - 1}, got {seed}.")
        self.generators = {name: settings or {} for name, settings in generators.items()}

    @property
    def grader(self) -> Grader:
        return NumericGrader() if GENERATORS[self.families[0]].numbers else ExactGrader()

    def cells(self) -> list[tuple[str, int]]:
        return [(name, 0) for name in self.families]  # sizes are known of items, not beforehand

    def question(self, index: int, family: str, size: int) -> Question:
        item = self._data_sets[family][index // len(self.families)]
        text, generator = str(item["question"]).strip(), GENERATORS[family]
        return Question(
            id=f"gym-{family}-{digest([text])[:16]}",
            text=text,
            answer=generator.gold(item),
            dedup_key=unordered_key(family, text),
            family=family,
            size=int(item["metadata"][generator.size]) if generator.size else size,
        )

    def origin(self) -> dict[str, str]:
        """The package and its version: another one may generate other questions from the same seed."""
        from importlib.metadata import version

        return {"path": "reasoning-gym", "revision": version("reasoning-gym")}

    def pin(self, origins: Sequence[Mapping[str, str]]) -> None:
        """Make sure that the package is the one that the pool was filled with.

        Raises:
            T2Error: it has another version.
        """
        recorded = [each["revision"] for each in origins if each["path"] == "reasoning-gym"]
        if recorded and recorded[-1] != (mine := self.origin()["revision"]):
            raise T2Error(
                f"Expected reasoning-gym {recorded[-1]}, which filled this pool, got {mine}. Install that version "
                f"(`pip install reasoning-gym=={recorded[-1]}`), or choose another `data.pool.path`."
            )

    @cached_property
    def _data_sets(self) -> dict[str, Any]:
        """Of each generator; their items are made when they are asked for."""
        try:
            import reasoning_gym
        except ModuleNotFoundError as error:
            raise T2Error(
                "Expected the package reasoning-gym for ReasoningGymTask, got none. Install it: pip install "
                "'t2-budget[reasoning-gym]'"
            ) from error
        made = dict[str, Any]()
        for name, settings in self.generators.items():
            if reserved := sorted({"seed", "size", *GENERATORS[name].settings} & set(settings)):
                raise T2Error(
                    f"Expected no setting {reserved[0]!r} of {name}, got {settings[reserved[0]]!r}: T2 sets it."
                )
            chosen = {**settings, **GENERATORS[name].settings, "seed": self.seed * SEED_STRIDE, "size": SEED_STRIDE}
            try:
                made[name] = reasoning_gym.create_dataset(name, **chosen)
            except (TypeError, ValueError, AssertionError) as error:  # as it checks its settings
                raise T2Error(
                    f"Expected settings of {name} that reasoning-gym takes, got {settings}: {error}. Change "
                    "`task.generators`."
                ) from error
        return made
