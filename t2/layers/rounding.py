"""What 16 bits make of each layer's activations. Pure.

At the last token of a prompt early layers hold mostly what all prompts share, and 16 bits round that: what is rounded
away is small beside the activation, and large beside what differs between questions, which is all that a head reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.heads.base import Standardise


@dataclass(frozen=True)
class Rounding:
    """Of a layer: root mean squares over coordinates, in deviations of a coordinate over questions."""

    layer: int
    own: float
    """what each question has for itself: to a head it looks like a difference between questions"""
    shared: float
    """what all questions have in common: a head that learns in the same precision does not see it"""


def rounding_of(coarse_QLD: Tensor, exact_QLD: Tensor, layers: Sequence[int]) -> tuple[Rounding, ...]:
    """Compare the same questions, standardised as a head does it.

    Args:
        coarse_QLD: activations in 16 bits.
        exact_QLD: the same in float32.
        layers: numbers of the L layers.
    """
    standardise = Standardise(*exact_QLD.shape[1:])
    standardise.fit(exact_QLD)
    moved_QLD = (standardise(coarse_QLD) - standardise(exact_QLD)).double()
    shared_LD = moved_QLD.mean(0)
    own_L = (moved_QLD - shared_LD).square().mean((0, 2)).sqrt()
    shared_L = shared_LD.square().mean(1).sqrt()
    return tuple(
        Rounding(layer, own, shared)
        for layer, own, shared in zip(layers, own_L.tolist(), shared_L.tolist(), strict=True)
    )
