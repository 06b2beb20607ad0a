"""Everything that competes: what it is, its knob, how it is fitted on some questions and replayed on others. Pure.

Cross-validated comparison and validation callback both take their contenders from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from t2.comparison import fits
from t2.comparison.identity import Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies import POLICIES
from t2.policies.asc import ASC
from t2.policies.base import Replay
from t2.policies.windows import ESC, Doubling
from t2.stats.frontier import Frontier

PRICES = (
    *(0.01, 0.03, 0.1, 0.3, 0.6),
    *(1.0, 1.3, 1.7, 2.2, 2.9, 3.8, 5.0, 6.5, 8.5, 11.0, 14.0, 18.0, 23.0, 30.0),
    *(60.0, 100.0, 200.0, 500.0, 2000.0),
)
"""Swept prices, accuracy points per 1,000 generated tokens, where a sample has `TOKENS_OF_PRICES`; dense where one is
chosen."""
TOKENS_OF_PRICES = 46.0
"""Mean tokens of a sample that `PRICES` are for."""
TOTALS = (0.0, 0.02, 0.06, 0.13, 0.2, 0.26, 0.32, 0.39, 0.45, 0.53, 0.61, 0.74, 0.87, 1.0)
"""Swept totals of BatchBudget: how far from 1 sample a question to the largest budget; dense where one is chosen."""
SHIFTS = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Swept shifts of PredictedN, in log2 samples."""
THRESHOLDS = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
"""Swept thresholds of ASC and HeadASC."""
DSC_THRESHOLDS = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.99)
"""Swept thresholds of DSC."""
WINDOWS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""Swept windows of ESC, samples."""
SHARES = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
"""Swept shares of Doubling."""

Kind = Literal["reference", "one round", "sequential"]


@dataclass(frozen=True)
class Contender:
    """A policy with its knob. `fit(train, known, cap)` looks at the training questions' samples; `Run` only scores."""

    key: Key
    kind: Kind
    settings: tuple[float, ...]
    """in knob order; NaN where there is no knob"""
    fit: fits.Fit
    on_halves: bool = False
    """replayed on one half of each question's samples: tuned against FixedN at the largest budget of a half"""

    def frontier(self, replays: Sequence[Replay]) -> Frontier:
        """All its settings, with their replays."""
        return Frontier(self.key.display_name, self.settings, tuple(replays), *self.key)


def prices_of(pool: GradedPool) -> tuple[float, ...]:
    """`PRICES` for a pool's answers: long ones, or a cost in samples, must change no ratio and no area."""
    # Without a token (in the training questions of a fold) no price changes a choice.
    scale = TOKENS_OF_PRICES / (float(pool.mean_tokens_Q.mean()) or TOKENS_OF_PRICES)
    return tuple(float(f"{price * scale:.2g}") for price in PRICES)


def fixed_n(grid: tuple[int, ...]) -> Contender:
    """FixedN at every budget of the grid."""
    return Contender(Key("FixedN"), "reference", tuple(map(float, grid)), fits.fixed_n)


def references(
    grid: tuple[int, ...], prices: tuple[float, ...], halves: bool = True, greedy: bool = True
) -> list[Contender]:
    """What every head is compared with.

    Args:
        grid: budgets of FixedN.
        prices: from `prices_of`.
        halves: whether every question has two samples, which the oracles need.
        greedy: whether every question has its greedy answer; imported pools often have none.
    """
    found = [
        Contender(Key("Greedy"), "reference", (float("nan"),), fits.greedy),
        fixed_n(grid),
        Contender(Key("ASC"), "sequential", THRESHOLDS, fits.capped(ASC)),
        Contender(Key("ASC, short answers first"), "sequential", THRESHOLDS, fits.capped(ASC, concurrent=True)),
        Contender(Key("ESC"), "sequential", WINDOWS, fits.capped(lambda w, cap: ESC(int(w), cap))),
        Contender(
            Key("ESC, window answer"), "sequential", WINDOWS, fits.capped(lambda w, cap: ESC(int(w), cap, "window"))
        ),
        Contender(Key("Doubling"), "sequential", SHARES, fits.capped(Doubling)),
        Contender(Key("NoHeadThenStop"), "sequential", prices, fits.no_head_then_stop),
    ]
    oracles = [
        Contender(Key("BayesOracle"), "reference", prices, fits.bayes_oracle, on_halves=True),
        Contender(Key("OwnOracle"), "reference", prices, fits.own_oracle, on_halves=True),
    ]
    return (found if greedy else found[1:]) + (oracles if halves else [])


def totals(grid: tuple[int, ...]) -> tuple[float, ...]:
    """Settings of `BatchBudget`: the total is that of so many samples of each question, also between budgets."""
    return tuple(sorted({round(1 + share * (grid[-1] - 1), 2) for share in TOTALS}))


def of_control(source: str, grid: tuple[int, ...], prices: tuple[float, ...]) -> list[Contender]:
    """A control: the common decision layer, one round (alone or over the batch) or as a prior for stopping."""
    return [
        Contender(Key("Utility", source, in_bins=True), "one round", prices, fits.binned_utility),
        Contender(Key("BatchBudget", source, in_bins=True), "one round", totals(grid), fits.binned_batch),
        Contender(Key("HeadThenStop", source), "sequential", prices, fits.head_then_stop),
    ]


def of_head(source: str, known: Known, grid: tuple[int, ...], prices: tuple[float, ...]) -> list[Contender]:
    """A head: as a control, and with every policy that its prediction has the parts for."""
    found = of_control(source, grid, prices)
    if known.prediction.accuracy_BK is not None:
        found.append(Contender(Key("Utility", source), "one round", prices, fits.native_utility))
        found.append(Contender(Key("BlendedUtility", source), "one round", prices, fits.blended_utility))
        found.append(Contender(Key("BatchBudget", source), "one round", totals(grid), fits.native_batch))
    if known.prediction.log2_n_B is not None:
        found.append(Contender(Key("PredictedN", source), "one round", SHIFTS, fits.native_predicted))
    found.append(Contender(Key("HeadASC", source), "sequential", THRESHOLDS, fits.head_asc))
    return found


def of_dsc(source: str) -> Contender:
    """`DSC` ordered by a source's score."""
    return Contender(Key("DSC", source), "sequential", DSC_THRESHOLDS, fits.dsc)


def dsc_by_other_half() -> Contender:
    """`DSC` ordered by what no one knows beforehand: half of a question's own grades; replayed on the other half."""
    return Contender(Key("DSC"), "reference", DSC_THRESHOLDS, fits.dsc_by_other_half, on_halves=True)


def frontier_of(contender: Contender, run: fits.Run, on: Slice, known: Known) -> tuple[Replay, ...]:
    """Replays at all settings."""
    return tuple(run(on, known, setting) for setting in contender.settings)


def nothing_known(num: int) -> Known:
    """For contenders that look at no prediction."""
    return Known(torch.zeros(num, dtype=torch.float64), Prediction(log_tokens_B=torch.zeros(num)))


def fixed_frontier(on: Slice) -> Frontier:
    """FixedN at every budget of the grid."""
    return fitted_frontier(fixed_n(on.labels.grid), on, on, nothing_known(len(on.pool)), on.labels.grid[-1])


def fitted_frontier(contender: Contender, train: Slice, on: Slice, known: Known, cap: int) -> Frontier:
    """A contender that needs no prediction of the training questions: fitted on their samples, replayed on others."""
    run = contender.fit(train, nothing_known(len(train.pool)), cap)
    return contender.frontier(frontier_of(contender, run, on, known))


def reference_frontiers(train: Slice, on: Slice, cap: int) -> list[Frontier]:
    """Everything that knows nothing of a question beforehand, or too much, fitted on the training questions."""
    known = nothing_known(len(on.pool))
    greedy = bool(on.pool.greedy_present_Q.all())
    found = references(on.labels.grid, prices_of(on.pool), on.halves is not None, greedy)
    return [fitted_frontier(contender, train, on, known, cap) for contender in found]


def head_frontiers(source: str, prediction: Prediction, on: Slice, cap: int) -> list[Frontier]:
    """A head's own one-round policies, as far as its prediction has the parts for them."""
    known = Known(torch.zeros(len(on.pool)), prediction)
    contenders = of_head(source, known, on.labels.grid, prices_of(on.pool))
    own = [each for each in contenders if each.key.policy in POLICIES and not each.key.in_bins]
    return [fitted_frontier(contender, on, on, known, cap) for contender in own]
