"""What every policy is, and what replaying it on stored samples gives. Pure.

Deciding never sees a question's own lengths: `Costs` are predicted. Scoring charges the actual tokens of every sample
started.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from t2.curves.labels import BudgetLabels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction
from t2.policies.engine_axes import RoundAxes

Needs = Literal["nothing", "curve", "n_star"]


@dataclass(frozen=True)
class Costs:
    """What a policy believes a budget costs."""

    grid: tuple[int, ...]
    """budgets in samples"""
    tokens_per_sample_B: Tensor
    """predicted generated tokens of one sample"""

    @staticmethod
    def of(prediction: Prediction, grid: tuple[int, ...]) -> Costs:
        return Costs(grid, prediction.log_tokens_B.double().exp())

    @property
    def tokens_BK(self) -> Tensor:
        return self.tokens_per_sample_B[:, None] * torch.tensor(self.grid, dtype=self.tokens_per_sample_B.dtype)


@dataclass(frozen=True)
class Replay:
    """What a policy got and paid, per question (expected values, float64)."""

    correct: Tensor
    samples: Tensor
    """samples started"""
    generated_tokens: Tensor
    """tokens of every sample started"""
    prompt_tokens: Tensor
    """prompt tokens, the prefill shared by all samples counted once"""
    rounds: Tensor
    """times the engine was waited for"""
    peak: Tensor
    """most sequences of the question that ran at once"""
    critical_path: Tensor
    """tokens that are waited for: the longest sample of each round, summed over rounds"""
    peak_kv: Tensor
    """most tokens in the KV cache at once, see `engine_axes`; the prompt, which all samples share, counted once"""
    order_variance: Tensor = field(default=None)  # type: ignore[assignment]  # filled below
    """variance of `correct` that is left by averaging over random orders; 0 where `correct` is exact"""

    def __post_init__(self) -> None:
        if self.order_variance is None:
            object.__setattr__(self, "order_variance", torch.zeros_like(self.correct))

    @property
    def total_tokens(self) -> Tensor:
        """Generated and prompt tokens, the prompt charged once: later rounds find it in the prefix cache."""
        return self.generated_tokens + self.prompt_tokens

    @property
    def total_tokens_reprefilled(self) -> Tensor:
        """Generated and prompt tokens where every round has to prefill the prompt again."""
        return self.generated_tokens + self.rounds * self.prompt_tokens

    @property
    def order_error(self) -> float:
        """Standard error of the mean accuracy that comes from the random orders alone."""
        return float(self.order_variance.sum().sqrt() / len(self.correct))

    def take(self, rows: Tensor) -> Replay:
        return Replay(**{name: value[rows] for name, value in vars(self).items()})


class OneRound(ABC):
    """Chooses one budget before any sample is drawn. Scored exactly by A(N)."""

    needs: ClassVar[Needs] = "nothing"
    """what the prediction must hold"""

    @abstractmethod
    def choose(self, prediction: Prediction, costs: Costs) -> Tensor:
        """Index into `costs.grid`, shape (B,)."""

    @classmethod
    def check(cls, gives_curve: bool, head: str) -> None:
        """Reject a head that lacks what the policy needs, in the words of the config.

        Raises:
            T2Error: the policy needs a curve and the head gives none.
        """
        if cls.needs == "curve" and not gives_curve:
            raise T2Error(
                f"Expected a head that predicts a curve for policy {cls.__name__}, got {head}. "
                "Use `model.head: CurveHead`, or `policy: PredictedN`."
            )


def choices(policy: OneRound, prediction: Prediction, grid: tuple[int, ...]) -> Tensor:
    """Index of each question's budget in `grid`, (Q,), by predicted costs; `grid` is the head's or its beginning."""
    prediction = prediction.upto(len(grid))
    return policy.choose(prediction, Costs.of(prediction, grid))


def replay_one_round(index_Q: Tensor, labels: BudgetLabels, pool: GradedPool, axes: RoundAxes | None = None) -> Replay:
    """Score chosen budgets: correct is A(N), tokens are N times the question's mean (the mean over subsets).

    A question that gets one answer gets the greedy one, where `labels` know it: see `BudgetLabels.served_QK`. `axes`
    are of the pool on the labels' grid; None: they are worked out.
    """
    sampled = replay_sampled(index_Q, labels.acc_QK, labels.grid, pool, axes)
    if labels.greedy_right_Q is None or labels.grid[0] != 1:
        return sampled
    return where(index_Q == 0, replay_greedy(pool), sampled)


def replay_fixed(n: int, labels: BudgetLabels, pool: GradedPool, axes: RoundAxes | None = None) -> Replay:
    """FixedN(n), n a budget of the labels' grid; `axes` as in `replay_one_round`."""
    return replay_one_round(torch.full((len(pool),), labels.grid.index(n)), labels, pool, axes)


def replay_sampled(
    index_Q: Tensor, acc_QK: Tensor, grid: tuple[int, ...], pool: GradedPool, axes: RoundAxes | None = None
) -> Replay:
    """`replay_one_round` on any curves, a single answer drawn at random as all others are."""
    budget_Q = torch.tensor(grid, dtype=torch.float64)[index_Q]
    axes = axes or RoundAxes.of(pool, grid)
    return Replay(
        correct=acc_QK.gather(1, index_Q[:, None]).squeeze(1).double(),
        samples=budget_Q,
        generated_tokens=budget_Q * pool.mean_tokens_Q,
        prompt_tokens=pool.prompt_tokens_Q.double(),
        rounds=torch.ones(len(pool), dtype=torch.float64),
        peak=budget_Q,
        critical_path=axes.longest_QK.gather(1, index_Q[:, None]).squeeze(1),
        peak_kv=axes.held_QK.gather(1, index_Q[:, None]).squeeze(1) + pool.prompt_tokens_Q,
    )


class HasGreedy(Protocol):
    """Greedy answers of questions: a `GradedPool`, or `Orders` of one."""

    @property
    def greedy_right_Q(self) -> Tensor: ...
    @property
    def greedy_tokens_Q(self) -> Tensor: ...
    @property
    def prompt_tokens_Q(self) -> Tensor: ...


def replay_greedy(answers: HasGreedy) -> Replay:
    """Score the answer at temperature 0."""
    tokens_Q, prompt_Q = answers.greedy_tokens_Q.double(), answers.prompt_tokens_Q.double()
    one_Q = torch.ones_like(tokens_Q)
    return Replay(
        correct=answers.greedy_right_Q.double(),
        samples=one_Q,
        generated_tokens=tokens_Q,
        prompt_tokens=prompt_Q,
        rounds=one_Q,
        peak=one_Q,
        critical_path=tokens_Q,
        peak_kv=prompt_Q + tokens_Q,
    )


def where(first_Q: Tensor, first: Replay, second: Replay) -> Replay:
    """For each question the first replay where `first_Q` (bool), else the second."""
    parts = vars(second).items()
    return Replay(**{name: torch.where(first_Q, getattr(first, name), value_Q) for name, value_Q in parts})


def mean_of(replays: list[Replay]) -> Replay:
    """The mean of several replays of the same questions."""
    # The mean of R independent replays has 1/R of their mean variance.
    mean = {name: torch.stack([getattr(r, name) for r in replays]).mean(0) for name in vars(replays[0])}
    return Replay(**{**mean, "order_variance": mean["order_variance"] / len(replays)})
