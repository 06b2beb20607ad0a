"""Choose a policy's setting on some questions, to be scored on others. Pure."""

from __future__ import annotations

import torch

from t2.evaluation.frontier import Frontier

ALLOWANCE = 0.01
"""Accuracy that the chosen setting may lose against FixedN(N_ref) on the questions that choose."""


def cheapest_within(frontier: Frontier, reference_accuracy: float, allowance: float = ALLOWANCE) -> int:
    """Index of the setting with the fewest tokens whose accuracy is within `allowance` of the reference.

    If there is none, the most accurate setting (of equals the cheapest).
    """
    accuracy_P, tokens_P = frontier.accuracy_P, frontier.tokens_P
    good_P = accuracy_P >= reference_accuracy - allowance - 1e-12
    if not bool(good_P.any()):
        good_P = accuracy_P >= accuracy_P.max() - 1e-12
    return int(torch.where(good_P, tokens_P, torch.inf).argmin())
