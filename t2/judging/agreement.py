"""Whether a live run agrees with replay: live minus replay, paired over questions, with intervals. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from t2.policies.base import Replay
from t2.stats.bootstrap import Interval, interval, resampled_means

ROUNDING = 1e-9
"""Distance from 0 that is none: A(N) of a question that is always right may be 1 - 2e-16."""


@dataclass(frozen=True)
class Agreement:
    """Live minus replay, mean over questions. If replay tells the truth, both are 0 up to their intervals."""

    accuracy: Interval
    """a share, not points"""
    generated_tokens: Interval
    """tokens per question"""

    @property
    def holds(self) -> bool:
        """Whether 0 lies in both intervals; where all is well, each 95% interval leaves it out in one run of twenty."""
        return all(part.low <= ROUNDING and part.high >= -ROUNDING for part in (self.accuracy, self.generated_tokens))

    def as_json(self) -> dict[str, object]:
        return {
            "accuracy_difference": asdict(self.accuracy),
            "generated_tokens_difference": asdict(self.generated_tokens),
            "holds": self.holds,
        }


def agreement(live: Replay, replay: Replay, level: float = 0.95, num_resamples: int = 2000) -> Agreement:
    """Whether a live run agrees with the replay of the same policy on the same questions, in the same order.

    Live is one draw of each question and replay an expected value over its stored samples, so each question's
    difference has mean 0 and carries the noise of both. They are independent between questions: the bootstrap over
    questions counts all of it. `level` is that of each interval alone, see `joint_level`.
    """
    differences = (live.correct - replay.correct, live.generated_tokens - replay.generated_tokens)
    means_R2 = resampled_means(torch.stack(differences, 1), num_resamples, seed=0)
    return Agreement(
        *(interval(float(each.mean()), means_R, level) for each, means_R in zip(differences, means_R2.T, strict=True))
    )


def joint_level(num_policies: int, level: float = 0.95) -> float:
    """Level of each interval, two a policy, so that all of them hold together with probability `level` (Bonferroni)."""
    return 1 - (1 - level) / (2 * num_policies)
