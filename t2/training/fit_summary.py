"""The block that ends `fit`: what the exported head is worth, for a reader who has seen nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from t2.comparison.as_served import replay_as_served
from t2.comparison.slices import Slice
from t2.comparison.tuning import ALLOWANCE
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.head_record import Decision, WeighedRule
from t2.judging.as_exported import AsExported, as_exported
from t2.policies.base import Replay, replay_fixed
from t2.policies.one_round import FixedN
from t2.policies.record import Policy, in_words
from t2.policies.stoppers import StopInputs
from t2.stats.bootstrap import Interval

MIN_TEST = 40
"""Fewest labelled test questions that the block is about; with fewer it is about validation, and says so."""
_LABEL_WIDTH = 50


@dataclass(frozen=True)
class FitSummary:
    """The exported policy beside one N for all, on the same questions."""

    exported: AsExported
    fixed: Replay
    n_ref: int
    """samples of the reference"""
    split_size: int
    """questions of the split; more than are replayed where some are not labelled yet"""
    split: str
    """"test" or "validation": whose questions these are"""
    decision: Decision | None = None
    """why it was exported, and what was weighed; None: unknown"""
    chose_checkpoint: bool = True
    """validation questions chose the checkpoint; else it has the last weights"""
    warnings: tuple[str, ...] = ()
    """signs that no budget head would pay here, see `t2.stats.warnings`"""

    @classmethod
    def of(
        cls,
        policy: Policy,
        given: StopInputs,
        pool: GradedPool,
        labels: BudgetLabels,
        n_ref: int,
        split: str,
        split_size: int,
        decision: Decision | None = None,
        chose_checkpoint: bool = True,
        warnings: Iterable[str] = (),
    ) -> FitSummary:
        """Replay both on a split.

        Args:
            policy: of the export.
            given: what the policy decides about the questions of `pool` with.
            pool: graded samples.
            labels: of the pool, on the head's grid.
            n_ref: N_D of train and validation questions, samples.
            split: name of the split that the questions are from.
            split_size: its questions, also those without labels.
            decision: of the export.
            chose_checkpoint: validation questions chose the checkpoint.
            warnings: of the questions that the head was made with.
        """
        # The reference was settled on train and validation questions: N_D of these very ones would flatter it.
        on = Slice.of(pool, labels, seed=0)
        fixed = replay_fixed(n_ref, labels, pool, on.axes)
        exported = as_exported(policy, replay_as_served(policy, on, given), fixed, pool)
        return cls(exported, fixed, n_ref, split_size, split, decision, chose_checkpoint, tuple(warnings))

    def lines(self) -> Iterator[str]:
        """The block up to where things lie."""
        exported, fixed = self.exported, self.fixed
        labelled = len(fixed.correct)
        some = f"{labelled} of {self.split_size}" if labelled < self.split_size else f"{labelled}"
        count = f"{some} {self.split} questions"
        if self.split == "test":
            yield f"What the export is worth, on {count}, which have decided nothing so far:"
        elif self.chose_checkpoint:
            yield f"What the export is worth, on {count}, which chose the checkpoint: slightly too good:"
        else:
            yield f"What the export is worth, on {count}; no checkpoint was chosen, it has the last weights:"
        yield from (
            _row(f"one N for all, {in_words(FixedN(self.n_ref))}", float(fixed.samples.mean()), fixed.correct),
            _row(exported.policy, exported.samples, exported.accuracy.value),
            f"  {'tokens saved':<{_LABEL_WIDTH}} {_percent(exported.ratio)}",
            f"  {'accuracy difference':<{_LABEL_WIDTH}} {_points(exported.difference)}",
            f"  {'waits':<{_LABEL_WIDTH}} {exported.rounds:.2f} rounds a question; {axes_in_words(exported)}",
            f"  {self.verdict}",
            *(f"  Beware: {warning}" for warning in self.warnings),
        )
        if self.decision is not None:
            yield from ("", *decision_lines(self.decision))

    @property
    def verdict(self) -> str:
        """What the two intervals say together."""
        if (num := len(self.fixed.correct)) < MIN_TEST:  # 16 that agree would give an interval of [0, 0]
            return f"{num} questions are too few to be sure of either: it takes {MIN_TEST}."
        allowance = self.decision.allowance if self.decision else None
        allowed = 100 * (ALLOWANCE if allowance is None else allowance)
        if self.exported.difference.high < -allowed:
            return f"It loses more than {in_points(allowed)}, surely: see docs/GUIDE.md, section 3."
        loss = f"loses at most {max(0.0, -self.exported.difference.low):.1f} points"
        if self.exported.ratio.high < 1:
            return f"So it saves tokens, and {loss} (both with 95% confidence, each alone)."
        if self.exported.ratio.low > 1:
            return f"So it spends more tokens than one N for all: do not use it. It {loss}."
        return f"So it is not clear that it saves tokens; it {loss} (95% confidence)."


def _row(label: str, samples: float, right: float | torch.Tensor) -> str:
    percent = right if isinstance(right, float) else 100 * float(right.mean())
    return f"  {label:<{_LABEL_WIDTH}} {samples:5.1f} samples a question, {percent:.1f}% right"


def decision_lines(decision: Decision) -> Iterator[str]:
    """Why this was exported, and what the others would have cost."""
    yield f"Decision {decision.why}"
    if decision.loses is not None:
        loss = decision.loses
        gives = (
            f"{_points(loss.difference)} and {_percent(loss.ratio)} of the tokens saved, in {loss.rounds:.2f} rounds"
        )
        if decision.basis == "calibration":
            yield f"  On the held-out questions that chose the rule, so slightly too good, that setting gives {gives}."
        elif decision.basis == "validation":
            yield f"  Choosing like this gives {gives}, on validation questions, which chose the checkpoint too."
        else:
            yield f"  Choosing like this gives {gives}, on held-out questions that did not choose."
    if decision.warning:
        yield f"  {decision.warning}"
    if decision.candidates:
        by = "by the trained head" if decision.basis == "validation" else "each by a fit that has not seen it"
        yield f"  Weighed on {decision.num_questions} questions, {by}:"
    for each in decision.candidates:
        yield _candidate(each)


def _candidate(rule: WeighedRule) -> str:
    label, loses = in_words(rule.policy.policy()), "" if rule.within else ", loses too much or saves nothing"
    saved, points = _percent(rule.ratio), _points(rule.difference)
    return f"    {label:<{_LABEL_WIDTH}} {saved} saved, {points}, {rule.rounds:.2f} rounds{loses}"


def axes_in_words(of: AsExported) -> str:
    """What a question waits for, and holds in memory, against one N for all."""
    return f"{of.path_ratio.value:.2f} x the critical path, {of.memory_ratio.value:.2f} x the KV tokens at once"


def in_points(points: float) -> str:
    """As in "1 point", "0.5 points"."""
    return f"{points:g} point{'' if points == 1 else 's'}"


def _percent(ratio: Interval) -> str:
    """1 - ratio in percent, with its interval."""
    saved, low, high = (100 * (1 - part) for part in (ratio.value, ratio.high, ratio.low))
    return f"{saved:.0f}% [{low:.0f}%, {high:.0f}%]"


def _points(difference: Interval) -> str:
    return f"{difference.value:+.1f} points [{difference.low:+.1f}, {difference.high:+.1f}]"
