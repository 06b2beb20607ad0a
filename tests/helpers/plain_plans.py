"""Planned rounds by brute force: over whole histories of answers, and over every plan there is."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product

from t2.heads.answer_atoms import AnswerAtoms

ANSWERS = "XYR"
"""Of one sample: one of two answers that an observer can tell apart, or anything else."""
Plan = dict[str, int]
"""History -> samples to draw next, 0 to stop; of the histories at which the plan looks."""


def sequences(count: int) -> list[str]:
    """All answers of so many samples."""
    return ["".join(answers) for answers in product(ANSWERS, repeat=count)]


class PlainModel:
    """A question of one of the atoms, with either of two answers as the atom's first: Bayes' rule, answer by answer."""

    def __init__(self, atoms: AnswerAtoms, prior: list[float]) -> None:
        shares, rights = atoms.share_J3.tolist(), atoms.right_J.tolist()
        # A world says how likely each answer is, and which is right.
        self.worlds = [
            (weight / 2, {"X": first, "Y": second, "R": rest}, {1: "X", 2: "Y", 0: "none"}[right])
            for weight, (s1, s2, rest), right in zip(prior, shares, rights, strict=True)
            for first, second, right in ((s1, s2, right), (s2, s1, {1: 2, 2: 1, 0: 0}[right]))
        ]

    def weights(self, history: str) -> list[float]:
        found = []
        for weight, share, _ in self.worlds:
            for answer in history:
                weight *= share[answer]
            found.append(weight)
        return found

    def chance(self, history: str, then: str) -> float:
        """Of these further answers in this order."""
        return sum(self.weights(history + then)) / sum(self.weights(history))

    def right(self, history: str) -> float:
        """Probability that the majority is right; of two that tie, the one seen first."""
        voted = history.replace("R", "")
        if not voted:
            return 0.0
        leader = max("XY", key=lambda answer: (voted.count(answer), -(voted + answer).index(answer)))
        pairs = zip(self.weights(history), self.worlds, strict=True)
        return sum(w for w, (_, _, right) in pairs if right == leader) / sum(self.weights(history))


def best_value(model: PlainModel, cap: int, cost: float, round_cost: float) -> float:
    """The value of the best plan, which may depend on the whole history; the first batch is always drawn."""

    @cache
    def value(history: str) -> float:
        going = [
            sum(
                model.chance(history, "".join(then)) * value(history + "".join(then))
                for then in product(ANSWERS, repeat=m)
            )
            - m * cost
            - round_cost
            for m in range(1, cap - len(history) + 1)
        ]
        return max(going) if not history else max([model.right(history), *going])

    return value("")


def every_plan(cap: int, history: str = "") -> Iterator[Plan]:
    """All plans that start at a history: stop, or a batch and a plan for each of its outcomes."""
    if history:
        yield {history: 0}
    for m in range(1, cap - len(history) + 1):
        outcomes = [history + then for then in sequences(m)]
        for parts in product(*(list(every_plan(cap, outcome)) for outcome in outcomes)):
            yield {history: m} | {name: batch for part in parts for name, batch in part.items()}


def plan_value(model: PlainModel, plan: Plan, cost: float, round_cost: float, history: str = "") -> float:
    """What a plan is worth."""
    m = plan[history]
    if not m:
        return model.right(history)
    outcomes = ["".join(then) for then in product(ANSWERS, repeat=m)]
    parts = [
        model.chance(history, then) * plan_value(model, plan, cost, round_cost, history + then) for then in outcomes
    ]
    return sum(parts) - m * cost - round_cost
