"""A trained `PriorHead` in as few steps as it takes: what an engine runs at every decoding step. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import gelu, rms_norm

from t2.heads.base import RMS_EPS, Standardise, Trunk


class FoldedPrior:
    """Same outputs as the head up to rounding, from copies of its weights.

    A head in an engine sees a few rows at a time and is small, so that its time is the number of its operations and not
    their size. The scale of the standardised activations goes into the map onto the principal components, and the
    members run as one network whose last map is a batch of small ones:

        (x - mean) @ A,  A = scale * basis

    The mean stays outside: some coordinates of an LLM are a thousand times larger than others and hardly vary, and
    taken off after the product they would leave their rounding behind.
    """

    def __init__(self, standardise: Standardise, basis_FC: Tensor, members: Sequence[Trunk]) -> None:
        """Copy and fold.

        Args:
            standardise: of the head.
            basis_FC: principal directions, F = layers x width.
            members: E networks on the components.
        """
        self._mean_F = standardise.mean_LD.flatten().clone()
        self._map_FC = standardise.scale_LD.flatten()[:, None] * basis_FC
        with torch.no_grad():
            # E members of width H side by side: (C, E x H).
            self._hidden_CX = torch.cat([member.project.weight for member in members]).T.contiguous()
            self._hidden_X = torch.cat([member.project.bias for member in members])
            self._out_EHO = torch.stack([member.out.weight.T for member in members]).contiguous()
            self._out_E1O = torch.stack([member.out.bias[None] for member in members])
        self._log_members = math.log(len(members))

    def __call__(self, pooled_BLD: Tensor) -> Tensor:
        """Log weights over atoms and the length, (B, J + 1), of float32 activations."""
        members, width, _ = self._out_EHO.shape
        normed_BF = rms_norm(pooled_BLD, pooled_BLD.shape[2:], eps=RMS_EPS).flatten(1)
        x_BC = (normed_BF - self._mean_F) @ self._map_FC
        hidden_BX = gelu(torch.addmm(self._hidden_X, x_BC, self._hidden_CX))
        hidden_EBH = hidden_BX.view(-1, members, width).transpose(0, 1)
        raw_EBO = torch.baddbmm(self._out_E1O, hidden_EBH, self._out_EHO)
        log_BJ = raw_EBO[..., :-1].log_softmax(2).logsumexp(0) - self._log_members
        return torch.cat([log_BJ, raw_EBO[..., -1:].mean(0)], 1)
