"""Every policy of a comparison on one graded pool: settings, replays, frontiers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from t2.curves.labels import BudgetLabels
from t2.evaluation.frontier import FrontierPoint, area_between, point_of
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.asc import ASC
from t2.policies.base import Costs, OneRound, Replay, replay_greedy, replay_one_round
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.oracle import OwnOracle
from t2.policies.orders import Orders

PRICES = (0.01, 0.03, 0.1, 0.3, 0.6, 1.0, 1.5, 2.5, 4.0, 7.0, 12.0, 20.0, 35.0, 60.0, 100.0, 200.0, 500.0, 2000.0)
"""Swept prices of Utility and OwnOracle, accuracy points per 1,000 generated tokens."""
SHIFTS = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Swept shifts of PredictedN, in log2 samples."""
THRESHOLDS = (0.76, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99)
"""Swept thresholds of ASC."""
NUM_ORDERS = 32
"""Random orders over which a sequential policy is averaged."""


@dataclass(frozen=True)
class Frontier:
    """A policy at all its settings, in knob order; no hull."""

    name: str
    settings: tuple[float, ...]
    replays: tuple[Replay, ...] = field(repr=False)

    @property
    def points(self) -> list[FrontierPoint]:
        """Means over questions."""
        return [point_of(s, r) for s, r in zip(self.settings, self.replays, strict=True)]

    def take(self, rows: Tensor) -> Frontier:
        """The frontier on some questions (repeated rows allowed: a bootstrap resample)."""
        return Frontier(self.name, self.settings, tuple(_take(replay, rows) for replay in self.replays))

    @property
    def tokens_P(self) -> Tensor:
        """Mean generated tokens of each setting."""
        return torch.stack([replay.generated_tokens.mean() for replay in self.replays])

    @property
    def accuracy_P(self) -> Tensor:
        """Accuracy of each setting."""
        return torch.stack([replay.correct.mean() for replay in self.replays])


def _take(replay: Replay, rows: Tensor) -> Replay:
    return Replay(**{name: value[rows] for name, value in vars(replay).items()})


def one_round_frontier(
    name: str,
    build: Callable[[float], OneRound],
    settings: Sequence[float],
    prediction: Prediction,
    labels: BudgetLabels,
    pool: GradedPool,
) -> Frontier:
    """A one-round policy at every setting."""
    costs = Costs(labels.grid, prediction.log_tokens_B.double().exp())
    replays = [
        replay_one_round(build(setting).choose(prediction, costs), labels.acc_QK, labels.grid, pool)
        for setting in settings
    ]
    return Frontier(name, tuple(settings), tuple(replays))


def fixed_frontier(labels: BudgetLabels, pool: GradedPool) -> Frontier:
    """FixedN at every budget of the grid."""
    blank = Prediction(log_tokens_B=torch.zeros(len(pool)))
    return one_round_frontier("FixedN", lambda n: FixedN(int(n)), labels.grid, blank, labels, pool)


def baselines(labels: BudgetLabels, pool: GradedPool, cap: int, seed: int = 0) -> list[Frontier]:
    """What every head is compared with: Greedy, FixedN, ASC, OwnOracle.

    Args:
        labels: of the pool's questions.
        pool: graded samples.
        cap: N_ref, the most samples of a sequential policy.
        seed: of the random orders.
    """
    orders = Orders.of(pool, NUM_ORDERS, seed)
    asc = [ASC(threshold, cap).replay(orders) for threshold in THRESHOLDS]
    oracle = [OwnOracle(price).replay(pool, labels.grid) for price in PRICES]
    return [
        Frontier("Greedy", (float("nan"),), (replay_greedy(pool),)),
        fixed_frontier(labels, pool),
        Frontier("ASC", THRESHOLDS, tuple(asc)),
        Frontier("OwnOracle", PRICES, tuple(oracle)),
    ]


def head_frontiers(head: str, prediction: Prediction, labels: BudgetLabels, pool: GradedPool) -> list[Frontier]:
    """Every one-round policy that the prediction has the parts for."""
    found = []
    if prediction.accuracy_BK is not None:
        found.append(one_round_frontier(f"{head} + Utility", Utility, PRICES, prediction, labels, pool))
    if prediction.log2_n_B is not None:
        found.append(one_round_frontier(f"{head} + PredictedN", PredictedN, SHIFTS, prediction, labels, pool))
    return found


def area(frontier: Frontier, fixed: Frontier, n_ref: int) -> float:
    """Area between a frontier and FixedN from 1 to `n_ref` samples, see `area_between`."""
    upto = [k for k, n in enumerate(fixed.settings) if n <= n_ref]
    return area_between(frontier.tokens_P, frontier.accuracy_P, fixed.tokens_P[upto], fixed.accuracy_P[upto])
