"""Calibration of a policy: which of its settings, dearest first, keeps the promise of `calibration`. Pure.

The list of settings and N_ref come from questions that are not calibration questions, and are settled before the labels
of those are read. A one-round setting decides by predictions alone, so tokens of calibration questions change no
choice; a stopping rule's accuracy on a question is its mean over orders, see `betting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import torch
from torch import Tensor

from t2.calibration.betting import MAX_SETTINGS, CalibrationResult, Form, calibrate
from t2.curves.labels import BudgetLabels
from t2.heads.base import Prediction
from t2.policies.base import OneRound, choices
from t2.policies.batch_budget import BatchBudget
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.record import Policy, in_words, name_of
from t2.policies.stoppers import Stopper

_PRICES = tuple(float(f"{10 ** (step / 24):.1e}") for step in range(-72, 144))
"""24 a decade, two digits each, from 0.001 to 910,000 points per 1,000 tokens: for answers of any length."""
_SHIFT_STEP = 0.25
"""Of PredictedN's shift, in log2 samples."""
_ROUNDING = 1e-9
"""Relative: mean tokens of equal budgets may differ by rounding."""


def why_not(policy: type[OneRound] | type[Stopper]) -> str | None:
    """Why a policy cannot be calibrated, as the end of a sentence that starts with its name; None: it can be."""
    if issubclass(policy, Stopper):
        return None
    if issubclass(policy, BatchBudget):
        return (
            "shares one total out over a batch, so that a question's budget depends on the others, and the promise is "
            "about settings that decide each question alone"
        )
    if policy not in (Utility, PredictedN):
        return "has no knob to calibrate"
    return None


def settings_dearest_first(
    policy: type[OneRound], prediction: Prediction, labels: BudgetLabels, most: int
) -> tuple[OneRound, ...]:
    """At most 15 settings of a policy's knob, evenly spaced on the log token axis.

    Args:
        policy: `Utility` (prices, low to high) or `PredictedN` (shifts, high to low).
        prediction: of questions that the head did not learn from and that are not calibration questions.
        labels: their grid and mean tokens.
        most: samples; settings that spend more tokens than FixedN(most) are left out: with FixedN itself as the rival
            they are never worth choosing.
    """
    budgets, tokens_Q = torch.tensor(labels.grid, dtype=torch.float64), labels.log_tokens_Q.double().exp()
    swept = _sweep(policy, labels.grid)
    spent_P = torch.stack([(budgets[choices(each, prediction, labels.grid)] * tokens_Q).mean() for each in swept])
    dearer_P = spent_P > most * tokens_Q.mean() * (1 + _ROUNDING)
    first = min(int(dearer_P.sum()), len(swept) - 1)  # spending never rises along the sweep
    log_P = spent_P[first:].log()
    targets = torch.linspace(float(log_P[0]), float(log_P[-1]), MAX_SETTINGS, dtype=torch.float64)
    # A set: where the sweep jumps, several targets have the same last setting.
    picked = {int((log_P >= target - _ROUNDING).sum()) - 1 for target in targets}  # the last that spends as much
    return tuple(swept[first + index] for index in sorted(picked))


def _sweep(policy: type[OneRound], grid: tuple[int, ...]) -> list[OneRound]:
    """The whole range of the knob in small steps, dearest first."""
    if policy is PredictedN:
        steps = ceil(log2(max(grid[-1], 2)) / _SHIFT_STEP)
        return [PredictedN(step * _SHIFT_STEP) for step in range(steps, -steps - 1, -1)]
    return [Utility(price) for price in (0.0, *_PRICES)]


def calibrate_settings(
    acc_QS: Tensor,
    labels: BudgetLabels,
    dedup_keys: Sequence[str],
    n_ref: int,
    alpha: float,
    delta: float,
    form: Form,
) -> CalibrationResult:
    """Choose the last setting that passes, safest first; all are of calibration questions.

    The settings behind `acc_QS` and `n_ref` (samples) must be frozen; the rest and errors as in `betting.calibrate`.
    """
    every_fixed = form == "every_fixed"
    reference = labels.served_QK if every_fixed else labels.served_QK[:, labels.grid.index(n_ref)]
    return calibrate(acc_QS, reference, dedup_keys, alpha, delta)


def promise(result: CalibrationResult, settings: Sequence[Policy], n_ref: int, kept: Policy | None = None) -> str:
    """What may be said of the choice, for terminal and model card; `kept` is exported although no setting passed."""
    points, reference = f"{100 * result.alpha:g} points of accuracy", in_words(FixedN(n_ref))
    if result.chosen is None:
        few = result.num_questions < result.needed_lossless
        hint = f" With fewer than {result.needed_lossless} only a setting that gains accuracy can pass." if few else ""
        so = f"so the policy is {reference}"
        if kept is not None:
            so = f"so no accuracy is promised; {in_words(kept)} is what held-out questions recommend"
        return (
            f"No setting of {name_of(settings[0])} passed calibration on {result.num_questions} questions (loss "
            f"below {points}, wrong with probability at most {result.delta:g}), {so}.{hint}"
        )
    rival = reference if result.form == "reference" else f"FixedN at every N of the grid (N_ref is {n_ref})"
    return (
        f"{in_words(settings[result.chosen])} loses less than {points} against {rival}, on average over questions of "
        f"the mix that it was calibrated on ({result.num_questions} questions); this promise fails with probability at "
        f"most {result.delta:g}."
    )
