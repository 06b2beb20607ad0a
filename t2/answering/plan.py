"""The plan of one question. Pure.

It is asked as a `Rule` is, with a limit on rounds, says how many samples to draw next, and how sure the answer is,
given its votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.policies.rules import ByTable, GreedyAnswer, Rule
from t2.policies.states import VoteStates
from t2.stats.log_odds import LogOddsLine


@dataclass(frozen=True)
class Posterior:
    """Probability that an answer is right, given the votes, under the question's prior."""

    states: VoteStates
    right_S: Tensor
    """of the leader, in each vote state"""
    greedy_right: float | None = None
    """of the greedy answer, before it is seen; None: training questions have none"""
    line: LogOddsLine | None = None
    """what makes these probabilities true on held-out questions; None: they are taken at their word"""

    def right(self, drawn: int, first: int, second: int) -> float:
        """Of the leader with `first` votes before a runner-up with `second`, after so many samples."""
        return self._true(float(self.right_S[self.states.index_NVV[drawn, first, second]]))

    def right_greedily(self) -> float | None:
        """Of the greedy answer, before it is seen; None: it cannot be known."""
        return None if self.greedy_right is None else self._true(self.greedy_right)

    def _true(self, probability: float) -> float:
        return probability if self.line is None else self.line.of(probability)


@dataclass(frozen=True)
class QuestionPlan:
    """How one question is answered."""

    rule: Rule
    most: int
    """samples it may draw at most"""
    posterior: Posterior | None = None
    """None: the export holds no votes to know it from"""
    last: Rule | None = None
    """what the last allowed round draws by: the best batch if there is no look after it; None: as `rule`"""
    max_rounds: int | None = None
    steps: float | None = None
    """decoding steps that its rounds take one after the other, as expected before the first; None: nobody has asked"""

    @property
    def is_greedy(self) -> bool:
        """The question gets one answer at temperature 0 and nothing else."""
        return isinstance(self.rule, GreedyAnswer)

    def extra(self, votes: Sequence[Hashable | None], rounds: int) -> int:
        """Samples to draw next, 0 to stop.

        Args:
            votes: answer classes so far in order of draw, None where a sample abstained.
            rounds: waits so far.
        """
        if self.max_rounds is not None and rounds >= self.max_rounds:
            return 0
        extra = self.rule.extra(votes)
        if extra and self.last is not None and self.max_rounds is not None and rounds == self.max_rounds - 1:
            extra = self.last.extra(votes)
        return min(extra, self.most - len(votes))

    def is_settled(self, votes: Sequence[Hashable | None]) -> bool:
        """Whether all samples that still run can be cancelled: the rule would have stopped at these votes.

        A number of samples that was chosen beforehand is drawn whole.
        """
        if not isinstance(self.rule, ByTable):
            return len(votes) >= self.first
        return bool(votes) and self.rule.extra(votes) == 0

    @property
    def first(self) -> int:
        """Samples before the first look."""
        return self.extra([], 0)

    @property
    def at_once(self) -> int:
        """Samples to start where all are started at once and cancelled at the stop."""
        return self.most if isinstance(self.rule, ByTable) else self.first

    def confidence(self, votes: Sequence[Hashable | None]) -> float | None:
        """P(right | votes) of the answer that leads; None: it cannot be known, or nobody voted."""
        counts = Counter(vote for vote in votes if vote is not None)
        if self.posterior is None or not counts:
            return None
        if self.is_greedy:
            return self.posterior.right_greedily()
        first, second = [*sorted(counts.values(), reverse=True), 0][:2]
        return self.posterior.right(len(votes), first, second)
