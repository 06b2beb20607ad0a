"""Standard metrics of a head on a split, all from torchmetrics."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torchmetrics import CalibrationError, CohenKappa, MeanAbsoluteError, SpearmanCorrCoef

from t2.curves.labels import index_of_at_least
from t2.heads.base import Prediction, Targets


class BudgetMetrics(nn.Module):
    """MAE of log2 N*, quadratic kappa of the budget class, Spearman of N* and of the length, calibration error."""

    def __init__(self, label_grid: tuple[int, ...], gives_curve: bool) -> None:
        super().__init__()
        self.label_grid, self.gives_curve = label_grid, gives_curve
        with warnings.catch_warnings():
            # Spearman keeps all predictions of an epoch: a few numbers for each validation question.
            warnings.simplefilter("ignore", UserWarning)
            self.spearman_n = SpearmanCorrCoef()
            self.spearman_tokens = SpearmanCorrCoef()
            self.spearman_accuracy = SpearmanCorrCoef()
        self.mae_log2_n = MeanAbsoluteError()
        self.kappa = CohenKappa(task="multiclass", num_classes=max(2, len(label_grid)), weights="quadratic")
        self.calibration_error = CalibrationError(task="binary", n_bins=10)

    def update(self, prediction: Prediction, targets: Targets) -> None:
        """Take in a batch. Hopeless and falling questions count as N* = 1, which is what a policy should spend."""
        grid = torch.tensor(self.label_grid, device=targets.n_star_B.device)
        class_B = torch.where(targets.never_B, 0, targets.n_star_B)
        if prediction.log2_n_B is not None:
            truth_B = grid[class_B].float().log2()
            self.mae_log2_n.update(prediction.log2_n_B, truth_B)
            self.spearman_n.update(prediction.log2_n_B.float(), truth_B)
            predicted_B = index_of_at_least(self.label_grid, torch.exp2(prediction.log2_n_B.double()))
            self.kappa.update(predicted_B, class_B)
        self.spearman_tokens.update(prediction.log_tokens_B.float(), targets.log_tokens_B.float())
        if prediction.accuracy_BK is not None:
            top = len(self.label_grid) - 1
            self.spearman_accuracy.update(prediction.accuracy_BK[:, 0].float(), targets.acc_BK[:, 0].float())
            solved_B = targets.acc_BK[:, top] > 0.5
            self.calibration_error.update(prediction.accuracy_BK[:, top].float().clamp(0, 1), solved_B.long())

    def compute(self) -> dict[str, Tensor]:
        """Values by name, without a split's prefix."""
        names = ["mae_log2_n", "kappa", "spearman_n", "spearman_tokens"]
        names += ["spearman_accuracy", "calibration_error"] if self.gives_curve else []
        return {name: self.get_submodule(name).compute() for name in names}  # type: ignore[operator]  # as in `reset`

    def reset(self) -> None:
        for metric in self.children():
            metric.reset()  # type: ignore[operator]  # children are torchmetrics, whose stubs say Module
