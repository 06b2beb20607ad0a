"""Majority voting over answer classes, the same for replay and for serving. Pure.

A vote is a class index >= 0; ABSTAINED is a sample without a vote; ABSENT pads ragged pools. A tie goes to the class of
the lowest sample index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

_Class = TypeVar("_Class", bound=Hashable)

ABSTAINED = -1
ABSENT = -2


def majority(votes: Sequence[_Class | None]) -> _Class | None:
    """The class with the most votes; None if nobody votes."""
    counts = Counter(vote for vote in votes if vote is not None)
    return counts.most_common(1)[0][0] if counts else None  # of a tie the first seen


def one_hot_votes(vote_QM: Tensor) -> Tensor:
    """Votes as 0/1 over classes, shape (Q, M, C) with at least one class; abstentions and padding are all zero."""
    num_classes = max(1, int(vote_QM.max()) + 1 if vote_QM.numel() else 1)
    return (vote_QM[..., None] == torch.arange(num_classes)).to(torch.int32)


def running_leaders(vote_QM: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """After each prefix of the samples: leading class, its votes, and the runner-up's votes.

    Returns:
        leader_QM (ABSTAINED where nobody has voted), first_QM, second_QM.
    """
    one_hot_QMC = one_hot_votes(vote_QM)
    counts_QMC = one_hot_QMC.cumsum(1)
    num_samples = vote_QM.shape[1]
    voted_QC = one_hot_QMC.any(1)
    first_seen_QC = torch.where(voted_QC, one_hot_QMC.argmax(1), num_samples)
    # More votes win; among equals the class seen first does, since first_seen < num_samples + 1 never outweighs a vote.
    rank_QMC = counts_QMC * (num_samples + 1) - first_seen_QC[:, None, :]
    leader_QM = rank_QMC.argmax(2)
    first_QM = counts_QMC.gather(2, leader_QM[..., None]).squeeze(2)
    second_QM = counts_QMC.scatter(2, leader_QM[..., None], 0).amax(2)
    return torch.where(first_QM > 0, leader_QM, ABSTAINED), first_QM, second_QM
