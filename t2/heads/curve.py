"""`CurveHead`: predicts the whole accuracy curve as a mixture of training curves."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.heads.base import MAX_OUTPUTS, Head, HeadShape, Prediction, Targets, Trunk
from t2.heads.medoids import medoids

_CLAMP = 1e-4
"""Predicted accuracies stay this far from 0 and 1 in the cross-entropy."""


class CurveHead(Head):
    """Softmax weights over J atoms (medoids of training curves); the prediction is their weighted curve.

    Loss: cross-entropy of each budget against the exact soft target A(N), plus `eta` times the squared error of the
    gain A(N) - A(1). The level of a curve is easy to predict; the gain is what decides a budget.
    """

    gives_curve: ClassVar[bool] = True
    atom_curve_JK: Tensor
    fresh: Tensor
    """bool: no stage has started yet"""

    def __init__(
        self,
        shape: HeadShape,
        num_atoms: int = 32,
        hidden: int = 64,
        dropout: float = 0.3,
        eta: float = 5.0,
        eps: float = 0.02,
    ) -> None:
        """Set sizes.

        Args:
            shape: of features and grid.
            num_atoms: J, training curves in the mixture.
            hidden: width of the hidden layer.
            dropout: on features and hidden layer.
            eta: weight of the gain's error.
            eps: accuracy given up when a predicted curve is turned into a predicted N*.
        """
        super().__init__(shape)
        if not 2 <= num_atoms < MAX_OUTPUTS:
            raise T2Error(f"Expected `num_atoms` from 2 to {MAX_OUTPUTS - 1}, got {num_atoms}.")
        self.num_atoms, self.hidden, self.dropout, self.eta, self.eps = num_atoms, hidden, dropout, eta, eps
        self.trunk = Trunk(shape, hidden, num_atoms + 1, dropout)
        # Until a stage starts there are no curves: J equal rows that say nothing.
        self.register_buffer("atom_curve_JK", torch.full((num_atoms, len(shape.grid)), 0.5))
        self.register_buffer("fresh", torch.ones((), dtype=torch.bool))

    @property
    def arguments(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("num_atoms", "hidden", "dropout", "eta", "eps")}

    @property
    def num_outputs(self) -> int:
        """J logits and the length."""
        return self.num_atoms + 1

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        """Atom logits and length, (B, J+1)."""
        raw_BO: Tensor = self.trunk(self.standardise(pooled_BLD))
        return raw_BO

    def budget_loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """Cross-entropy against A(N) plus eta times the squared error of the gain, means over budgets."""
        curve_BK = self._curve(raw_BO).clamp(_CLAMP, 1 - _CLAMP)
        level = torch.nn.functional.binary_cross_entropy(curve_BK, targets.acc_BK)
        gain_error_BK = (curve_BK - curve_BK[:, :1]) - (targets.acc_BK - targets.acc_BK[:, :1])
        return level + self.eta * gain_error_BK.square().mean()

    def predict(self, raw_BO: Tensor) -> Prediction:
        """The predicted curve, and N* as it would be read off it."""
        curve_BK = self._curve(raw_BO)
        return Prediction(
            log_tokens_B=self.log_tokens(raw_BO),
            accuracy_BK=curve_BK,
            log2_n_B=self.log2_n_off(curve_BK, self.eps),
            atom_weights_BJ=raw_BO[:, : self.num_atoms].softmax(1),
        )

    def score(self, prediction: Prediction) -> Tensor:
        """Predicted accuracy, mean over the grid: higher is easier."""
        assert prediction.accuracy_BK is not None
        return prediction.accuracy_BK.mean(1)

    def start_stage(self, pooled_QLD: Tensor, targets: Targets) -> None:
        """Choose the atoms.

        A fresh head starts from the training questions' own mixture of atoms; later, what the output layer has
        learned of an old atom goes to the new atoms nearest to it.
        """
        super().start_stage(pooled_QLD, targets)
        acc_QK = targets.acc_BK.cpu()
        chosen = medoids(acc_QK, self.num_atoms)
        # Fewer distinct curves than atoms: repeat them, which a mixture does not mind.
        chosen = chosen[torch.arange(self.num_atoms) % len(chosen)]
        curve_JK = acc_QK[chosen].to(self.atom_curve_JK)
        with torch.no_grad():
            if self.fresh:
                # The last layer is zero but for the bias, so the first prediction is the mean training curve, nearly.
                nearest_Q = torch.cdist(acc_QK, acc_QK[chosen]).argmin(1)
                share_J = torch.bincount(nearest_Q, minlength=self.num_atoms) / len(nearest_Q)
                self.trunk.out.bias[:-1] = share_J.clamp(min=1e-3).log()
                self.fresh.zero_()
            else:
                # Row j of the output layer scores atom j. Atoms are chosen anew, so rows move; the length's stays last.
                nearest_J = torch.cdist(curve_JK, self.atom_curve_JK).argmin(1)
                rows = torch.cat([nearest_J, nearest_J.new_tensor([self.num_atoms])])
                self.trunk.out.weight.copy_(self.trunk.out.weight[rows])
                self.trunk.out.bias.copy_(self.trunk.out.bias[rows])
        self.atom_curve_JK.copy_(curve_JK)

    def _curve(self, raw_BO: Tensor) -> Tensor:
        return raw_BO[:, : self.num_atoms].softmax(1) @ self.atom_curve_JK
