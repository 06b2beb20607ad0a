"""Everything that competes: a name, a knob, how it is fitted on training questions and replayed on others. Pure.

Cross-validated comparison and validation callback both take their contenders from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from t2.curves.halves import Halves, half_curves
from t2.curves.labels import BudgetLabels, cut_grid
from t2.evaluation.decision import fit_bins
from t2.evaluation.frontier import Frontier
from t2.evaluation.sources import Known
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.asc import ASC, HeadASC
from t2.policies.base import Costs, OneRound, Replay, replay_greedy, replay_one_round
from t2.policies.batch_budget import BatchBudget
from t2.policies.dsc import DSC, half_orders, replay_other_half
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.oracle import BayesOracle, OwnOracle
from t2.policies.orders import Orders
from t2.policies.stopping import TableRule
from t2.policies.then_stop import HeadThenStop, answer_atoms, no_head, softened, stop_model
from t2.policies.windows import ESC, Doubling

PRICES = (
    *(0.01, 0.03, 0.1, 0.3, 0.6),
    *(1.0, 1.3, 1.7, 2.2, 2.9, 3.8, 5.0, 6.5, 8.5, 11.0, 14.0, 18.0, 23.0, 30.0),
    *(60.0, 100.0, 200.0, 500.0, 2000.0),
)
"""Swept prices, accuracy points per 1,000 generated tokens; dense where settings are chosen."""
TOTALS = (0.0, 0.02, 0.06, 0.13, 0.2, 0.26, 0.32, 0.39, 0.45, 0.53, 0.61, 0.74, 0.87, 1.0)
"""Swept totals of BatchBudget: how far from 1 sample a question to the largest budget; dense where one is chosen."""
SHIFTS = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Swept shifts of PredictedN, in log2 samples."""
THRESHOLDS = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
"""Swept thresholds of ASC and HeadASC."""
DSC_THRESHOLDS = (0.76, 0.85, 0.9, 0.95)
"""Swept thresholds of DSC."""
WINDOWS = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""Swept windows of ESC, samples."""
SHARES = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
"""Swept shares of Doubling."""
NUM_ORDERS = 32
"""Random orders over which a sequential policy is averaged."""

Kind = Literal["reference", "one round", "sequential"]


@dataclass(frozen=True)
class Slice:
    """Some questions: what scores a contender, and the orders in which a sequential one sees their samples."""

    pool: GradedPool
    labels: BudgetLabels
    orders: Orders
    arrivals: Orders
    """orders in which short answers come first"""
    halves: Halves | None
    """for the oracles; None if a question has only one sample"""
    half_orders: tuple[Orders, Orders] | None = None
    """orders of each half's samples, for DSC by the other half; None unless asked for"""

    @staticmethod
    def of(pool: GradedPool, labels: BudgetLabels, cap: int, seed: int, num_orders: int = NUM_ORDERS) -> Slice:
        """Draw the orders of whole pools."""
        arrivals = Orders.of_arrivals(pool, num_orders, seed, cap)
        return Slice(pool, labels, Orders.of(pool, num_orders, seed), arrivals, half_curves(pool, labels.grid))

    def with_half_orders(self, seed: int) -> Slice:
        """Draw the orders of half pools too, where there are halves."""
        if self.halves is None:
            return self
        return replace(self, half_orders=half_orders(self.pool, self.orders.num_orders, seed))

    def at_cap(self, cap: int, seed: int) -> Slice:
        """The same with the arrivals of another cap."""
        return replace(self, arrivals=Orders.of_arrivals(self.pool, self.orders.num_orders, seed, cap))

    def take(self, rows: Tensor) -> Slice:
        """Some of them."""
        return Slice(
            self.pool.take(rows),
            self.labels.take(rows),
            self.orders.take(rows),
            self.arrivals.take(rows),
            self.halves.take(rows) if self.halves else None,
            (self.half_orders[0].take(rows), self.half_orders[1].take(rows)) if self.half_orders else None,
        )


Run = Callable[[Slice, Known, float], Replay]
"""Replay on some questions, given what is known of them, at one setting."""


@dataclass(frozen=True)
class Contender:
    """A policy with its knob. `fit(train, known, cap)` looks at the training questions' samples; `Run` only scores."""

    name: str
    kind: Kind
    settings: tuple[float, ...]
    """in knob order; NaN where there is no knob"""
    fit: Callable[[Slice, Known, int], Run]


def _fixed(run: Run) -> Callable[[Slice, Known, int], Run]:
    """Nothing to fit."""
    return lambda train, known, cap: run


def one_round(policy: OneRound, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """Choose among budgets up to `cap` by predicted costs, score by A(N) and actual tokens."""
    grid = cut_grid(on.labels.grid, cap)
    if prediction.accuracy_BK is not None:
        prediction = replace(prediction, accuracy_BK=prediction.accuracy_BK[:, : len(grid)])
    costs = Costs(grid, prediction.log_tokens_B.double().exp())
    return replay_one_round(policy.choose(prediction, costs), on.labels.acc_QK, grid, on.pool)


# References: nothing is known of a question, or too much


def _no_head_then_stop(train: Slice, known: Known, cap: int) -> Run:
    model, tokens_P = no_head(answer_atoms(train.pool), cap), train.pool.mean_tokens_Q.mean()[None]
    return lambda on, _, price: HeadThenStop(model, price, tokens_P).replay(on.orders)


def _bayes_oracle(train: Slice, known: Known, cap: int) -> Run:
    atoms = answer_atoms(train.pool)

    def run(on: Slice, _: Known, price: float) -> Replay:
        assert on.halves is not None
        return BayesOracle(price).replay(on.halves, on.pool, atoms, train.labels.acc_QK)

    return run


def _own_oracle(on: Slice, known: Known, price: float) -> Replay:
    assert on.halves is not None
    return OwnOracle(price).replay(on.halves, on.pool)


def _dsc_by_other_half(train: Slice, known: Known, cap: int) -> Run:
    def run(on: Slice, _: Known, threshold: float) -> Replay:
        assert on.halves is not None
        assert on.half_orders is not None
        return replay_other_half(on.halves, on.half_orders, threshold, cap)

    return run


def capped(build: Callable[[float, int], TableRule | ESC], concurrent: bool = False) -> Callable[..., Run]:
    """A sequential rule with the reference budget as its cap."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        def run(on: Slice, _: Known, setting: float) -> Replay:
            rule = build(setting, cap)
            if concurrent:
                assert isinstance(rule, TableRule)
                return rule.replay_concurrent(on.arrivals)
            return rule.replay(on.orders)

        return run

    return fit


def references(grid: tuple[int, ...], halves: bool = True, greedy: bool = True) -> list[Contender]:
    """What every head is compared with.

    Args:
        grid: budgets of FixedN.
        halves: whether every question has two samples, which the oracles need.
        greedy: whether every question has its greedy answer; imported pools often have none.
    """
    fixed_n = _fixed(lambda on, known, n: one_round(FixedN(int(n)), known.prediction, on, int(n)))
    found = [
        Contender("Greedy", "reference", (float("nan"),), _fixed(lambda on, known, _: replay_greedy(on.pool))),
        Contender("FixedN", "reference", tuple(map(float, grid)), fixed_n),
        Contender("ASC", "sequential", THRESHOLDS, capped(ASC)),
        Contender("ASC, short answers first", "sequential", THRESHOLDS, capped(ASC, concurrent=True)),
        Contender("ESC", "sequential", WINDOWS, capped(lambda w, cap: ESC(int(w), cap))),
        Contender("ESC, window answer", "sequential", WINDOWS, capped(lambda w, cap: ESC(int(w), cap, "window"))),
        Contender("Doubling", "sequential", SHARES, capped(Doubling)),
        Contender("NoHeadThenStop", "sequential", PRICES, _no_head_then_stop),
    ]
    oracles = [
        Contender("BayesOracle", "reference", PRICES, _bayes_oracle),
        Contender("OwnOracle", "reference", PRICES, _fixed(_own_oracle)),
    ]
    return (found if greedy else found[1:]) + (oracles if halves else [])


# What a source makes possible


def binned_utility(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer: score -> bin -> mean training curve of the bin -> `Utility`."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    return lambda on, k, price: one_round(Utility(price), bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)


def then_stop_rules(train: Slice, known: Known, cap: int) -> Callable[[Known, float], HeadThenStop]:
    """`HeadThenStop` whose prior is half the training questions of the bin, half all of them, for others at a price."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    member_PQ = torch.nn.functional.one_hot(bins.bin_of(known.score_B), len(bins.acc_NK)).T.double()
    model = stop_model(answer_atoms(train.pool), softened(member_PQ), cap)
    tokens_P = (member_PQ @ train.pool.mean_tokens_Q) / member_PQ.sum(1).clamp(min=1)
    tokens_P = torch.where(member_PQ.sum(1) > 0, tokens_P, train.pool.mean_tokens_Q.mean())
    return lambda others, price: HeadThenStop(model, price, tokens_P, bins.bin_of(others.score_B))


def head_then_stop(train: Slice, known: Known, cap: int) -> Run:
    """`then_stop_rules`, replayed."""
    rules = then_stop_rules(train, known, cap)
    return lambda on, k, price: rules(k, price).replay(on.orders)


def head_asc(train: Slice, known: Known, cap: int) -> Run:
    """`HeadASC` whose prior is the mean accuracy of one sample in the bin."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    return lambda on, k, threshold: HeadASC(threshold, cap, bins.acc_NK[:, 0], bins.bin_of(k.score_B)).replay(on.orders)


def dsc(train: Slice, known: Known, cap: int) -> Run:
    """`DSC`, hardest first by the score; which end of it is hard is read off the training questions."""
    first_Q, score_Q = train.labels.acc_QK[:, 0], known.score_B.double()
    sign = 1.0 if float(((first_Q - first_Q.mean()) * (score_Q - score_Q.mean())).sum()) >= 0 else -1.0
    return lambda on, k, threshold: DSC(-sign * k.score_B, threshold, cap).replay(on.orders)


def batch_budget(n: float, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """`BatchBudget` over the questions replayed together, with the total that `FixedN(n)` is predicted to spend."""
    return one_round(BatchBudget.like_fixed(n, prediction.log_tokens_B.double().exp()), prediction, on, cap)


def binned_batch(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer with `BatchBudget`."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    return lambda on, k, n: batch_budget(n, bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)


def native_batch(train: Slice, known: Known, cap: int) -> Run:
    """`BatchBudget` on the head's own curve."""
    return lambda on, k, n: batch_budget(n, k.prediction, on, cap)


def native_utility(train: Slice, known: Known, cap: int) -> Run:
    """`Utility` on the head's own curve."""
    return lambda on, k, price: one_round(Utility(price), k.prediction, on, cap)


def blended_utility(train: Slice, known: Known, cap: int) -> Run:
    """`Utility` on the mean of the head's own curve and its bin's: one says more of a question, one is calibrated."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)

    def run(on: Slice, k: Known, price: float) -> Replay:
        assert k.prediction.accuracy_BK is not None
        mean_BK = (k.prediction.accuracy_BK.double() + bins.acc_NK[bins.bin_of(k.score_B)]) / 2
        return one_round(Utility(price), replace(k.prediction, accuracy_BK=mean_BK), on, cap)

    return run


def native_predicted(train: Slice, known: Known, cap: int) -> Run:
    """`PredictedN` on the head's own N*."""
    return lambda on, k, shift: one_round(PredictedN(shift), k.prediction, on, cap)


def totals(grid: tuple[int, ...]) -> tuple[float, ...]:
    """Settings of `BatchBudget`: the total is that of so many samples of each question, also between budgets."""
    return tuple(sorted({round(1 + share * (grid[-1] - 1), 2) for share in TOTALS}))


def of_control(name: str, grid: tuple[int, ...]) -> list[Contender]:
    """A control: the common decision layer, one round (alone or over the batch) or as a prior for stopping."""
    return [
        Contender(f"{name} + bins + Utility", "one round", PRICES, binned_utility),
        Contender(f"{name} + bins + BatchBudget", "one round", totals(grid), binned_batch),
        Contender(f"{name} + HeadThenStop", "sequential", PRICES, head_then_stop),
    ]


def of_head(name: str, known: Known, grid: tuple[int, ...]) -> list[Contender]:
    """A head: as a control, and with every policy that its prediction has the parts for."""
    found = of_control(name, grid)
    if known.prediction.accuracy_BK is not None:
        found.append(Contender(f"{name} + Utility", "one round", PRICES, native_utility))
        found.append(Contender(f"{name} + own and bins + Utility", "one round", PRICES, blended_utility))
        found.append(Contender(f"{name} + BatchBudget", "one round", totals(grid), native_batch))
    if known.prediction.log2_n_B is not None:
        found.append(Contender(f"{name} + PredictedN", "one round", SHIFTS, native_predicted))
    found.append(Contender(f"{name} + HeadASC", "sequential", THRESHOLDS, head_asc))
    return found


def of_dsc(name: str) -> Contender:
    """`DSC` ordered by a source's score."""
    return Contender(f"DSC by {name}", "sequential", DSC_THRESHOLDS, dsc)


def dsc_by_other_half() -> Contender:
    """`DSC` ordered by what no one knows beforehand: half of a question's own grades; replayed on the other half."""
    return Contender("DSC by other-fold mean correct", "reference", DSC_THRESHOLDS, _dsc_by_other_half)


def frontier_of(contender: Contender, run: Run, on: Slice, known: Known) -> tuple[Replay, ...]:
    """Replays at all settings."""
    return tuple(run(on, known, setting) for setting in contender.settings)


def nothing_known(num: int) -> Known:
    """For contenders that look at no prediction."""
    return Known(torch.zeros(num, dtype=torch.float64), Prediction(log_tokens_B=torch.zeros(num)))


def fixed_frontier(on: Slice) -> Frontier:
    """FixedN at every budget of the grid."""
    contender = next(c for c in references(on.labels.grid, halves=False) if c.name == "FixedN")
    return fitted_frontier(contender, on, on, nothing_known(len(on.pool)), on.labels.grid[-1])


def fitted_frontier(contender: Contender, train: Slice, on: Slice, known: Known, cap: int) -> Frontier:
    """A contender that needs no prediction of the training questions: fitted on their samples, replayed on others."""
    run = contender.fit(train, nothing_known(len(train.pool)), cap)
    return Frontier(contender.name, contender.settings, frontier_of(contender, run, on, known))


def reference_frontiers(train: Slice, on: Slice, cap: int) -> list[Frontier]:
    """Everything that knows nothing of a question beforehand, or too much, fitted on the training questions."""
    known = nothing_known(len(on.pool))
    greedy = bool(on.pool.greedy_present_Q.all())
    found = references(on.labels.grid, on.halves is not None, greedy)
    return [fitted_frontier(contender, train, on, known, cap) for contender in found]


def head_frontiers(name: str, prediction: Prediction, on: Slice, cap: int) -> list[Frontier]:
    """A head's own one-round policies, as far as its prediction has the parts for them."""
    known = Known(torch.zeros(len(on.pool)), prediction)
    own = (native_utility, native_batch, native_predicted)
    return [fitted_frontier(c, on, on, known, cap) for c in of_head(name, known, on.labels.grid) if c.fit in own]
