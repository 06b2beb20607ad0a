"""What every head is: pooled activations in, raw outputs out, a loss, and a prediction that policies read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from t2.curves.labels import BudgetLabels, smallest_enough
from t2.grading.graded import GradedPool
from t2.splits import fold_of

MAX_OUTPUTS = 127
"""vLLM reads at most 128 label logits of a request; one is the reference."""
HEAD_FOLDS = 2
"""Folds inside the questions that a head learns from, for its own out-of-fold statistics; no folds of a comparison."""
RMS_EPS = 1e-6


@dataclass(frozen=True)
class HeadShape:
    """What is known of the data when a head is built."""

    num_layers: int
    """L, tapped layers"""
    width: int
    """D, hidden width"""
    grid: tuple[int, ...]
    """budgets of the policy, in samples"""
    label_grid: tuple[int, ...]
    """budgets up to M/2, on which N* is defined"""


class Targets(NamedTuple):
    """What a batch is trained on; tensors over B questions."""

    acc_BK: Tensor
    """A(N) on the grid, float32"""
    n_star_B: Tensor
    """index of N* into the label grid"""
    never_B: Tensor
    """bool: more samples never help"""
    log_tokens_B: Tensor
    """log mean generated tokens of a sample"""
    fold_B: Tensor
    """inner fold, 0..HEAD_FOLDS-1"""
    count_B3: Tensor
    """samples for the most frequent answer, the second, and all else, see `GradedPool.top_counts`; float32, which holds
    counts exactly"""
    right_B: Tensor
    """which of the two is correct: 1, 2, or 0: neither"""
    greedy_right_B: Tensor
    """1: the greedy answer is correct, 0: it is not, NaN: there is none, or it is not to be used; float32"""

    def take(self, rows: Tensor) -> Targets:
        return Targets(*(value[rows] for value in self))


def targets_of(labels: BudgetLabels, pool: GradedPool) -> Targets:
    """Targets of labelled questions; the inner fold follows from the dedup key."""
    count_B3, right_B = pool.top_counts()
    greedy_B = labels.greedy_right_Q
    return Targets(
        acc_BK=labels.acc_QK.float(),
        n_star_B=labels.n_star_Q,
        never_B=labels.never_Q,
        log_tokens_B=labels.log_tokens_Q.float(),
        fold_B=torch.tensor([fold_of(key, HEAD_FOLDS, seed=-1) for key in pool.dedup_keys]),
        count_B3=count_B3.float(),
        right_B=right_B,
        greedy_right_B=torch.full((len(pool),), torch.nan) if greedy_B is None else greedy_B.float(),
    )


@dataclass(frozen=True)
class Prediction:
    """What a policy may know of a question before any sample is drawn. Unknown parts are None."""

    log_tokens_B: Tensor
    """log of the predicted mean generated tokens of a sample"""
    accuracy_BK: Tensor | None = None
    """predicted A(N) on the grid"""
    log2_n_B: Tensor | None = None
    """predicted log2 N*"""
    n_star_cdf_BK: Tensor | None = None
    """P(N* <= label_grid[k]); what is missing to 1 in the last column is "never" """
    atom_weights_BJ: Tensor | None = None
    """weights over the atoms of `CurveHead`, which say on which training curves a prediction rests, or of `PriorHead`,
    which plans are made from"""

    def take(self, rows: Tensor) -> Prediction:
        return self.map(lambda value: value[rows])

    def upto(self, num_budgets: int) -> Prediction:
        """The same on the first budgets of the grid, for a pool or a cap that allows no more."""
        return self if self.accuracy_BK is None else replace(self, accuracy_BK=self.accuracy_BK[:, :num_budgets])

    def map(self, change: Callable[[Tensor], Tensor]) -> Prediction:
        parts: dict[str, Any] = {name: None if v is None else change(v) for name, v in vars(self).items()}
        return Prediction(**parts)


def unpredicted(num: int) -> Prediction:
    """Of questions that no head has looked at: all alike."""
    return Prediction(log_tokens_B=torch.zeros(num))


def concatenated(parts: Sequence[Prediction]) -> Prediction:
    """Predictions of several sets of questions, one after the other."""
    names = [name for name, value in vars(parts[0]).items() if value is not None]
    return Prediction(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def rms_normalised(pooled_BLD: Tensor) -> Tensor:
    """Each layer's activations divided by their root mean square, float32, without parameters."""
    x_BLD = pooled_BLD.float()
    return x_BLD * torch.rsqrt(x_BLD.square().mean(-1, keepdim=True) + RMS_EPS)


class Standardise(nn.Module):
    """RMS norm, then each coordinate shifted and scaled by its training mean and deviation (buffers, not parameters).

    The last token of a chat template looks much alike for all questions: without the shift its common part drowns
    what differs.
    """

    mean_LD: Tensor
    scale_LD: Tensor

    def __init__(self, num_layers: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_LD", torch.zeros(num_layers, width))
        self.register_buffer("scale_LD", torch.ones(num_layers, width))

    def fit(self, pooled_QLD: Tensor) -> None:
        # In place: buffers keep their device. Plus 1e-3: a coordinate that hardly varies is not blown up.
        x_QLD = rms_normalised(pooled_QLD)
        self.mean_LD.copy_(x_QLD.mean(0))
        self.scale_LD.copy_(1.0 / (x_QLD.std(0, correction=0) + 1e-3))

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        x_BLD: Tensor = (rms_normalised(pooled_BLD) - self.mean_LD) * self.scale_LD
        return x_BLD


class Head(nn.Module, ABC):
    """A small trainable head. Build it with a `HeadShape`; everything else are keyword arguments of JSON values."""

    gives_curve: ClassVar[bool] = False
    """whether `Prediction.accuracy_BK` is there, which policies such as `Utility` need"""
    mean_log_tokens: Tensor

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.shape = shape
        self.standardise = Standardise(shape.num_layers, shape.width)
        self.register_buffer("mean_log_tokens", torch.zeros(()))

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """Prepare for tensors that are about to be loaded: most heads know their shapes already."""

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments that build this head again, besides the shape; JSON values."""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """O, at most `MAX_OUTPUTS`; the last output is the length's."""

    @abstractmethod
    def forward(self, pooled_BLD: Tensor) -> Tensor:
        """Raw outputs, (B, O)."""

    def folded(self) -> Callable[[Tensor], Tensor]:
        """`forward` of the trained head in evaluation mode, in fewer steps where the head knows how.

        Its outputs are equal up to rounding. It may hold copies: ask again after the head has changed or moved.
        """
        return self.eval().requires_grad_(False)

    @abstractmethod
    def budget_loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """Mean loss of everything but the length."""

    @abstractmethod
    def predict(self, raw_BO: Tensor) -> Prediction:
        """The raw outputs as quantities that policies read."""

    @abstractmethod
    def score(self, prediction: Prediction) -> Tensor:
        """One number a question, for the common decision layer and rank correlations; higher is easier or harder."""

    def loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """Mean loss: the budget's and half the squared error of the log length."""
        length_error_B = self.log_tokens(raw_BO) - targets.log_tokens_B
        return self.budget_loss(raw_BO, targets) + 0.5 * length_error_B.square().mean()

    def log_tokens(self, raw_BO: Tensor) -> Tensor:
        """Predicted log mean generated tokens: the training mean plus the last output."""
        return self.mean_log_tokens + raw_BO[:, -1]

    def log2_n_off(self, curve_BK: Tensor, eps: float) -> Tensor:
        """log2 of the fewest samples at which a predicted curve is within `eps` of its best on the label grid, (B,)."""
        label_grid = torch.tensor(self.shape.label_grid, device=curve_BK.device)
        return label_grid[smallest_enough(curve_BK[:, : len(label_grid)], eps)].float().log2()

    def start_stage(self, pooled_QLD: Tensor, targets: Targets) -> None:
        """Take statistics from the training questions: called before training and when their set becomes full."""
        self.standardise.fit(pooled_QLD)
        self.mean_log_tokens.copy_(targets.log_tokens_B.mean())

    def finish_epoch(self, pooled_QLD: Tensor, targets: Targets) -> None:
        """Take statistics that depend on the weights, from the training questions, after an epoch."""


class Trunk(nn.Module):
    """Standardised features of all layers -> one hidden layer -> outputs."""

    def __init__(self, shape: HeadShape, hidden: int, outputs: int, dropout: float) -> None:
        """Build the two linear maps; the last starts at zero, so that training starts from the constant prediction."""
        super().__init__()
        self.project = nn.Linear(shape.num_layers * shape.width, hidden)
        self.drop_in, self.drop_hidden = nn.Dropout(dropout), nn.Dropout(dropout)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        hidden_BH = nn.functional.gelu(self.project(self.drop_in(x_BLD.flatten(1))))
        out_BO: Tensor = self.out(self.drop_hidden(hidden_BH))
        return out_BO
