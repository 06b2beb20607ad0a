"""Medoids: rows that represent all rows, of training curves or of answer distributions. Pure."""

from __future__ import annotations

import torch
from torch import Tensor

_MAX_SWEEPS = 50


def medoids(points_QK: Tensor, num_medoids: int, seed: int = 0) -> Tensor:
    """Indices of at most `num_medoids` rows that represent all rows (k-medoids, Voronoi iteration, Euclidean).

    Starts from k-means++ draws (Arthur and Vassilvitskii, 2007) of a seeded generator; duplicates of a row are never
    chosen twice, so fewer may come back.

    Two steps in turn, as in k-means, but a centre is always a row: each row goes to its nearest medoid, then each group
    takes the member with the least sum of distances to the others. Neither step can raise the sum of all distances, so
    this ends; an empty group cannot be, because every medoid is nearest to itself.
    """
    points_QK = points_QK.double()
    distance_QQ = torch.cdist(points_QK, points_QK)
    chosen = _spread_start(distance_QQ, num_medoids, torch.Generator().manual_seed(seed))
    for _ in range(_MAX_SWEEPS):
        nearest_Q = distance_QQ[:, chosen].argmin(1)
        moved = chosen.clone()
        for cluster in range(len(chosen)):
            members = torch.nonzero(nearest_Q == cluster).squeeze(1)
            within = distance_QQ[members][:, members].sum(1)
            moved[cluster] = members[int(within.argmin())]
        if torch.equal(moved, chosen):
            break
        chosen = moved
    return chosen.sort().values


def _spread_start(distance_QQ: Tensor, num_medoids: int, generator: torch.Generator) -> Tensor:
    """Draw rows with probability proportional to the squared distance from those already drawn."""
    # The first is no draw but the row nearest to all others.
    chosen = [int(distance_QQ.sum(1).argmin())]
    while len(chosen) < num_medoids:
        weight_Q = distance_QQ[:, chosen].amin(1).square()
        if float(weight_Q.max()) < 1e-12:
            break
        chosen.append(int(torch.multinomial(weight_Q, 1, generator=generator)))
    return torch.tensor(chosen)
