"""What stopping rules take from training questions: their votes, which answer was right, and what samples cost. Pure.

It is all that is needed to plan rounds without a head at any pair of prices, and with a `PriorHead`'s weights for each
question.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.labels import BudgetLabels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.answer_atoms import AnswerAtoms, atoms_of_counts


@dataclass(frozen=True)
class TrainingVotes:
    """Of Q questions, each (Q,) but for the counts."""

    count_Q3: Tensor
    """samples for the most frequent answer, the second, and everything else with abstentions, float64"""
    right_Q: Tensor
    """1: the most frequent answer is correct, 2: the second is, 0: neither"""
    tokens_Q: Tensor
    """mean generated tokens of a sample, float64"""
    greedy_Q: Tensor
    """1: the greedy answer is correct, 0: it is not, NaN: there is none, or it is not to be used, float64"""

    def __len__(self) -> int:
        return len(self.right_Q)

    @staticmethod
    def of(pool: GradedPool, labels: BudgetLabels) -> TrainingVotes:
        right_Q = labels.greedy_right_Q
        greedy_Q = torch.full((len(pool),), torch.nan, dtype=torch.float64) if right_Q is None else right_Q.double()
        return TrainingVotes(*pool.top_counts(), pool.mean_tokens_Q, greedy_Q)

    @property
    def atoms(self) -> AnswerAtoms:
        """The questions' own answer distributions."""
        return atoms_of_counts(self.count_Q3, self.right_Q)

    @property
    def greedy_right_Q(self) -> Tensor | None:
        """Whether each greedy answer is correct; None: not every question has one."""
        return None if bool(self.greedy_Q.isnan().any()) else self.greedy_Q

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        return {name: value.contiguous() for name, value in vars(self).items()}

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor], where: str) -> TrainingVotes:
        """What `tensors` gave.

        Raises:
            T2Error: tensors are missing or unexpected, or have shapes or values that votes cannot have.
        """
        names = set(TrainingVotes.__dataclass_fields__)
        if tensors.keys() != names:
            raise T2Error(f"Expected the tensors {sorted(names)} in {where}, got {sorted(tensors)}. Export again.")
        votes = TrainingVotes(**tensors)
        if not votes._make_sense():
            found = {name: f"{value.dtype} {tuple(value.shape)}" for name, value in tensors.items()}
            raise T2Error(
                f"Expected votes of questions in {where}, got {found}, or numbers that votes cannot have. Export again."
            )
        return votes

    def _make_sense(self) -> bool:
        num = len(self.right_Q) if self.right_Q.dim() == 1 else 0
        shapes_fit = self.count_Q3.shape == (num, 3) and self.tokens_Q.shape == self.greedy_Q.shape == (num,)
        numbers = (self.count_Q3, self.tokens_Q, self.greedy_Q)
        if not (num and shapes_fit and all(each.dtype == torch.float64 for each in numbers)):
            return False
        counted = all(bool((each.isfinite() & (each >= 0)).all()) for each in (self.count_Q3, self.tokens_Q))
        named = self.right_Q.dtype == torch.long and bool(((self.right_Q >= 0) & (self.right_Q <= 2)).all())
        greedy = bool((self.greedy_Q.isnan() | (self.greedy_Q == 0) | (self.greedy_Q == 1)).all())
        return counted and named and greedy
