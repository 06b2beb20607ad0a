"""Targets of made-up questions."""

from __future__ import annotations

import torch
from torch import Tensor

from t2.heads.base import Targets

SAMPLES = 12


def targets(acc_BK: Tensor, n_star_B: Tensor, never_B: Tensor, log_tokens_B: Tensor, fold_B: Tensor) -> Targets:
    """With counts of `SAMPLES` samples that give A(1) where the first answer is correct, and no greedy answers."""
    right_B = (acc_BK[:, 0] > 0.05).long()
    first_B = torch.where(right_B == 1, (SAMPLES * acc_BK[:, 0].double()).round(), 7.0).clamp(min=5)
    second_B = ((SAMPLES - first_B) / 2).floor()
    return Targets(
        acc_BK=acc_BK,
        n_star_B=n_star_B,
        never_B=never_B,
        log_tokens_B=log_tokens_B,
        fold_B=fold_B,
        count_B3=torch.stack([first_B, second_B, SAMPLES - first_B - second_B], 1),
        right_B=right_B,
        greedy_right_B=torch.full((len(acc_BK),), torch.nan),
    )
