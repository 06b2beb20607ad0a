"""`LayerwiseRegression`: the paper's T2. One regression of log2 N* per layer, combined by how well each layer does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from t2.errors import T2Error
from t2.heads.base import HEAD_FOLDS, MAX_OUTPUTS, Head, HeadShape, Prediction, Targets


class LayerwiseRegression(Head):
    """One MLP (width D/8) per layer predicts log2 N*; the weighted mean of layers is the prediction.

    Weights are proportional to 1/MSE of out-of-fold predictions inside the training questions: besides the MLP that
    learns from all of them, each layer has one MLP per inner fold that never sees that fold. What the paper leaves
    open (loss: squared error; weights: 1/MSE, normalised; rounding: the policy's) is our choice.
    """

    layer_weight_L: Tensor

    def __init__(self, shape: HeadShape, dropout: float = 0.3) -> None:
        """Build (1 + folds) MLPs per layer; the first learns from all questions."""
        super().__init__(shape)
        self.dropout = dropout
        if self.num_outputs > MAX_OUTPUTS:
            most = (MAX_OUTPUTS - 1) // (1 + HEAD_FOLDS)
            raise T2Error(f"Expected at most {most} layers for LayerwiseRegression, got {shape.num_layers}.")
        # Standardised features come out of the first map with deviation 1, and the last starts at zero: at one sample.
        num_mlps, hidden = 1 + HEAD_FOLDS, max(1, shape.width // 8)
        self.w_in_FLDH = nn.Parameter(torch.randn(num_mlps, shape.num_layers, shape.width, hidden) * shape.width**-0.5)
        self.b_in_FLH = nn.Parameter(torch.zeros(num_mlps, shape.num_layers, hidden))
        self.w_out_FLH = nn.Parameter(torch.zeros(num_mlps, shape.num_layers, hidden))
        self.b_out_FL = nn.Parameter(torch.zeros(num_mlps, shape.num_layers))
        self.length = nn.Linear(shape.num_layers * shape.width, 1)
        nn.init.zeros_(self.length.weight)
        nn.init.zeros_(self.length.bias)
        self.drop_in, self.drop_hidden = nn.Dropout(dropout), nn.Dropout(dropout)
        self.register_buffer("layer_weight_L", torch.full((shape.num_layers,), 1.0 / shape.num_layers))

    @property
    def arguments(self) -> dict[str, Any]:
        return {"dropout": self.dropout}

    @property
    def num_outputs(self) -> int:
        """(1 + folds) predictions per layer and the length."""
        return (1 + HEAD_FOLDS) * self.shape.num_layers + 1

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        """log2 N* of every MLP (all-question MLPs first), and the length."""
        x_BLD = self.drop_in(self.standardise(pooled_BLD))
        hidden_BFLH = torch.einsum("bld,fldh->bflh", x_BLD, self.w_in_FLDH) + self.b_in_FLH
        hidden_BFLH = self.drop_hidden(nn.functional.gelu(hidden_BFLH))
        mu_BFL = torch.einsum("bflh,flh->bfl", hidden_BFLH, self.w_out_FLH) + self.b_out_FL
        return torch.cat([mu_BFL.flatten(1), self.length(x_BLD.flatten(1))], 1)

    def budget_loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """Mean squared error of log2 N*, each MLP over the questions it may see."""
        error_BFL = self._mu(raw_BO) - self._log2_n_star(targets)[:, None, None]
        # MLP 0 stands for fold -1, which no question is in: it sees all. MLP 1 + f sees all but fold f.
        fold_F = torch.arange(-1, HEAD_FOLDS, device=raw_BO.device)
        seen_BF = (targets.fold_B[:, None] != fold_F).float()
        return (error_BFL.square().mean(2) * seen_BF).sum() / seen_BF.sum()

    def predict(self, raw_BO: Tensor) -> Prediction:
        """The weighted mean over layers of the all-question MLPs."""
        mu_BL = self._mu(raw_BO)[:, 0]
        return Prediction(log_tokens_B=self.log_tokens(raw_BO), log2_n_B=mu_BL @ self.layer_weight_L)

    def score(self, prediction: Prediction) -> Tensor:
        assert prediction.log2_n_B is not None
        return prediction.log2_n_B

    def finish_epoch(self, pooled_QLD: Tensor, targets: Targets) -> None:
        """Weigh the layers by 1/MSE of the predictions of MLPs that have not seen the question's fold."""
        mu_QFL = self._mu(self(pooled_QLD))
        unseen_QL = mu_QFL[torch.arange(len(mu_QFL), device=mu_QFL.device), 1 + targets.fold_B]
        mse_L = (unseen_QL - self._log2_n_star(targets)[:, None]).square().mean(0)
        # Without the floor a layer that fits a few questions exactly would take all the weight.
        weight_L = 1.0 / mse_L.clamp(min=1e-6)
        self.layer_weight_L.copy_(weight_L / weight_L.sum())

    def _mu(self, raw_BO: Tensor) -> Tensor:
        return raw_BO[:, :-1].reshape(-1, 1 + HEAD_FOLDS, self.shape.num_layers)

    def _log2_n_star(self, targets: Targets) -> Tensor:
        grid = torch.tensor(self.shape.label_grid, device=targets.n_star_B.device)
        return torch.where(targets.never_B, 1, grid[targets.n_star_B]).float().log2()
