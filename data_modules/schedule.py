"""Which train questions an epoch uses: depends on the epoch alone, so live, finished and resumed runs agree. Pure."""

from __future__ import annotations

from itertools import count, takewhile

FIRST_STAGE = 64
"""Train questions of the first epochs; each stage doubles them."""


def stage_sizes(num_questions: int, max_epochs: int) -> list[int]:
    """Rising numbers of train questions, the last is all; few epochs drop the smallest stages."""
    sizes = list(takewhile(lambda size: size < num_questions, (FIRST_STAGE << doublings for doublings in count())))
    partial = sizes[-(max_epochs // 2) :] if max_epochs >= 2 else []
    return [*partial, num_questions]


def epochs_before_all(num_questions: int, max_epochs: int) -> int:
    """How many epochs see a part of the train questions alone; at most half of them."""
    partial_stages = len(stage_sizes(num_questions, max_epochs)) - 1
    return partial_stages * max(1, max_epochs // 2 // partial_stages) if partial_stages else 0


def ready(epoch: int, num_questions: int, max_epochs: int) -> int:
    """How many train questions (the first in labelling order) epoch `epoch` uses; at least half the epochs use all.

    130 questions and 9 epochs: 64 64 | 128 128 | 130 130 130 130 130.
    """
    sizes, partial_epochs = stage_sizes(num_questions, max_epochs), epochs_before_all(num_questions, max_epochs)
    return sizes[epoch * (len(sizes) - 1) // partial_epochs] if epoch < partial_epochs else num_questions


def is_stage_start(epoch: int, num_questions: int, max_epochs: int) -> bool:
    """The first epoch, and the first that uses all questions: then the head takes its statistics anew."""
    now = ready(epoch, num_questions, max_epochs)
    return epoch == 0 or (now == num_questions and ready(epoch - 1, num_questions, max_epochs) < now)
