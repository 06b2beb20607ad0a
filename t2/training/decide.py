"""`Decide`: when `fit` ends, held-out questions say which rule the export should hold: with the head or without.

The head that was trained has seen the train questions, so it cannot say what it is worth on them. Heads of its class,
with its arguments, are trained anew on four fifths of train and validation questions as cross-validation trains them
(default optimizer, all questions from the first epoch on, the last weights), each judged on the fifth that it has not
seen. Where an adapter or learned queries are trained too, these have seen the train questions as well, and training
them five times more takes too long: then the validation questions alone are asked, of the head as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import lightning as L
import torch
from torch import Tensor

from t2.answering.held_out import Answer, stored_answers
from t2.answering.planner import Planner
from t2.budget_head import BudgetHead
from t2.checkpoint import Checkpoint
from t2.comparison.as_served import replay_as_served
from t2.comparison.recommend import FEWEST, Recommendation, Weighed, enough, folds_of, recommend
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.comparison.sweeps import FULL, Sweeps
from t2.comparison.tuning import ALLOWANCE, Target
from t2.curves.labels import BudgetLabels, reference_budget
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.head_record import Confidence, Decision, HeadRecord, Metrics, WeighedRule
from t2.heads.base import Head, HeadShape, targets_of
from t2.heads.training_votes import TrainingVotes
from t2.policies.base import OneRound
from t2.policies.one_round import FixedN
from t2.policies.record import Policy, PolicyRecord, in_words, name_of, reads_activations
from t2.policies.stoppers import StopInputs
from t2.progress import progress
from t2.stats.bootstrap import Interval, clusters_of, mean_interval
from t2.stats.log_odds import fitted_line
from t2.training.accuracy_cost import ValidationResult, best_checkpoint, predict
from t2.training.cross_validation import TrainSettings, fit_head
from t2.training.data import BudgetData, needed_data
from t2.training.fit_summary import in_points
from t2.training.module import BudgetProbe

Mode = Literal["evidence", "configured"]
Asked = Literal["out_of_fold", "validation"]
"""By which questions it is decided: train and validation, each by heads that have not seen it; or validation alone, by
the head as it is, where training an adapter anew in each fold would take five times as long as `fit`."""
_ORDERS = 8
"""Random orders of each question's samples, over which confidence is compared with what is right."""
MAX_ROUNDS = 2.0
"""Mean rounds of a question that a user is thought to wait for."""


class Decide(L.Callback):
    """Chooses what is exported: the cheapest of the head in one round, planned rounds with and without it, and ASC.

    Args:
        mode: "evidence": what loses at most `allowance` on held-out train and validation questions and waits at most
            `max_rounds`; where there are enough calibration questions, these choose its prices. "configured":
            `accuracy_cost.policy`, whatever it loses.
        max_rounds: mean rounds of a question, at least 1: how often you wait for the engine; .inf: any number.
        allowance: accuracy (a share) that may be lost against FixedN(N_ref).
    """

    def __init__(self, mode: Mode = "evidence", max_rounds: float = MAX_ROUNDS, allowance: float = ALLOWANCE) -> None:
        if not max_rounds >= 1:  # NaN fails too
            raise T2Error(
                f"Expected `decision.max_rounds` of at least 1, got {max_rounds}: every question waits once. Set it to "
                "1 for a single round, to .inf for any number."
            )
        if not 0 <= allowance < 1:
            raise T2Error(f"Expected `decision.allowance`, a share of accuracy, in [0, 1), got {allowance}.")
        self.mode, self.target = mode, Target(allowance, max_rounds)
        self.sweeps: Sweeps = FULL
        self._folds: list[Fold] = []

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write policy and decision into the best checkpoint; nothing happens without one."""
        best = best_checkpoint(trainer)
        if not best or not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]  # a flag
            return
        assert isinstance(pl_module, BudgetProbe)
        data, checkpoint = needed_data(trainer, self), Checkpoint.read(best)
        record = checkpoint.record
        before = record.decision.configured if record.decision else None  # of an earlier end of the same run
        configured = before or (record.calibration.configured_policy if record.calibration else record.policy)
        assert configured is not None, "`AccuracyCost` records its policy in each checkpoint"
        data.wait_for("train")  # training may have ended before all were labelled
        train, train_labels = data.split("train")
        votes = TrainingVotes.of(train, train_labels)
        first: Literal["greedy", "sampled"] = "sampled" if train_labels.greedy_right_Q is None else "greedy"
        record = replace(record, labels=replace(record.labels, first=first))
        head = checkpoint.head()
        confidence = None
        if self.mode == "configured":
            decision = Decision("configured", f"{in_words(configured.policy())} is the policy of the configuration.")
            policy = configured
        else:
            # An adapter, or learned queries, have seen the train questions, whatever head is trained on top of them.
            own = pl_module.trains_features
            held = HeldOut(*data.together(*(("validation",) if own else ("train", "validation"))))
            folds = self._folds = self._in_folds(trainer, pl_module, head if own else None, votes, held)
            known = [fold.known for fold in folds]
            found = recommend(held.pool, held.labels, known, self.target, self.sweeps) if folds else None
            asked: Asked = "validation" if own else "out_of_fold"
            keys = len(set(held.pool.dedup_keys))
            decision, policy = decided(found, self.target, configured, held.labels, keys, asked)
            confidence = self.confidence_of(replace(record, policy=policy))
        metrics = metrics_of(head, policy.policy(), votes, data)
        record = replace(
            record, policy=policy, decision=decision, metrics=metrics, confidence=confidence, calibration=None
        )
        checkpoint.rewrite(record, votes)

    def confidence_of(self, record: HeadRecord) -> Confidence | None:
        """What makes the confidence of a record's policy true on the questions that were held out; None: not known."""
        return confidence_of(record, self._folds)

    def _in_folds(
        self, trainer: L.Trainer, probe: BudgetProbe, trained: Head | None, votes: TrainingVotes, held: HeldOut
    ) -> list[Fold]:
        """The questions by folds, each with a head that has not seen it: trained without it, or `trained` before.

        Empty where there are too few questions to tell anything.
        """
        pool, labels, pooled_QLD = held.pool, held.labels, held.pooled_QLD
        if not enough(pool.dedup_keys):
            return []
        fold_Q = folds_of(pool.dedup_keys)
        numbers = torch.unique(fold_Q).tolist()
        if trained is not None:
            return [Fold(held.take(fold_Q == number), trained, votes) for number in numbers]
        most, own = TrainSettings().max_epochs, trainer.max_epochs
        how = TrainSettings(max_epochs=most if own is None or own < 1 else min(most, own))
        shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
        targets, folds = targets_of(labels, pool), list[Fold]()
        with progress("weighing rules on held-out questions", len(numbers), unit="folds") as advance:
            for number in numbers:
                learn_Q = fold_Q != number
                head = fit_head(probe.make_head, shape, pooled_QLD[learn_Q], targets.take(learn_Q), how)
                others = held.take(learn_Q)
                folds.append(Fold(held.take(~learn_Q), head, TrainingVotes.of(others.pool, others.labels)))
                advance(len(folds))
        return folds


@dataclass(frozen=True)
class HeldOut:
    """Questions that may choose."""

    pool: GradedPool
    labels: BudgetLabels
    pooled_QLD: Tensor

    def take(self, some_Q: Tensor) -> HeldOut:
        """Those of a mask."""
        rows = torch.nonzero(some_Q).squeeze(1)
        return HeldOut(self.pool.take(rows), self.labels.take(rows), self.pooled_QLD[rows])


@dataclass(frozen=True)
class Fold:
    """Questions, and a head that was trained without them."""

    held: HeldOut
    head: Head
    votes: TrainingVotes
    """of the questions that the head has learned from"""

    @property
    def known(self) -> Known:
        return Known.of_head(self.head, self.held.pooled_QLD)

    def answers(self, record: HeadRecord) -> list[Answer]:
        """What a server would answer by the record's policy, and how sure it would be."""
        assert record.policy is not None
        head = self.head if reads_activations(record.policy.policy()) else None
        served = BudgetHead(replace(record, confidence=None), head, self.votes)
        planner = Planner(served)
        if planner.needs_activations:
            plans = planner.plans(served.raws(self.held.pooled_QLD))
        else:
            plans = planner.plans(None) * len(self.held.pool)
        return stored_answers(plans, self.held.pool, _ORDERS)


def confidence_of(record: HeadRecord, folds: Sequence[Fold]) -> Confidence | None:
    """What makes the confidence of the record's policy true on these questions; None: too few answers to tell."""
    answers = [answer for fold in folds for answer in fold.answers(record)]
    if not answers:
        return None
    said_X, right_X = torch.tensor(answers, dtype=torch.float64).T
    line = fitted_line(said_X, right_X)
    num_questions = sum(len(fold.held.pool) for fold in folds)
    return None if line is None else Confidence(line.intercept, line.slope, num_questions)


def decided(
    found: Recommendation | None,
    target: Target,
    configured: PolicyRecord,
    labels: BudgetLabels,
    num_keys: int,
    asked: Asked = "out_of_fold",
) -> tuple[Decision, PolicyRecord]:
    """What is recorded of a recommendation, and the policy: the best candidate, or FixedN(N_ref).

    `labels` are of the questions that were asked; they have `num_keys` dedup keys.
    """
    of = "train and validation questions" if asked == "out_of_fold" else "validation questions"
    limit = None if math.isinf(target.max_rounds) else target.max_rounds
    aim = f"lose at most {in_points(100 * target.allowance)}"
    aim += f" in at most {target.max_rounds:g} rounds a question" if limit else ""
    if found is None:
        n_ref = reference_budget(labels)
        why = (
            f"Nothing was weighed: that takes {FEWEST} {of} of several keys, and there are "
            f"{len(labels.acc_QK)} of {num_keys}. One N for all is exported; `decision.mode: configured` keeps your "
            "own policy."
        )
        decision = Decision("no_evidence", why, target.allowance, limit, n_ref, configured=configured)
        return decision, PolicyRecord.of(FixedN(n_ref))
    weighed = tuple(rule_of(each.weighed, each.within) for each in found.candidates)
    on = f"out of fold on {found.num_questions} {of}"
    if asked == "validation":
        on = f"on {found.num_questions} {of}, which chose the checkpoint too"
    if found.best is None or found.chosen_like_this is None:
        decision = Decision(
            basis=asked,
            why=f"No rule was seen to save tokens and {aim}, {on}: one N for all is exported.",
            allowance=target.allowance,
            max_rounds=limit,
            n_ref=found.n_ref,
            num_questions=found.num_questions,
            candidates=weighed,
            configured=configured,
        )
        return decision, PolicyRecord.of(FixedN(found.n_ref))
    best, loss = found.best, found.chosen_like_this
    policy = PolicyRecord.of(best.weighed.policy)
    why = f"{name_of(best.weighed.policy)} takes the fewest tokens of the rules that {aim}, {on}."
    decision = Decision(
        basis=asked,
        why=why,
        allowance=target.allowance,
        max_rounds=limit,
        n_ref=found.n_ref,
        num_questions=found.num_questions,
        loses=rule_of(loss, best.within),
        warning=warning_of_rule(loss.difference, target.allowance),
        candidates=weighed,
        # No dearer setting of the list is less accurate than the candidate, which is within.
        settings=tuple(rule_of(each, each.ratio.value < 1) for each in best.settings),
        configured=configured,
    )
    return decision, policy


def rule_of(weighed: Weighed, within: bool) -> WeighedRule:
    """For the record."""
    measured = {name: value for name, value in vars(weighed).items() if name != "policy"}
    return WeighedRule(policy=PolicyRecord.of(weighed.policy), within=within, **measured)


def warning_of_rule(difference: Interval, allowance: float) -> str | None:
    """A sentence where the loss (points) may be larger than allowed; None: it is not, with 95% confidence."""
    worst = -difference.low
    if worst <= 100 * allowance:
        return None
    return (
        f"It may lose up to {worst:.1f} points (95%), which is more than the {100 * allowance:g} that it was chosen to "
        "lose: more questions would tell."
    )


def metrics_of(head: Head, policy: Policy, votes: TrainingVotes | None, data: BudgetData) -> Metrics:
    """Of a policy with its head on validation; what looks at answers has no area."""
    pool, labels = data.split("validation")
    prediction = predict(head, data.features_of("validation"), torch.device("cpu"))
    if isinstance(policy, OneRound):
        return ValidationResult(type(head).__name__, policy, pool, labels, prediction).metrics
    on, clusters_Q = Slice.of(pool, labels, seed=0), clusters_of(pool.dedup_keys)
    replay = replay_as_served(policy, on, StopInputs(votes, head, prediction))
    return Metrics(
        area=None,
        accuracy=mean_interval(replay.correct, clusters_Q=clusters_Q),
        generated_tokens=mean_interval(replay.generated_tokens, clusters_Q=clusters_Q),
        total_tokens=mean_interval(replay.total_tokens, clusters_Q=clusters_Q),
        samples=mean_interval(replay.samples, clusters_Q=clusters_Q),
        n_ref=reference_budget(labels),
    )
