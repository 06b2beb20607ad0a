"""`OrdinalHead`: which budget class a question falls into, by conditional ordinal regression (CORN)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from t2.errors import T2Error
from t2.heads.base import MAX_OUTPUTS, Head, HeadShape, Prediction, Targets, Trunk


def corn_loss(logits_BC: Tensor, class_B: Tensor) -> Tensor:
    """Conditional ordinal loss of Shi, Cao and Raschka (2021), arXiv 2111.08851, equation 3.

    Task k asks "class > k?" of the examples whose class is at least k; the loss is the mean over all asked pairs.

    Args:
        logits_BC: one logit for each of the C tasks (C + 1 classes).
        class_B: 0..C.
    """
    task_C = torch.arange(logits_BC.shape[1], device=logits_BC.device)
    asked_BC = class_B[:, None] >= task_C
    above_BC = class_B[:, None] > task_C
    # log(1 - sigmoid(x)) = logsigmoid(x) - x, without the 1 - 1 that a sure task would come to.
    log_p_BC = torch.where(above_BC, logsigmoid(logits_BC), logsigmoid(logits_BC) - logits_BC)
    return -(log_p_BC * asked_BC).sum() / asked_BC.sum()


class OrdinalHead(Head):
    """Classes by difficulty: 1 < ... < N_max < never ("never" is hopeless or falling; the policy gives it 1 sample)."""

    def __init__(self, shape: HeadShape, hidden: int = 64, dropout: float = 0.3, merge_never: bool = False) -> None:
        """Set sizes.

        Args:
            shape: of features and grid.
            hidden: width of the hidden layer.
            dropout: on features and hidden layer.
            merge_never: train hopeless questions as N* = 1, as the paper does, instead of as the hardest class.
        """
        super().__init__(shape)
        if len(shape.label_grid) >= MAX_OUTPUTS:
            raise T2Error(f"Expected at most {MAX_OUTPUTS - 1} budgets up to M/2, got {len(shape.label_grid)}.")
        self.hidden, self.dropout, self.merge_never = hidden, dropout, merge_never
        self.trunk = Trunk(shape, hidden, len(shape.label_grid) + 1, dropout)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "dropout": self.dropout, "merge_never": self.merge_never}

    @property
    def num_outputs(self) -> int:
        """One task for each budget (the last separates "never") and the length."""
        return len(self.shape.label_grid) + 1

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        """Task logits and length, (B, K+1)."""
        raw_BO: Tensor = self.trunk(self.standardise(pooled_BLD))
        return raw_BO

    def budget_loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """`corn_loss` on the class of N*, "never" being the last."""
        never = 0 if self.merge_never else len(self.shape.label_grid)
        return corn_loss(raw_BO[:, :-1], torch.where(targets.never_B, never, targets.n_star_B))

    def predict(self, raw_BO: Tensor) -> Prediction:
        """P(N* <= budget), and the mean of log2 N*, where "never" counts as one sample."""
        # Task k is conditional on "class >= k", so P(class > k) is the product of the tasks up to k, and never rises.
        above_BK = raw_BO[:, :-1].sigmoid().cumprod(1)
        cdf_BK = 1 - above_BK
        mass_BK = torch.diff(cdf_BK, dim=1, prepend=torch.zeros_like(cdf_BK[:, :1]))
        log2_grid_K = torch.tensor(self.shape.label_grid, device=raw_BO.device).float().log2()
        return Prediction(
            log_tokens_B=self.log_tokens(raw_BO), n_star_cdf_BK=cdf_BK, log2_n_B=(mass_BK * log2_grid_K).sum(1)
        )

    def score(self, prediction: Prediction) -> Tensor:
        """Expected class: higher is harder."""
        assert prediction.n_star_cdf_BK is not None
        return (1 - prediction.n_star_cdf_BK).sum(1)
