"""`AccuracyCost`: what the head is worth end to end on validation: accuracy against tokens, replayed on samples."""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.console import Console
from torch import Tensor

from t2.checkpoint import CHECKPOINT_KEY
from t2.comparison.contenders import fixed_frontier, head_frontiers, reference_frontiers
from t2.comparison.fits import one_round
from t2.comparison.frontier_figure import Line, frontier_figure, pictured
from t2.comparison.slices import Slice
from t2.curves.labels import BudgetLabels, reference_budget
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.head_record import Metrics
from t2.heads.base import Head, Prediction
from t2.policies import POLICIES
from t2.policies.base import OneRound, Replay
from t2.policies.one_round import Utility
from t2.policies.record import PolicyRecord
from t2.stats.bootstrap import clusters_of, mean_interval
from t2.stats.frontier import Frontier
from t2.stats.resampled import Resampled
from t2.training.data import needed_data
from t2.training.loggers import log_table_and_figure
from t2.training.module import BudgetProbe

TABLE_COLUMNS = ["policy", "setting", "accuracy", "generated_tokens", "total_tokens", "samples", "rounds", "peak"]


class AccuracyCost(L.Callback):
    """Logs `val/area` (what checkpoints monitor), `val/accuracy`, `val/generated_tokens` and `val/samples`.

    At the end of `fit` it logs the table of all policies and the frontier picture to every logger, and prints one
    verdict line against the best constant.

    Args:
        policy: turns predictions into budgets; None: `Utility(price=1.0)`.
        every_n_epochs: epochs from one replay to the next, at least 1.
    """

    def __init__(self, policy: OneRound | None = None, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise T2Error(
                f"Expected `accuracy_cost.every_n_epochs` of at least 1, got {every_n_epochs}. Set it to 1 to replay "
                "after every epoch."
            )
        self.policy = policy if policy is not None else Utility(1.0)
        if type(self.policy).__name__ not in POLICIES:
            raise T2Error(f"Expected a policy among {sorted(POLICIES)}, got {type(self.policy).__name__}.")
        self.every_n_epochs = every_n_epochs
        self.metrics: Metrics | None = None
        """of the last replay"""

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reject a head that lacks what the policy needs (train.py has done so already while parsing)."""
        assert isinstance(pl_module, BudgetProbe)
        if pl_module.head is not None:
            self.policy.check(pl_module.head.gives_curve, type(pl_module.head).__name__)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or trainer.current_epoch % self.every_n_epochs:
            return
        assert isinstance(pl_module, BudgetProbe)
        prediction = pl_module.validated
        if len(prediction.log_tokens_B) < len(needed_data(trainer, self).dedup_keys("validation")):
            # `trainer.limit_val_batches` leaves questions out; what checkpoints are chosen by is worth asking them all.
            prediction = self._predicted(trainer, pl_module)
        self.metrics = self._evaluation(trainer, pl_module, prediction).metrics
        for name, interval in self.metrics.intervals.items():
            pl_module.log(f"val/{name}", interval.value, prog_bar=name == "area")

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        # Beside the head, so that an export needs nothing but the checkpoint.
        record = checkpoint.setdefault(CHECKPOINT_KEY, {})
        record["policy"] = PolicyRecord.of(self.policy).as_json()
        record["metrics"] = self.metrics.as_json() if self.metrics else {}

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Table, picture and verdict of the best checkpoint (of the last weights if there is none).

        Raises:
            T2Error: nothing was trained.
        """
        assert isinstance(pl_module, BudgetProbe)
        if not trainer.global_step:
            raise T2Error(
                "Expected at least one step of training, got none: there is no head. Raise `trainer.max_epochs`."
            )
        checkpoint = best_checkpoint(trainer)
        if checkpoint:
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
            pl_module.take_weights(content, checkpoint)
        if pl_module.backbone is not None:
            # Lightning has moved it to the CPU by now; this and the callbacks after it read many prompts.
            pl_module.to(trainer.strategy.root_device)
        data = needed_data(trainer, self)
        evaluation = self._evaluation(trainer, pl_module, self._predicted(trainer, pl_module))
        data.wait_for("train")  # training may have ended before all were labelled
        frontiers = evaluation.all_frontiers(*data.split("train"))
        rows = table_rows(frontiers)
        own = evaluation.own
        lines = [Line(frontier, chosen=evaluation.replay if frontier is own else None) for frontier in frontiers]
        figure = frontier_figure(pictured(lines, own), f"validation, {len(evaluation.pool)} questions")
        for logger in trainer.loggers:
            log_table_and_figure(logger, TABLE_COLUMNS, rows, figure)
        Console(soft_wrap=True).print(evaluation.verdict(was_chosen(trainer)), style="bold", highlight=False)

    def _predicted(self, trainer: L.Trainer, pl_module: BudgetProbe) -> Prediction:
        features_QLD = needed_data(trainer, self).features_of("validation")
        return predict(pl_module.head, features_QLD, pl_module.device)

    def _evaluation(self, trainer: L.Trainer, pl_module: BudgetProbe, prediction: Prediction) -> ValidationResult:
        pool, labels = needed_data(trainer, self).split("validation")
        return ValidationResult(type(pl_module.head).__name__, self.policy, pool, labels, prediction)


def predict(head: Head | None, pooled_QLD: Tensor, device: torch.device) -> Prediction:
    """Predictions of a head in eval mode, on the CPU; its mode is restored."""
    assert head is not None
    was_training = head.training
    head.eval()
    with torch.no_grad():
        prediction = head.predict(head(pooled_QLD.to(device)))
    head.train(was_training)
    return prediction.map(Tensor.cpu)


def best_checkpoint(trainer: L.Trainer) -> str:
    """Path of the best checkpoint, by `val/area` or by what the config monitors instead; empty if none was written."""
    callback = _of_best(trainer)
    return callback.best_model_path if callback else ""


def was_chosen(trainer: L.Trainer) -> bool:
    """Whether validation chose the best checkpoint; else it has the last weights."""
    callback = _of_best(trainer)
    return callback is not None and callback.best_model_score is not None


def _of_best(trainer: L.Trainer) -> ModelCheckpoint | None:
    """The callback that has written the best checkpoint; the configuration may have others."""
    callbacks = [each for each in trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
    with_best = [each for each in callbacks if each.best_model_path]
    return min(with_best, key=lambda each: (each.monitor != "val/area", each.monitor is None), default=None)


class ValidationResult:
    """A policy on the validation questions, replayed, beside the sweeps that it is judged by."""

    def __init__(
        self, head: str, policy: OneRound, pool: GradedPool, labels: BudgetLabels, prediction: Prediction
    ) -> None:
        self.head, self.policy, self.pool, self.labels, self.prediction = head, policy, pool, labels, prediction
        self.n_ref = reference_budget(labels)
        self.on = Slice.of(pool, labels, seed=0)
        self.fixed = fixed_frontier(self.on)
        self.replay = one_round(policy, prediction, self.on, labels.grid[-1])
        self.frontiers = head_frontiers(head, prediction, self.on, labels.grid[-1])
        self.own = next((f for f in self.frontiers if f.policy == type(policy).__name__), self.fixed)
        replays = [self.replay, *self.own.replays, *self.fixed.replays]
        self.resampled = Resampled(replays, clusters_of(pool.dedup_keys))

    @property
    def metrics(self) -> Metrics:
        replay, interval = self.replay, partial(mean_interval, clusters_Q=clusters_of(self.pool.dedup_keys))
        return Metrics(
            area=self.resampled.area(self.own, self.fixed, self.n_ref).scaled(0.01),  # points to a share
            accuracy=interval(replay.correct),
            generated_tokens=interval(replay.generated_tokens),
            total_tokens=interval(replay.total_tokens),
            samples=interval(replay.samples),
            n_ref=self.n_ref,
        )

    def all_frontiers(self, train_pool: GradedPool, train_labels: BudgetLabels) -> list[Frontier]:
        """The head's frontiers beside every reference; those that are fitted are fitted on training questions."""
        train = Slice.of(train_pool, train_labels, seed=0)
        return [*reference_frontiers(train, self.on, self.n_ref), *self.frontiers]

    def verdict(self, chose_checkpoint: bool = True) -> str:
        """One line: the policy against the best constant of about its cost.

        Args:
            chose_checkpoint: whether the questions have chosen the checkpoint, which flatters it.
        """
        # Distances of costs are ratios, hence the logarithms: half the tokens are as far away as twice the tokens.
        constant = int((self.fixed.tokens_P.log() - self.replay.generated_tokens.mean().log()).abs().argmin())
        other: Replay = self.fixed.replays[constant]
        gap, ratio = self.resampled.difference(self.replay, other), self.resampled.ratio(self.replay, other)
        area_points = self.resampled.area(self.own, self.fixed, self.n_ref)
        knobs = ", ".join(f"{name}={value}" for name, value in vars(self.policy).items())
        chose = " that chose the checkpoint" if chose_checkpoint else ""
        at, of = float(self.replay.generated_tokens.mean()), float(other.generated_tokens.mean())
        return (
            f"Verdict on the {len(self.pool)} validation questions{chose}: "
            f"{self.head} + {type(self.policy).__name__}({knobs}): "
            f"accuracy {float(self.replay.correct.mean()):.3f} at {at:.0f} generated tokens; constant of that cost "
            f"N={self.labels.grid[constant]}: {float(other.correct.mean()):.3f} at {of:.0f}; "
            f"difference {gap.value:+.1f} points [{gap.low:+.1f}, {gap.high:+.1f}] at "
            f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] x the tokens; "
            f"area {area_points.value:+.2f} points [{area_points.low:+.2f}, {area_points.high:+.2f}]"
        )


def table_rows(frontiers: list[Frontier]) -> list[list[object]]:
    """One row a policy and setting, in the order of `TABLE_COLUMNS`."""
    rows: list[list[object]] = []
    for frontier in frontiers:
        for setting, r in zip(frontier.settings, frontier.replays, strict=True):
            means = (r.correct, r.generated_tokens, r.total_tokens, r.samples, r.rounds, r.peak)
            rows.append([frontier.name, setting, *(float(value_Q.mean()) for value_Q in means)])
    return rows
