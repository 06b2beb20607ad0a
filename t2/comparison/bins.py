"""The common decision layer: every head and control gets a curve from one score, so that policies compare scores alone.

Out-of-fold score -> 8 bins of equal size -> mean training curve (and mean log length) of the bin. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.heads.base import Prediction

NUM_BINS = 8


@dataclass(frozen=True)
class BinnedCurves:
    """Fitted on training questions; predicts by table look-up."""

    edges: Tensor
    """inner edges of the bins, rising"""
    acc_NK: Tensor
    """mean training curve of each bin"""

    def bin_of(self, score_B: Tensor) -> Tensor:
        return torch.bucketize(score_B.double(), self.edges)

    def predict(self, score_B: Tensor, log_tokens_B: Tensor) -> Prediction:
        """The curve of each question's bin; the length is the head's own."""
        return Prediction(log_tokens_B=log_tokens_B, accuracy_BK=self.acc_NK[self.bin_of(score_B)])


def fit_bins(score_Q: Tensor, acc_QK: Tensor, num_bins: int = NUM_BINS) -> BinnedCurves:
    """Bins of equal size over the training questions' out-of-fold scores; equal scores stay together."""
    quantiles = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)[1:-1]
    # Many equal scores give equal quantiles: kept once, or a bin between them could hold nobody.
    edges = torch.tensor(sorted(set(torch.quantile(score_Q.double(), quantiles).tolist())), dtype=torch.float64)
    bin_Q = torch.bucketize(score_Q.double(), edges)
    overall_K = acc_QK.mean(0)
    rows = [acc_QK[bin_Q == b].mean(0) if bool((bin_Q == b).any()) else overall_K for b in range(len(edges) + 1)]
    return BinnedCurves(edges, torch.stack(rows))
