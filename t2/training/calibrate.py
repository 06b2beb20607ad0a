"""`CalibrateHead`: when `fit` ends, the policy's setting is chosen on calibration questions, with a promise.

The best checkpoint is written anew with the outcome, so that both `fit` and `t2 export` give the calibrated head. What
was frozen before: the checkpoint, N_ref of train and validation questions together, and the list of settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal

import lightning as L
import torch
from rich.console import Console
from torch import Tensor

from t2.calibration.betting import ALPHA, DELTA, CalibrationResult, Form, questions_needed
from t2.calibration.settings import (
    calibrate_settings,
    promise,
    settings_dearest_first,
    why_not,
)
from t2.checkpoint import Checkpoint
from t2.comparison.as_served import replay_as_served
from t2.comparison.slices import Slice
from t2.curves.labels import BudgetLabels, reference_budget
from t2.errors import T2Error
from t2.export import key_digest
from t2.head_record import Calibration, CalibrationStatus, Decision
from t2.heads.base import Head
from t2.policies import POLICIES
from t2.policies.one_round import FixedN
from t2.policies.record import Policy, PolicyRecord, arguments_of, in_words, name_of
from t2.policies.stoppers import StopInputs, Stopper
from t2.training.accuracy_cost import best_checkpoint, predict
from t2.training.data import BudgetData, needed_data
from t2.training.decide import Decide, metrics_of, warning_of_rule

Mode = Literal["auto", "required", "skip"]


@dataclass(frozen=True)
class CalibrationOutcome:
    """What calibration did, for checkpoint, loggers and terminal."""

    record: Calibration
    policy: Policy
    """to be exported"""
    line: str
    """printed"""
    scalars: dict[str, float] = field(default_factory=dict)
    """logged under `calibration/`"""
    keys: tuple[str, ...] = ()
    """dedup keys of the questions whose labels were used"""


class CalibrateHead(L.Callback):
    """Waits until the calibration split is labelled, then exports the cheapest setting that keeps the promise.

    Without enough questions the head keeps its policy, and one line says how many are needed.

    Args:
        alpha: accuracy (a share) that the exported setting may lose.
        delta: probability with which the promise may fail.
        form: against what: "reference": FixedN(N_ref); "every_fixed": FixedN at every budget of the grid.
        mode: "auto": where there are enough calibration questions; if they pass no setting, what held-out questions
            recommend is exported without a promise where it is likely to lose less than alpha, else FixedN(N_ref).
            "required": too few questions, or a policy that cannot be calibrated, is an error, and if no setting passes
            FixedN(N_ref) is exported. "skip": never.
    """

    def __init__(
        self, alpha: float = ALPHA, delta: float = DELTA, form: Form = "reference", mode: Mode = "auto"
    ) -> None:
        self.needed = questions_needed(alpha, delta)
        self.alpha, self.delta, self.form, self.mode = alpha, delta, form, mode

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Calibrate the best checkpoint; nothing happens without one, or for `FixedN`, which has nothing to choose."""
        best = best_checkpoint(trainer)
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]  # a flag of Trainer
            return
        if not best:
            if self.mode == "required":
                raise T2Error("Expected a best checkpoint by `val/area` to calibrate, got none. Let `fit` validate.")
            return
        checkpoint = Checkpoint.read(best)
        before = checkpoint.record.calibration  # of an earlier end of the same run
        recorded = before.configured_policy if before else checkpoint.record.policy
        assert recorded is not None, "`AccuracyCost` records its policy in each checkpoint"
        configured, data = recorded.policy(), needed_data(trainer, self)
        decide = next((each for each in trainer.callbacks if isinstance(each, Decide)), None)  # type: ignore[attr-defined]  # a list
        decision = checkpoint.record.decision
        is_own = decision is None or decision.basis == "configured"
        if self.mode == "required" and is_own:
            check_policy(name_of(configured))
        if self.mode == "skip" or isinstance(configured, FixedN):  # FixedN(N_ref) loses nothing against itself
            if before:
                write_outcome(checkpoint, data, configured, None, decide)
            return
        outcome = self._without(configured, data) or self._with(configured, checkpoint, data)
        write_outcome(checkpoint, data, outcome.policy, outcome, decide)
        if scalars := {f"calibration/{name}": value for name, value in outcome.scalars.items()}:
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=trainer.global_step)
        Console(soft_wrap=True).print(outcome.line, style="bold", highlight=False)

    def _without(self, configured: Policy, data: BudgetData) -> CalibrationOutcome | None:
        """Why there is no promise, known before any calibration label is; None: there can be one.

        Raises:
            T2Error: there must be one.
        """
        num_questions = len(set(data.dedup_keys("calibration")))
        if reason := why_not(type(configured)):
            sentence = f"Not calibrated, no accuracy is promised: {name_of(configured)} {reason}."
            record = self._untested("not_possible", configured, num_questions, sentence)
            return CalibrationOutcome(record, configured, sentence)
        if num_questions >= self.needed:
            return None
        if self.mode == "required":
            raise T2Error(
                f"Expected at least {self.needed} calibration questions with keys of their own for "
                f"`calibration.mode: required`, got {num_questions}. Add questions, or choose mode auto."
            )
        sentence = (
            f"Not calibrated, no accuracy is promised: that takes {self.needed} calibration questions (alpha "
            f"{self.alpha:g}, delta {self.delta:g}), and there are {num_questions}. The head keeps "
            f"{in_words(configured)}."
        )
        share = data.splits.calibration
        total = f"About {ceil(self.needed / share):,} questions, or a" if share else "A"
        return CalibrationOutcome(
            self._untested("too_few_questions", configured, num_questions, sentence),
            configured,
            f"{sentence} {total} larger `data.splits.calibration` (now {share:g}) would do.",
            {"num_questions": float(num_questions), "needed": float(self.needed)},
        )

    def _with(self, configured: Policy, checkpoint: Checkpoint, data: BudgetData) -> CalibrationOutcome:
        """Freeze, wait for the calibration labels, calibrate.

        The promise holds only for what was settled before these labels were read, so nothing above `wait_for` may look
        at them, and nothing below it may change N_ref or the settings:

            train, validation --> N_ref, settings |  calibration labels --> p-values --> the setting
                                           frozen |
        """
        head, votes = checkpoint.head(), checkpoint.votes
        n_ref, settings = self._freeze(configured, head, checkpoint.record.decision, data)
        if not data.all_labelled("calibration"):  # training is over, and yet the run goes on
            Console(soft_wrap=True).print(
                f"Waiting for the labels of {len(data.dedup_keys('calibration'))} calibration questions. Nothing is "
                "lost by an interrupt: `fit --ckpt_path` with the last checkpoint goes on here, `t2 export` with the "
                "best one gives the head without a promise.",
                highlight=False,
            )
        data.wait_for("calibration")
        pool, labels = data.split("calibration")
        prediction = predict(head, data.features_of("calibration"), torch.device("cpu"))
        keys, on, given = pool.dedup_keys, Slice.of(pool, labels, seed=0), StopInputs(votes, head, prediction)
        acc_QS = torch.stack([replay_as_served(each, on, given).correct for each in settings], 1)
        result = calibrate_settings(acc_QS, labels, keys, n_ref, self.alpha, self.delta, self.form)
        kept = None
        if result.chosen is None and self._is_likely(checkpoint.record.decision, acc_QS[:, -1], labels, n_ref):
            kept = settings[-1]
        chosen: Policy = settings[result.chosen] if result.chosen is not None else kept or FixedN(n_ref)
        replay = replay_as_served(chosen, on, given)
        # A ratio of means, not a mean of ratios: what all these questions together cost.
        ratio = float(replay.generated_tokens.mean() / (n_ref * pool.mean_tokens_Q).mean())
        sentence = promise(result, settings, n_ref, kept)
        status: CalibrationStatus = "no_setting_passed" if result.chosen is None else "calibrated"
        if result.chosen is not None:
            advice = (
                f"It draws {float(replay.samples.mean()):.1f} samples a question there and spends {ratio:.2f} x the "
                f"tokens of FixedN(n={n_ref})."
            )
        elif kept is not None:
            advice = (
                f"It spends {ratio:.2f} x the tokens of FixedN(n={n_ref}). `calibration.mode: required` exports that."
            )
        else:
            advice = f"To keep {in_words(configured)} without a promise: `calibration.mode: skip`."
        record = replace(
            self._untested(status, configured, result.num_questions, sentence),
            n_ref=n_ref,
            settings=tuple(map(PolicyRecord.of, settings)),
            p_values=result.p_values,
            chosen=result.chosen,
            needed_lossless=result.needed_lossless,
        )
        scalars = _scalars(result, chosen, n_ref, ratio)
        return CalibrationOutcome(record, chosen, f"Calibration: {sentence} {advice}", scalars, keys)

    def _is_likely(self, decision: Decision | None, correct_Q: Tensor, labels: BudgetLabels, n_ref: int) -> bool:
        """Whether the recommended setting loses less than alpha by all that is known, though it cannot be promised.

        Few questions pass no setting, be it as good as FixedN(N_ref). So the held-out interval must stay above -alpha,
        and the calibration questions' own mean, which is not tested here, must not speak against it.
        """
        if self.mode != "auto" or decision is None or decision.basis != "out_of_fold" or decision.loses is None:
            return False
        loss = float((labels.served_QK[:, labels.grid.index(n_ref)] - correct_Q).mean())
        return decision.loses.difference.low >= -100 * self.alpha and loss <= self.alpha

    def _freeze(
        self, configured: Policy, head: Head, decision: Decision | None, data: BudgetData
    ) -> tuple[int, tuple[Policy, ...]]:
        """N_ref and the list of settings, from train and validation questions: before any calibration label is read."""
        data.wait_for("train")  # training may have ended before all were labelled
        (_, train), (_, validation) = data.split("train"), data.split("validation")
        n_ref = reference_budget(train, validation)
        if decision is not None and decision.settings:  # those that held-out questions like
            return n_ref, tuple(each.policy.policy() for each in decision.settings)
        if isinstance(configured, Stopper):
            return n_ref, (configured,)
        prediction = predict(head, data.features_of("validation"), torch.device("cpu"))
        # Against FixedN(N_ref) alone no setting that spends more than it is worth choosing.
        most = n_ref if self.form == "reference" else validation.grid[-1]
        return n_ref, settings_dearest_first(type(configured), prediction, validation, most)

    def _untested(
        self, status: CalibrationStatus, configured: Policy, num_questions: int, sentence: str
    ) -> Calibration:
        return Calibration(
            status=status,
            promise=sentence,
            alpha=self.alpha,
            delta=self.delta,
            form=self.form,
            num_questions=num_questions,
            needed=self.needed,
            n_ref=None,
            settings=(),
            p_values=(),
            chosen=None,
            configured_policy=PolicyRecord.of(configured),
        )


def check_policy(name: str) -> None:
    """Reject a policy that cannot be calibrated where calibration is required.

    Raises:
        T2Error: says why.
    """
    if name in POLICIES and (reason := why_not(POLICIES[name])):
        raise T2Error(
            f"Expected a policy that can be calibrated for `calibration.mode: required`, got {name}: it {reason}. "
            "Choose Utility or PredictedN, or mode auto."
        )


def write_outcome(
    checkpoint: Checkpoint,
    data: BudgetData,
    policy: Policy,
    outcome: CalibrationOutcome | None,
    decide: Decide | None = None,
) -> None:
    """Write a checkpoint anew: calibration (None takes an earlier one out), policy, its metrics and its confidence.

    `decide` knows how sure held-out questions make another policy than the one that it has chosen; None: nobody does.
    """
    record = replace(checkpoint.record, calibration=outcome.record if outcome else None)
    if record.decision is not None and outcome is not None:
        record = replace(record, decision=decision_after(record.decision, policy, outcome.record))
    if PolicyRecord.of(policy) != record.policy:
        votes, head = checkpoint.votes, checkpoint.head()
        record = replace(record, policy=PolicyRecord.of(policy), metrics=metrics_of(head, policy, votes, data))
        record = replace(record, confidence=None if decide is None else decide.confidence_of(record))
    if outcome is not None:  # questions that chose the setting must not judge it
        seen = {*(record.seen_questions or ()), *map(key_digest, outcome.keys)}
        record = replace(record, seen_questions=tuple(sorted(seen)))
    checkpoint.rewrite(record)


def decision_after(decision: Decision, policy: Policy, calibration: Calibration) -> Decision:
    """What a decision has become by calibration; a calibration that tested nothing leaves it as it is."""
    if calibration.status not in ("calibrated", "no_setting_passed"):
        return decision
    record = PolicyRecord.of(policy)
    if calibration.chosen is None and not isinstance(policy, FixedN):  # it stands as held-out questions left it
        return replace(decision, why=f"{decision.why} No setting of it passed calibration, so nothing is promised.")
    loses = next((each for each in decision.settings if each.policy == record), None)
    warning = None
    if loses is not None and decision.allowance is not None:
        warning = warning_of_rule(loses.difference, decision.allowance)
    chose = "Calibration chose its setting."
    if calibration.chosen is None:
        chose = "None of its settings passed calibration, so one N for all is exported."
    return replace(decision, basis="calibration", why=f"{decision.why} {chose}", loses=loses, warning=warning)


def _scalars(result: CalibrationResult, chosen: Policy, n_ref: int, ratio: float) -> dict[str, float]:
    """The chosen setting's p-value, else the first setting's; `chosen` is -1 if none passed."""
    index = result.chosen if result.chosen is not None else -1
    return {
        "num_questions": float(result.num_questions),
        "needed": float(result.needed),
        "n_ref": float(n_ref),
        "chosen": float(index),
        "p_value": result.p_values[max(index, 0)],
        "token_ratio": ratio,
        **{name: float(value) for name, value in arguments_of(chosen).items() if isinstance(value, int | float)},
    }
