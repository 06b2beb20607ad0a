"""Rules one question at a time, as a server asks them: given the votes so far, how many samples next? Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from t2.policies.stopping import DrawTable


class Rule(Protocol):
    """How many samples one question gets. Asked before the first sample and whenever none is outstanding."""

    def extra(self, votes: Sequence[Hashable | None]) -> int:
        """Samples to draw next, 0 to stop.

        Args:
            votes: answer classes so far in order of draw, None where a sample abstained.
        """


@dataclass(frozen=True)
class OneBatch:
    """A budget that was chosen before decoding."""

    samples: int

    def extra(self, votes: Sequence[Hashable | None]) -> int:
        return 0 if votes else self.samples


@dataclass(frozen=True)
class GreedyAnswer:
    """A rule: one answer, drawn at temperature 0 instead of sampled."""

    def extra(self, votes: Sequence[Hashable | None]) -> int:
        return 0 if votes else 1


@dataclass(frozen=True)
class ByTable:
    """A sequential rule: look up what the votes so far say."""

    table: DrawTable
    prior: int = 0
    """row of the table"""

    def extra(self, votes: Sequence[Hashable | None]) -> int:
        counts = Counter(vote for vote in votes if vote is not None)
        first, second = [*sorted(counts.values(), reverse=True), 0, 0][:2]
        return self.table.extra(self.prior, len(votes), first, second)


def one_batch_rules(budget_Q: Iterable[int] | Tensor, greedy_first: bool = False) -> list[Rule]:
    """A rule for each question from its budget in samples, for example `grid[index]` of a one-round policy.

    With `greedy_first` a question that gets one answer gets the greedy one.
    """
    return [GreedyAnswer() if greedy_first and budget == 1 else OneBatch(int(budget)) for budget in budget_Q]


def table_rules(table: DrawTable, prior_Q: Iterable[int] | Tensor) -> list[Rule]:
    """A rule for each question from a table and the question's prior."""
    return [GreedyAnswer() if table.is_greedy(int(prior)) else ByTable(table, int(prior)) for prior in prior_Q]
