"""Statements about replays with intervals, all on the same resamples of questions. Pure, seeded."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from t2.policies.base import Replay
from t2.stats.bootstrap import Interval, interval, resampled_means
from t2.stats.frontier import Frontier, area, areas_between, tokens_reaching

_BLOCK = 48
"""Columns: a multiple of the block widths of matrix products (4, 6, 8, 12, 16)."""


def difference_and_ratio(first: Replay, second: Replay) -> tuple[float, float]:
    """Accuracy of the first minus that of the second, points; generated tokens of the first over the second's."""
    difference = 100 * float(first.correct.mean() - second.correct.mean())
    return difference, float(first.generated_tokens.mean() / second.generated_tokens.mean())


class Resampled:
    """Bootstrap means of accuracy and generated tokens of many replays; what is compared shares its resamples.

    `clusters_Q` has the same number for questions that are drawn together (a dedup key); None: each alone.
    """

    def __init__(
        self,
        replays: Iterable[Replay],
        clusters_Q: Tensor | None = None,
        num_resamples: int = 2000,
        with_axes: Iterable[Replay] = (),
    ) -> None:
        """Draw the resamples; of replays in `with_axes` critical path and KV tokens are resampled too."""
        axes = list({id(replay): replay for replay in with_axes}.values())
        # Kept, so that an id stays theirs.
        self._keep = list({id(replay): replay for replay in (*replays, *axes)}.values())
        self._column = {id(replay): 2 * index for index, replay in enumerate(self._keep)}
        self._axes_column = {id(replay): 2 * (len(self._keep) + index) for index, replay in enumerate(axes)}
        columns = [v for r in self._keep for v in (r.correct, r.generated_tokens)]
        values_QP = torch.stack(columns + [v for r in axes for v in (r.critical_path, r.peak_kv)], 1)
        # A matrix product rounds columns that do not fill its last block otherwise than the rest. With that block full,
        # no digit of a statistic depends on which other policies are resampled beside it.
        values_QP = torch.nn.functional.pad(values_QP, (0, -values_QP.shape[1] % _BLOCK))
        self.means_RP = resampled_means(values_QP, num_resamples, clusters_Q=clusters_Q)

    def accuracy_R(self, replay: Replay) -> Tensor:
        return self.means_RP[:, self._column[id(replay)]]

    def tokens_R(self, replay: Replay) -> Tensor:
        return self.means_RP[:, self._column[id(replay)] + 1]

    def accuracy(self, replay: Replay) -> Interval:
        """In percent."""
        return interval(100 * float(replay.correct.mean()), 100 * self.accuracy_R(replay))

    def tokens(self, replay: Replay) -> Interval:
        return interval(float(replay.generated_tokens.mean()), self.tokens_R(replay))

    def difference(self, first: Replay, second: Replay) -> Interval:
        """Accuracy points, paired."""
        return interval(
            difference_and_ratio(first, second)[0], 100 * (self.accuracy_R(first) - self.accuracy_R(second))
        )

    def ratio(self, first: Replay, second: Replay) -> Interval:
        """Of generated tokens, paired."""
        return interval(difference_and_ratio(first, second)[1], self.tokens_R(first) / self.tokens_R(second))

    def path_ratio(self, first: Replay, second: Replay) -> Interval:
        """Of critical paths, paired."""
        return self._axis_ratio(first, second, "critical_path", 0)

    def memory_ratio(self, first: Replay, second: Replay) -> Interval:
        """Of KV tokens held at once, paired."""
        return self._axis_ratio(first, second, "peak_kv", 1)

    def _axis_ratio(self, first: Replay, second: Replay, axis: str, offset: int) -> Interval:
        value = float(getattr(first, axis).mean() / getattr(second, axis).mean())
        mine_R, theirs_R = (self.means_RP[:, self._axes_column[id(r)] + offset] for r in (first, second))
        return interval(value, mine_R / theirs_R)

    def ratio_at_same_accuracy(self, replay: Replay, fixed: Frontier) -> Interval:
        """Of generated tokens to those with which FixedN is as accurate, between budgets a mixture of two.

        Where FixedN is nowhere as accurate its dearest budget counts, where it is everywhere more its cheapest.
        """

        def ratio_R(tokens_R: Tensor, accuracy_R: Tensor, fixed_tokens_RK: Tensor, fixed_acc_RK: Tensor) -> Tensor:
            needed_R = tokens_reaching(fixed_tokens_RK, fixed_acc_RK, accuracy_R)
            return tokens_R / needed_R.minimum(fixed_tokens_RK.amax(1))

        here = (replay.generated_tokens.mean()[None], replay.correct.mean()[None])
        value = float(ratio_R(*here, fixed.tokens_P[None], fixed.accuracy_P[None]))
        return interval(value, ratio_R(self.tokens_R(replay), self.accuracy_R(replay), *self._line_RP(fixed)))

    def area(self, frontier: Frontier, fixed: Frontier, n_ref: int) -> Interval:
        """Area against FixedN, points."""
        return interval(100 * area(frontier, fixed, n_ref), self.areas_R(frontier, fixed, n_ref))

    def areas_R(self, frontier: Frontier, fixed: Frontier, n_ref: int) -> Tensor:
        """Area in each resample, points."""
        return 100 * areas_between(*self._line_RP(frontier), *self._line_RP(fixed.upto(n_ref)))

    def _line_RP(self, frontier: Frontier) -> tuple[Tensor, Tensor]:
        tokens, accuracy = ([part(r) for r in frontier.replays] for part in (self.tokens_R, self.accuracy_R))
        return torch.stack(tokens, 1), torch.stack(accuracy, 1)
