"""`GradedPool`: a pool as tensors, which is all that curves, policies and evaluation see. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from t2.splits import sample_fold
from t2.voting import ABSENT, one_hot_votes


@dataclass(frozen=True)
class GradedPool:
    """Graded samples of Q questions; M is the largest pool, smaller ones are padded with ABSENT."""

    question_ids: tuple[str, ...]
    dedup_keys: tuple[str, ...]
    families: tuple[str, ...]
    sizes: tuple[int, ...]
    vote_QM: Tensor
    """answer class of each sample (index within the question), ABSTAINED or ABSENT; in order of draw"""
    right_QM: Tensor
    """bool: the sample votes for a correct class"""
    tokens_QM: Tensor
    """generated tokens of each sample, end token included; 0 where absent"""
    truncated_QM: Tensor
    """bool: the sample did not finish by itself"""
    greedy_right_Q: Tensor
    """bool: the greedy answer is correct"""
    greedy_tokens_Q: Tensor
    """generated tokens of the greedy answer"""
    prompt_tokens_Q: Tensor
    """tokens of the prompt"""
    greedy_present_Q: Tensor = field(default=None)  # type: ignore[assignment]  # filled below
    """bool: there is a greedy answer; if not, its other fields are False and 0 and mean nothing"""

    def __post_init__(self) -> None:
        """Greedy answers are there unless said otherwise."""
        if self.greedy_present_Q is None:
            object.__setattr__(self, "greedy_present_Q", torch.ones(len(self.question_ids), dtype=torch.bool))

    def __len__(self) -> int:
        return len(self.question_ids)

    def take(self, rows: Sequence[int] | Tensor) -> GradedPool:
        """The pool of some questions."""
        index = torch.as_tensor(rows, dtype=torch.long)
        picked: dict[str, Any] = {}
        for name in (each.name for each in fields(self)):
            value = getattr(self, name)
            picked[name] = value[index] if isinstance(value, Tensor) else tuple(value[i] for i in index.tolist())
        return GradedPool(**picked)

    @property
    def present_QM(self) -> Tensor:
        """bool: there is a sample."""
        return self.vote_QM != ABSENT

    @property
    def mean_tokens_Q(self) -> Tensor:
        """Mean generated tokens of a question's samples, float64."""
        return self.tokens_QM.sum(1).double() / self.present_QM.sum(1)

    def class_counts(self, only_QM: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Votes of each class, which classes are correct, abstentions: the arguments of `majority_accuracy`.

        Args:
            only_QM: bool; count these samples alone (a fold).
        """
        chosen_QM = self.present_QM if only_QM is None else self.present_QM & only_QM
        one_hot_QMC = one_hot_votes(self.vote_QM) * chosen_QM[..., None]
        counts_QC = one_hot_QMC.sum(1)
        correct_QC = (one_hot_votes(self.vote_QM) * self.right_QM[..., None]).any(1)
        return counts_QC, correct_QC, chosen_QM.sum(1) - counts_QC.sum(1)

    def fold_QM(self) -> Tensor:
        """Half 0 or 1 of each sample, by hash of question id and draw: what one half chooses, the other scores."""
        num_draws = self.vote_QM.shape[1]
        return torch.tensor([[sample_fold(q, draw) for draw in range(num_draws)] for q in self.question_ids])
