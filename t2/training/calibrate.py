"""`CalibrateHead`: when `fit` ends, the policy's setting is chosen on calibration questions, with a promise.

The best checkpoint is written anew with the outcome, so that both `fit` and `t2 export` give the calibrated head. What
was frozen before: the checkpoint, N_ref of train and validation questions together, and the list of settings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from rich.console import Console

from t2.calibration.betting import ALPHA, DELTA, CalibrationResult, Form, questions_needed
from t2.calibration.settings import (
    calibrate_policy,
    choices,
    in_words,
    promise,
    reference_budget,
    settings_dearest_first,
    why_not,
)
from t2.errors import T2Error
from t2.export import CHECKPOINT_KEY, SEEN_KEY, head_of_checkpoint, key_digest, read_checkpoint
from t2.heads.base import Head
from t2.policies import POLICIES
from t2.policies.base import OneRound, replay_one_round
from t2.policies.one_round import FixedN
from t2.policies.record import policy_from_record, policy_record
from t2.store.files import write_atomically
from t2.training.accuracy_cost import ValidationResult, best_checkpoint, predict
from t2.training.data import BudgetData, needed_data

Mode = Literal["auto", "required", "skip"]


@dataclass(frozen=True)
class Outcome:
    """What calibration did, for checkpoint, loggers and terminal."""

    record: dict[str, Any]
    """the `calibration` entry of the export"""
    policy: OneRound
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
    """

    def __init__(
        self, alpha: float = ALPHA, delta: float = DELTA, form: Form = "reference", mode: Mode = "auto"
    ) -> None:
        """Configure.

        Args:
            alpha: accuracy (a share) that the exported setting may lose.
            delta: probability with which the promise may fail.
            form: against what: "reference": FixedN(N_ref); "every_fixed": FixedN at every budget of the grid.
            mode: "auto": where there are enough calibration questions; "required": too few of them, or a policy that
                cannot be calibrated, is an error; "skip": never.
        """
        self.needed = questions_needed(alpha, delta)
        self.alpha, self.delta, self.form, self.mode = alpha, delta, form, mode

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Calibrate the best checkpoint; nothing happens without one, or for `FixedN`, which has nothing to choose."""
        checkpoint = best_checkpoint(trainer)
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]  # a flag of Trainer
            return
        if not checkpoint:
            if self.mode == "required":
                raise T2Error("Expected a best checkpoint by `val/area` to calibrate, got none. Let `fit` validate.")
            return
        content = read_checkpoint(checkpoint)
        record = content[CHECKPOINT_KEY]
        before = record.get("calibration", {})  # of an earlier end of the same run
        configured = policy_from_record(before.get("configured_policy", record["policy"]))
        data = needed_data(trainer, self)
        if self.mode == "required":
            check_policy(type(configured).__name__)
        if self.mode == "skip" or isinstance(configured, FixedN):
            if before:
                write_outcome(checkpoint, content, data, None, configured)
            return
        head = head_of_checkpoint(content, checkpoint)
        outcome = self._without(configured, data) or self._with(configured, head, data)
        write_outcome(checkpoint, content, data, outcome, outcome.policy)
        if scalars := {f"calibration/{name}": value for name, value in outcome.scalars.items()}:
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=trainer.global_step)
        Console(soft_wrap=True).print(outcome.line, style="bold", highlight=False)

    def _without(self, configured: OneRound, data: BudgetData) -> Outcome | None:
        """Why there is no promise, known before any calibration label is; None: there can be one.

        Raises:
            T2Error: there must be one.
        """
        name, found = in_words(configured), len(set(data.dedup_keys("calibration")))
        if reason := why_not(type(configured)):
            said = f"Not calibrated, no accuracy is promised: {type(configured).__name__} {reason}."
            return Outcome(self._record("not_possible", configured, found, said), configured, said)
        if found >= self.needed:
            return None
        said = (
            f"Not calibrated, no accuracy is promised: that takes {self.needed} calibration questions (alpha "
            f"{self.alpha:g}, delta {self.delta:g}), and there are {found}. The head keeps {name}."
        )
        if self.mode == "required":
            raise T2Error(
                f"Expected at least {self.needed} calibration questions with keys of their own for "
                f"`calibration.mode: required`, got {found}. Add questions, or choose mode auto."
            )
        share = data.fractions.calibration
        total = f"About {ceil(self.needed / share):,} questions, or a" if share else "A"
        advice = f" {total} larger `data.splits.calibration` (now {share:g}) would do."
        scalars = {"num_questions": float(found), "needed": float(self.needed)}
        return Outcome(self._record("too_few_questions", configured, found, said), configured, said + advice, scalars)

    def _with(self, configured: OneRound, head: Head, data: BudgetData) -> Outcome:
        """Freeze, wait for the calibration labels, calibrate."""
        n_ref, settings = self._freeze(configured, head, data)
        self._announce_wait(data)
        data.wait_for("calibration")
        pool, labels = data.split("calibration")
        prediction = predict(head, data.features("calibration"), torch.device("cpu"))
        keys = pool.dedup_keys
        result = calibrate_policy(settings, prediction, labels, keys, n_ref, self.alpha, self.delta, self.form)
        chosen = settings[result.chosen] if result.chosen is not None else FixedN(n_ref)
        replay = replay_one_round(choices(chosen, prediction, labels.grid), labels.acc_QK, labels.grid, pool)
        ratio = float(replay.generated_tokens.mean() / (n_ref * pool.mean_tokens_Q).mean())
        said = promise(result, settings, n_ref)
        if result.chosen is not None:
            status = "calibrated"
            more = (
                f"It draws {float(replay.samples.mean()):.1f} samples a question there and spends {ratio:.2f} x the "
                f"tokens of FixedN(n={n_ref})."
            )
        else:
            status = "no_setting_passed"
            more = f"To keep {in_words(configured)} without a promise: `calibration.mode: skip`."
        record = {
            **self._record(status, configured, result.num_questions, said),
            **result.as_json(),
            "n_ref": n_ref,
            "settings": [policy_record(each) for each in settings],
        }
        return Outcome(record, chosen, f"Calibration: {said} {more}", _scalars(result, chosen, n_ref, ratio), keys)

    def _freeze(self, configured: OneRound, head: Head, data: BudgetData) -> tuple[int, tuple[OneRound, ...]]:
        """N_ref and the list of settings, from train and validation questions: before any calibration label is read."""
        data.wait_for("train")  # training may have ended before all were labelled
        (_, train), (_, validation) = data.split("train"), data.split("validation")
        n_ref = reference_budget(train, validation)
        prediction = predict(head, data.features("validation"), torch.device("cpu"))
        # Against FixedN(N_ref) alone no setting that spends more than it is worth choosing.
        most = n_ref if self.form == "reference" else validation.grid[-1]
        return n_ref, settings_dearest_first(type(configured), prediction, validation, most)

    def _record(self, status: str, configured: OneRound, num_questions: int, said: str) -> dict[str, Any]:
        """What every export says of calibration."""
        return {
            "status": status,
            "promise": said,
            "alpha": self.alpha,
            "delta": self.delta,
            "form": self.form,
            "num_questions": num_questions,
            "needed": self.needed,
            "n_ref": None,
            "settings": [],
            "p_values": [],
            "chosen": None,
            "configured_policy": policy_record(configured),
        }

    def _announce_wait(self, data: BudgetData) -> None:
        """Training is over, and yet the run goes on: say why, and what may be done about it."""
        if not data.all_labelled("calibration"):
            Console(soft_wrap=True).print(
                f"Waiting for the labels of {len(data.dedup_keys('calibration'))} calibration questions. Nothing is "
                "lost by an interrupt: `fit --ckpt_path` with the last checkpoint goes on here, `t2 export` with the "
                "best one gives the head without a promise.",
                highlight=False,
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
    path: str, content: dict[str, Any], data: BudgetData, outcome: Outcome | None, policy: OneRound
) -> None:
    """Write a checkpoint anew, whole or not at all: policy, calibration, and metrics of the policy that is exported.

    Args:
        path: of the checkpoint.
        content: its content; the `t2` entry is replaced.
        data: for the metrics on validation.
        outcome: of calibration; None takes an earlier one out.
        policy: to be exported.
    """
    record = {name: value for name, value in content[CHECKPOINT_KEY].items() if name != "calibration"}
    if policy_record(policy) != record["policy"]:
        head = head_of_checkpoint(content, path)
        pool, labels = data.split("validation")
        prediction = predict(head, data.features("validation"), torch.device("cpu"))
        record["metrics"] = ValidationResult(type(head).__name__, policy, pool, labels, prediction).metrics
        record["policy"] = policy_record(policy)
    if outcome is not None:
        record["calibration"] = outcome.record
        record[SEEN_KEY] = sorted({*record.get(SEEN_KEY, []), *map(key_digest, outcome.keys)})
    changed = {**content, CHECKPOINT_KEY: record}
    write_atomically(Path(path), lambda scratch: torch.save(changed, scratch))


def _scalars(result: CalibrationResult, chosen: OneRound, n_ref: int, ratio: float) -> dict[str, float]:
    """The chosen setting's p-value, else the first setting's; `chosen` is -1 if none passed."""
    index = result.chosen if result.chosen is not None else -1
    return {
        "num_questions": float(result.num_questions),
        "needed": float(result.needed),
        "n_ref": float(n_ref),
        "chosen": float(index),
        "p_value": result.p_values[max(index, 0)],
        "token_ratio": ratio,
        **{name: float(value) for name, value in vars(chosen).items()},
    }
