"""`GradedPool`: a pool as tensors, which is all that curves, policies and evaluation see. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from t2.splits import sample_folds
from t2.voting import ABSENT, ABSTAINED


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
    greedy_present_Q: Tensor
    """bool: there is a greedy answer; if not, its other fields are False and 0 and mean nothing"""

    def __len__(self) -> int:
        return len(self.question_ids)

    def take(self, rows: Sequence[int] | Tensor) -> GradedPool:
        index = torch.as_tensor(rows, dtype=torch.long)
        picked: dict[str, Any] = {
            name: value[index] if isinstance(value, Tensor) else tuple(value[row] for row in index.tolist())
            for name, value in vars(self).items()
        }
        return GradedPool(**picked)

    def only(self, keep_QM: Tensor) -> GradedPool:
        """The pool of some samples alone (bool), in order of draw; its columns are no draws, so it has no `fold_QM`."""
        keep_QM = keep_QM & self.present_QM
        # A stable sort by "dropped" moves what is kept to the left without changing its order: [-, a, -, b] -> [a, b].
        width = int(keep_QM.sum(1).max()) if len(self) else 0
        order_QM = (~keep_QM).int().argsort(dim=1, stable=True)[:, :width]
        kept_QM = keep_QM.gather(1, order_QM)
        padding = {"vote_QM": ABSENT, "right_QM": False, "tokens_QM": 0, "truncated_QM": False}
        moved: dict[str, Any] = {
            name: getattr(self, name).gather(1, order_QM).masked_fill(~kept_QM, value)
            for name, value in padding.items()
        }
        return replace(self, **moved)

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

        With `only_QM` (bool) these samples alone are counted (a fold), but a class is correct whoever votes for it.
        """
        chosen_QM = self.present_QM if only_QM is None else self.present_QM & only_QM
        # Spread into (Q, C) at once: one-hot votes would be (Q, M, C), for nothing.
        num_classes = max(1, int(self.vote_QM.max()) + 1 if self.vote_QM.numel() else 1)
        class_QM, voted_QM = self.vote_QM.long().clamp(min=0), self.vote_QM > ABSTAINED
        counts_QC = torch.zeros(len(self), num_classes, dtype=torch.long)
        counts_QC.scatter_add_(1, class_QM, (voted_QM & chosen_QM).long())
        # A class is right if any sample that voted for it is: all of a class are alike.
        right_QC = torch.zeros(len(self), num_classes, dtype=torch.long)
        right_QC.scatter_add_(1, class_QM, (voted_QM & self.right_QM).long())
        return counts_QC, right_QC > 0, chosen_QM.sum(1) - counts_QC.sum(1)

    def top_counts(self) -> tuple[Tensor, Tensor]:
        """Samples for the most frequent answer, the second, and all else with abstentions; and which is correct.

        Counts are (Q, 3) float64; correct (Q,) is 1 for the first, 2 for the second, 0 for neither. Of equally frequent
        answers the one seen first comes first.
        """
        counts_QC, correct_QC, abstained_Q = self.class_counts()
        # Two empty classes more: a second answer must be there to be looked up, though nobody gave it.
        counts_QC, correct_QC = (torch.nn.functional.pad(each_QC, (0, 2)) for each_QC in (counts_QC, correct_QC))
        top_Q2, which_Q2 = counts_QC.sort(dim=1, descending=True, stable=True)
        top_Q2, which_Q2 = top_Q2[:, :2], which_Q2[:, :2]
        rest_Q = counts_QC.sum(1) + abstained_Q - top_Q2.sum(1)
        correct_Q2 = correct_QC.gather(1, which_Q2) & (top_Q2 > 0)
        right_Q = torch.where(correct_Q2[:, 0], 1, torch.where(correct_Q2[:, 1], 2, 0))
        return torch.cat([top_Q2, rest_Q[:, None]], 1).double(), right_Q

    def fold_QM(self) -> Tensor:
        """Half 0 or 1 of each sample, by hash of question id and draw: what one half chooses, the other scores."""
        num_draws = self.vote_QM.shape[1]
        folds = [sample_folds(question_id, num_draws) for question_id in self.question_ids]
        return torch.tensor(folds, dtype=torch.long).reshape(self.vote_QM.shape)
