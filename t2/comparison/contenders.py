"""Everything that competes: what it is, its knob, how it is fitted on some questions and replayed on others. Pure.

Cross-validated comparison and validation callback both take their contenders from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from t2.comparison import fits
from t2.comparison.identity import AT_ONCE, GENERATOR, ONE_SAMPLE, PLANNED, TFIDF, Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.comparison.sweeps import FULL, Sweeps
from t2.heads.base import Prediction, unpredicted
from t2.policies import POLICIES
from t2.policies.asc import ASC
from t2.policies.base import Replay
from t2.policies.one_round import PredictedN, Utility
from t2.policies.windows import ESC, Doubling
from t2.stats.frontier import Frontier, Setting

PLANNED_CONTROLS = (TFIDF, GENERATOR)
"""Controls without a curve that planned rounds are tried with: what text knows, and what the generator does."""
LEFT_OUT_OF_FIT = ("HubDoubling", f"ASC{AT_ONCE}", f"NoHeadThenStop{AT_ONCE}")
"""References that reports alone have room for."""
Kind = Literal["reference", "one round", "sequential"]


@dataclass(frozen=True)
class Contender:
    """A policy with its knob. `fit(train, known, cap)` looks at the training questions' samples; `Run` only scores."""

    key: Key
    kind: Kind
    settings: tuple[Setting, ...]
    """in knob order; NaN where there is no knob"""
    fit: fits.Fit
    on_halves: bool = False
    """replayed on one half of each question's samples: tuned against FixedN at the largest budget of a half"""

    def frontier(self, replays: Sequence[Replay]) -> Frontier:
        return Frontier(self.key.display_name, self.settings, tuple(replays), *self.key)


def fixed_n(grid: tuple[int, ...]) -> Contender:
    """FixedN at every budget of the grid."""
    return Contender(Key("FixedN"), "reference", tuple(map(float, grid)), fits.fixed_n)


def references(grid: tuple[int, ...], sweeps: Sweeps, halves: bool = True, greedy: bool = True) -> list[Contender]:
    """What every head is compared with, at prices for the questions that are learned from.

    `halves`: every question has two samples, which the oracles need. `greedy`: every question has its greedy answer;
    imported pools often have none.
    """
    policies = [
        fixed_n(grid),
        Contender(Key("ASC"), "sequential", sweeps.thresholds, fits.capped(ASC)),
        Contender(Key("ESC"), "sequential", sweeps.windows, fits.capped(lambda w, cap: ESC(int(w), cap))),
        Contender(Key("Doubling"), "sequential", sweeps.shares, fits.capped(Doubling)),
        Contender(Key("HubDoubling"), "sequential", (0.75,), fits.capped(Doubling)),
        Contender(Key(f"ASC{AT_ONCE}"), "sequential", sweeps.thresholds, fits.all_at_once(ASC)),
        Contender(Key("NoHeadThenStop"), "sequential", sweeps.prices, fits.no_head_planned(sweeps.prices)),
        Contender(Key(f"NoHeadThenStop{AT_ONCE}"), "sequential", sweeps.prices, fits.no_head_at_once),
        Contender(Key(PLANNED), "sequential", sweeps.plans, fits.no_head_planned(sweeps.plans)),
    ]
    if greedy:
        policies.insert(0, Contender(Key("Greedy"), "reference", (float("nan"),), fits.greedy))
        policies.insert(1, Contender(Key(ONE_SAMPLE), "reference", (float("nan"),), fits.one_sample))
    if halves:
        oracles = (("BayesOracle", fits.bayes_oracle), ("OwnOracle", fits.own_oracle))
        policies += [Contender(Key(name), "reference", sweeps.prices, fit, on_halves=True) for name, fit in oracles]
    return policies


def of_control(source: str, known: Known, grid: tuple[int, ...], sweeps: Sweeps) -> list[Contender]:
    """A control: the common decision layer, one round (alone or over the batch) or as a prior for stopping.

    Planned rounds take its own priors where it has them, those of its bins for `PLANNED_CONTROLS`.
    """
    planned = [_planned(source, sweeps, in_bins=not known.fits)] if known.fits or source in PLANNED_CONTROLS else []
    return [*planned, *_in_bins(source, grid, sweeps)]


def of_head(source: str, known: Known, grid: tuple[int, ...], sweeps: Sweeps) -> list[Contender]:
    """A head: as a control, and with every policy that its prediction has the parts for."""
    policies = [_planned(source, sweeps, in_bins=False)] if known.fits else []
    if known.prediction.accuracy_BK is not None:
        policies.append(_planned(source, sweeps, in_bins=True))
    policies += _in_bins(source, grid, sweeps)
    if known.prediction.accuracy_BK is not None:
        totals = sweeps.totals_for(grid)
        policies += [
            Contender(Key("Utility", source), "one round", sweeps.prices, fits.native(Utility)),
            Contender(Key("BlendedUtility", source), "one round", sweeps.prices, fits.blended_utility),
            Contender(Key("BatchBudget", source), "one round", totals, fits.native_batch),
        ]
    if known.prediction.log2_n_B is not None:
        policies.append(Contender(Key("PredictedN", source), "one round", sweeps.shifts, fits.native(PredictedN)))
    return policies


def _in_bins(source: str, grid: tuple[int, ...], sweeps: Sweeps) -> list[Contender]:
    totals = sweeps.totals_for(grid)
    return [
        Contender(Key("Utility", source, in_bins=True), "one round", sweeps.prices, fits.binned_utility),
        Contender(Key("BatchBudget", source, in_bins=True), "one round", totals, fits.binned_batch),
        Contender(Key("HeadThenStop", source), "sequential", sweeps.prices, fits.binned_planned(sweeps.prices)),
    ]


def _planned(source: str, sweeps: Sweeps, in_bins: bool) -> Contender:
    """Planned rounds with the source's own prior for each question, which a `PriorHead` gives, or with its bin's."""
    plans = sweeps.plans
    fit = fits.binned_planned(plans) if in_bins else fits.prior_planned(plans)
    return Contender(Key(PLANNED, source, in_bins), "sequential", plans, fit)


def of_actsc(source: str, sweeps: Sweeps) -> Contender:
    """ACTSC by a source's score."""
    return Contender(Key("ACTSC", source), "sequential", sweeps.windows, fits.actsc)


def of_dsc(source: str, sweeps: Sweeps) -> Contender:
    """`DSC` ordered by a source's score."""
    return Contender(Key("DSC", source), "sequential", sweeps.dsc_thresholds, fits.dsc)


def dsc_by_other_half(sweeps: Sweeps) -> Contender:
    """`DSC` ordered by what no one knows beforehand: half of a question's own grades; replayed on the other half."""
    return Contender(Key("DSC"), "reference", sweeps.dsc_thresholds, fits.dsc_by_other_half, on_halves=True)


def frontier_of(contender: Contender, run: fits.Run, on: Slice, known: Known) -> tuple[Replay, ...]:
    """Replays of a fitted contender at all its settings."""
    at = run(on, known)
    return tuple(map(at, contender.settings))


def nothing_known(num: int) -> Known:
    """For contenders that look at no prediction."""
    return Known(torch.zeros(num, dtype=torch.float64), unpredicted(num))


def fixed_frontier(on: Slice) -> Frontier:
    """FixedN at every budget of the grid."""
    return fitted_frontier(fixed_n(on.labels.grid), on, on, nothing_known(len(on.pool)), on.labels.grid[-1])


def fitted_frontier(contender: Contender, train: Slice, on: Slice, known: Known, cap: int) -> Frontier:
    """A contender that needs no prediction of the training questions: fitted on their samples, replayed on others."""
    run = contender.fit(train, nothing_known(len(train.pool)), cap)
    return contender.frontier(frontier_of(contender, run, on, known))


def reference_frontiers(train: Slice, on: Slice, cap: int) -> list[Frontier]:
    """What knows nothing of a question beforehand, or too much, and has one knob, fitted on the training questions."""
    known = nothing_known(len(on.pool))
    greedy = bool(on.pool.greedy_present_Q.all())
    contenders = references(on.labels.grid, FULL.priced_for(on.pool), on.halves is not None, greedy)
    lines = [each for each in contenders if each.key.policy != PLANNED and each.key.policy not in LEFT_OUT_OF_FIT]
    return [fitted_frontier(contender, train, on, known, cap) for contender in lines]


def head_frontiers(source: str, prediction: Prediction, on: Slice, cap: int) -> list[Frontier]:
    """A head's own one-round policies, as far as its prediction has the parts for them."""
    known = Known(torch.zeros(len(on.pool)), prediction)
    contenders = of_head(source, known, on.labels.grid, FULL.priced_for(on.pool))
    own = [each for each in contenders if each.key.policy in POLICIES and not each.key.in_bins]
    return [fitted_frontier(contender, on, on, known, cap) for contender in own]
