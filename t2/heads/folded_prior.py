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
    their size. Shift and scale of the standardised activations go into the map onto the principal components, and the
    members run as one network whose last map is a batch of small ones:

        x @ A + a,  A = scale * basis,  a = -(mean * scale) @ basis
    """

    def __init__(self, standardise: Standardise, basis_FC: Tensor, members: Sequence[Trunk]) -> None:
        """Copy and fold.

        Args:
            standardise: of the head.
            basis_FC: principal directions, F = layers x width.
            members: E networks on the components.
        """
        mean_F, scale_F = standardise.mean_LD.double().flatten(), standardise.scale_LD.double().flatten()
        basis_FC = basis_FC.double()
        dtype = members[0].out.weight.dtype
        self._map_FC = (scale_F[:, None] * basis_FC).to(dtype)
        self._shift_C = (-(mean_F * scale_F) @ basis_FC).to(dtype)
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
        x_BC = torch.addmm(self._shift_C, normed_BF, self._map_FC)
        hidden_BX = gelu(torch.addmm(self._hidden_X, x_BC, self._hidden_CX))
        hidden_EBH = hidden_BX.view(-1, members, width).transpose(0, 1)
        raw_EBO = torch.baddbmm(self._out_E1O, hidden_EBH, self._out_EHO)
        log_BJ = raw_EBO[..., :-1].log_softmax(2).logsumexp(0) - self._log_members
        return torch.cat([log_BJ, raw_EBO[..., -1:].mean(0)], 1)
