"""One outer fold: a contender tuned and fitted on its training questions, replayed on its test questions. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from t2.comparison.contenders import Contender, fixed_frontier, frontier_of, nothing_known
from t2.comparison.slices import Slice
from t2.comparison.sources import OUTER_FOLDS, FoldKnown, Folds, Source
from t2.comparison.tuning import InnerFold, Pick, Target, held_out_frontier, in_order, inner_folds, pick_for
from t2.policies.base import Replay
from t2.stats.frontier import Frontier, Setting, area

ALLOWANCES = (0.005, 0.01)
"""Accuracy that a tuned setting may lose against FixedN(N_ref) on the questions that choose it; the last one leads.

Oracles cannot reach FixedN(N_ref) from half a pool: theirs may lose as much against FixedN at a half's largest budget.
"""
ROUND_LIMITS = (1.0, 1.25, 1.5, 2.0, 3.0, math.inf)
"""Mean rounds of a question that a setting may take."""
TARGETS = tuple(Target(allowance, limit) for allowance in ALLOWANCES for limit in ROUND_LIMITS)


@dataclass(frozen=True)
class FoldOutcome:
    """A contender in one outer fold."""

    chosen: tuple[int, ...]
    """index of the tuned setting for each of `ALLOWANCES`"""
    setting: Setting
    """the leading tuned one; NaN where there is no knob"""
    within: bool
    """whether the leading tuned setting loses no more than allowed on the training questions"""
    train_tokens: float
    """mean generated tokens of the leading tuned setting on the training questions"""
    train_area: float
    """area against FixedN on the training questions"""
    test: tuple[Replay, ...]
    """on the test questions, at every setting"""
    limited: Mapping[Target, Pick]
    """the tuned setting for each of `TARGETS` that some setting waits little enough for"""


@dataclass(frozen=True)
class OuterFold:
    """What all contenders share in one outer fold."""

    train: Slice
    test: Slice
    n_ref: int
    """samples: cap of every rule, and the FixedN that it is tuned to lose little against"""
    fixed: Frontier
    """FixedN on the training questions"""
    inner: tuple[InnerFold, ...]
    """of the training questions"""

    @staticmethod
    def of(learn: Slice, score: Slice, folds: Folds, fold: int, n_ref: int) -> OuterFold:
        """Of all questions as they are learned from, and as they are scored: both the same, or one of fewer samples."""
        rows = folds.train_rows(fold)
        train = learn.take(rows)
        inner = inner_folds(train, folds.inner_Q[rows])
        return OuterFold(train, score.take(folds.test_rows(fold)), n_ref, fixed_frontier(train), inner)

    def outcome(self, contender: Contender, known: FoldKnown | None) -> FoldOutcome:
        """Tune by the inner folds, fit to all training questions, replay at every setting; None: no source is asked."""
        train_known = known.train if known else nothing_known(len(self.train.pool))
        test_known = known.test if known else nothing_known(len(self.test.pool))
        fitted = held_out_frontier(contender, self.inner, train_known, self.n_ref)
        reference = float(self.fixed.accuracy_P[self.fixed.settings.index(self._n_to_reach(contender))])
        run = contender.fit(self.train, train_known, self.n_ref)
        picks = {target: pick_for(target, fitted, reference) for target in TARGETS}
        limited = {target: pick for target, pick in picks.items() if pick}
        # Every setting waits less than infinitely long, so these are there.
        tuned = [limited[Target(allowance, math.inf)] for allowance in ALLOWANCES]
        return FoldOutcome(
            chosen=tuple(pick.place for pick in tuned),
            setting=contender.settings[tuned[-1].place],
            within=tuned[-1].within,
            train_tokens=tuned[-1].tokens,
            train_area=area(fitted, self.fixed, self.n_ref) if fitted.is_swept else 0.0,
            test=frontier_of(contender, run, self.test, test_known),
            limited=limited,
        )

    def _n_to_reach(self, contender: Contender) -> int:
        """Samples of the FixedN that the contender is tuned to lose little against."""
        if not contender.on_halves:
            return self.n_ref
        assert self.train.halves is not None
        return self.train.halves.upto(self.n_ref).grid[-1]


def outcomes_of(
    sides: Sequence[OuterFold], contenders: Sequence[Contender], source: Source | None
) -> tuple[FoldOutcome, ...]:
    """One contender in every fold, given by fold since prices differ; None: it asks no source."""
    return tuple(
        side.outcome(own, source.folds[fold] if source else None)
        for fold, (side, own) in enumerate(zip(sides, contenders, strict=True))
    )


def limited(contenders: Sequence[Sequence[FoldOutcome]], order: Tensor) -> dict[Target, Replay]:
    """For each target, in each fold the contender that its training questions prefer, at its setting.

    Each contender is given by fold. Targets that no contender of some fold waits little enough for are left out.
    """
    replays: dict[Target, Replay] = {}
    for target in TARGETS:
        parts = []
        for own in zip(*contenders, strict=True):
            able = [outcome for outcome in own if target in outcome.limited]
            if able:  # cheap because it loses too much is not best
                best = min(able, key=lambda o: (not o.limited[target].within, o.limited[target].tokens))
                parts.append(best.test[best.limited[target].place])
        if len(parts) == OUTER_FOLDS:
            replays[target] = in_order(parts, order)
    return replays


def swept(results: Sequence[FoldOutcome], order: Tensor) -> tuple[Replay, ...]:
    """The folds' test questions at every setting, in the order of the pool."""
    return tuple(in_order(same, order) for same in zip(*(fold.test for fold in results), strict=True))
