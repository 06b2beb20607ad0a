"""Calibration with a promise: the cheapest setting whose accuracy is, with confidence, within `alpha` of a reference.

For setting j, D is the accuracy that a question loses against the reference, in [-1, 1], and H_j says E D >= alpha.
H_j is rejected by a betting martingale (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
betting", JRSS B 2024, arXiv 2010.09686): with X = (D + 1) / 2 and m = (1 + alpha) / 2 the wealth

    K_t = prod_{i <= t} (1 + lambda_i (m - X_i)),    lambda_i = min(sqrt(2 ln(1/delta) / (n var_{i-1})), 0.9 / (1 - m))

is a supermartingale under H_j, because lambda_i >= 0 knows the questions before i alone. By Ville's inequality
P(max_t K_t >= 1/p) <= p, so p_j = min(1, 1 / max_t K_t) is a p-value at any sample size, without an approximation.
m - X_i is at least m - 1, so the cap leaves each factor at 0.1 or more. Settings are tested safest first, each at level
delta, until one fails (fixed-sequence testing; Angelopoulos et al., "Learn then Test", arXiv 2110.01052). Thus
P(the chosen setting has E D >= alpha) <= delta.

What must hold: head, settings, their order and N_ref were frozen before calibration labels were read; calibration
questions are independent draws from the mix that is promised for; a setting decides each question alone (BatchBudget
does not). A setting may be a stopping rule: its accuracy on a question is then a mean over orders of its samples, and D
is still one number in [-1, 1] that depends on that question alone, with the mean that the rule has. Questions that
share a dedup key are one observation, the mean of their D: the promise weighs keys equally. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, log1p
from typing import Literal

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.hashing import unit_interval

ALPHA = 0.02
"""Accuracy that the chosen setting may lose against the reference."""
DELTA = 0.1
"""Probability with which the promise may fail."""
MAX_SETTINGS = 15
"""Settings in the list: all are chosen before calibration, so a long list only looks like a search."""
_LARGEST_LOSS = 0.9
"""Share of the wealth that one question can cost at most."""
_SMALLEST_ALPHA = 1e-12
"""Near 1e-16 the bets' (1 + alpha) / 2 rounds to 1/2: the test would be one of no loss at all."""
_ROUNDING = 1e-9
"""Accuracies are sums of floats and may leave [0, 1] by rounding."""

Form = Literal["reference", "every_fixed"]


@dataclass(frozen=True)
class CalibrationResult:
    """Which setting passed, and everything the promise depends on."""

    chosen: int | None
    """index of the last setting of the list that passed; None: none did, use FixedN(N_ref)"""
    p_values: tuple[float, ...]
    """of each setting, in the order of the list"""
    alpha: float
    """accuracy (a share) that may be lost"""
    delta: float
    """probability with which the promise may fail"""
    num_questions: int
    """independent observations: calibration questions, those with one dedup key counted once"""
    needed: int
    """questions without which no setting may pass, see `questions_needed`"""
    needed_lossless: int
    """questions from which a setting passes that never loses, see `questions_needed_lossless`"""
    form: Form
    """"reference": within alpha of FixedN(N_ref); "every_fixed": within alpha of FixedN(N) for every N in the grid"""


def questions_needed(alpha: float = ALPHA, delta: float = DELTA) -> int:
    """Fewest questions that can carry the promise: ln(1/delta) / -ln(1 - alpha), rounded up; 114 by default.

    If a loss of 1 has probability alpha, n questions show none with probability (1 - alpha)^n. With fewer questions
    that exceeds delta, so any test that lets a setting without a visible loss pass breaks its promise there.
    """
    _check_levels(alpha, delta)
    return max(1, ceil(log(delta) / log1p(-alpha) - _ROUNDING))


def questions_needed_lossless(alpha: float = ALPHA, delta: float = DELTA) -> int:
    """Fewest questions at which this test passes a setting with D = 0 on all: somewhat more than `questions_needed`.

    With fewer, only a setting that gains on some questions can pass.
    """
    low = questions_needed(alpha, delta) - 1  # fails: a valid test cannot pass
    high = 2 * low + 2
    while not _passes_lossless(high, alpha, delta):
        low, high = high, 2 * high
    return bisect_left(range(high), True, lo=low + 1, key=lambda num: _passes_lossless(num, alpha, delta))


def hash_order(dedup_keys: Sequence[str]) -> Tensor:
    """Place of each question's key among the distinct keys in hash order, (Q,): an order that no label can sway."""
    ordered = sorted(set(dedup_keys), key=lambda key: (unit_interval("t2-calibration", key), key))
    place = {key: index for index, key in enumerate(ordered)}
    return torch.tensor([place[key] for key in dedup_keys], dtype=torch.long)


def observations(values_QS: Tensor, dedup_keys: Sequence[str]) -> Tensor:
    """Mean over the questions of each key, keys in hash order; (keys, ...) float64, any trailing shape.

    Raises:
        T2Error: not one key per question.
    """
    if len(dedup_keys) != len(values_QS):
        raise T2Error(f"Expected one dedup key for each of {len(values_QS)} questions, got {len(dedup_keys)}.")
    place_Q = hash_order(dedup_keys)
    counts = torch.bincount(place_Q).double()
    sums = values_QS.new_zeros((len(counts), *values_QS.shape[1:]), dtype=torch.float64)
    sums.index_add_(0, place_Q, values_QS.double())
    return sums / counts.view(-1, *[1] * (values_QS.dim() - 1))


def betting_p_values(differences_QS: Tensor, alpha: float = ALPHA, delta: float = DELTA) -> Tensor:
    """p-values of H: E D >= alpha, one for each column, float64.

    Valid whatever `delta` is: it only tunes the bets towards rejection at that level.

    Args:
        differences_QS: D of independent questions in an order fixed beforehand; (Q,), (Q, S) or (Q, S, K).
        alpha: accuracy that may be lost.
        delta: level that the bets aim at.

    Returns:
        The trailing shape: (), (S,) or (S, K).

    Raises:
        T2Error: no question, NaN, or a difference outside [-1, 1].
    """
    _check_levels(alpha, delta)
    if not len(differences_QS):
        raise T2Error("Expected at least one calibration question, got none.")
    if not bool((differences_QS.abs() <= 1 + _ROUNDING).all()):  # NaN fails too
        raise T2Error("Expected differences of accuracies in [-1, 1], got NaN or a larger one. Check the curves.")
    # Bet against "the mean of X is at least m" question by question. Each factor 1 + bet (m - X) has mean at most 1 if
    # that is true, so wealth that grows is evidence against it: wealth 20 at any time is p = 1/20. For this the bet
    # must be settled before its question is looked at, hence the shift by one place:
    #
    #     question        1      2        3
    #     bet made from   start  X_1      X_1 X_2
    x_QS = (differences_QS.double().clamp(-1, 1) + 1) / 2
    m, n = (1 + alpha) / 2, len(x_QS)
    seen_QS = torch.arange(1, n + 1, dtype=torch.float64).view(-1, *[1] * (x_QS.dim() - 1))
    # One pseudo-observation: mean 1/2, variance 1/4, the largest that a number in [0, 1] can have.
    mean_QS = (0.5 + x_QS.cumsum(0)) / (seen_QS + 1)
    variance_QS = (0.25 + (x_QS - mean_QS).square().cumsum(0)) / (seen_QS + 1)
    before_QS = torch.cat([torch.full_like(x_QS[:1], 0.25), variance_QS[:-1]])
    bet_QS = (2 * log(1 / delta) / (n * before_QS)).sqrt().clamp(max=_LARGEST_LOSS / (1 - m))
    # Logarithms, since 1,000 factors overflow. The largest wealth on the way counts, not the last (Ville).
    log_wealth_QS = torch.log1p(bet_QS * (m - x_QS)).cumsum(0)
    return (-log_wealth_QS.amax(0).clamp(min=0)).exp()


def last_passed(p_values_S: Tensor, delta: float = DELTA) -> int | None:
    """Fixed-sequence testing: the last setting before the first with p > delta; None if the first fails."""
    passed = int((p_values_S <= delta).int().cumprod(0).sum())
    return passed - 1 if passed else None


def calibrate(
    acc_QS: Tensor,
    reference: Tensor,
    dedup_keys: Sequence[str],
    alpha: float = ALPHA,
    delta: float = DELTA,
) -> CalibrationResult:
    """Choose the last setting that passes, safest first.

    Args:
        acc_QS: accuracy of each calibration question under each setting, A_q(setting) or a replay's `correct`; at most
            15 settings, safest (dearest) first, frozen before these labels were read.
        reference: A_q(N_ref), shape (Q,): within alpha of FixedN(N_ref). Or the curve A_q(N) on the grid, shape (Q, K):
            the stronger form, within alpha of FixedN(N) for every N in the grid, which needs no N_ref.
        dedup_keys: of each question; decide the order, and which questions are one observation.
        alpha: accuracy that may be lost, in (0, 1).
        delta: probability with which the promise may fail, in (0, 1).

    Raises:
        T2Error: shapes that do not fit, accuracies outside [0, 1], too many settings or too few questions.
    """
    _check_levels(alpha, delta)
    _check_accuracies(acc_QS, reference)
    if not 1 <= acc_QS.shape[1] <= MAX_SETTINGS:
        raise T2Error(f"Expected 1 to {MAX_SETTINGS} settings, safest first, got {acc_QS.shape[1]}. Shorten the list.")
    every_fixed = reference.dim() == 2
    reference_QK = reference if every_fixed else reference[:, None]
    differences_QSK = observations(reference_QK.double()[:, None, :] - acc_QS.double()[:, :, None], dedup_keys)
    num_questions, needed = len(differences_QSK), questions_needed(alpha, delta)
    if num_questions < needed:
        raise T2Error(
            f"Expected at least {needed} calibration questions with keys of their own for alpha {alpha:g} and delta "
            f"{delta:g}, got {num_questions}. Label more, or raise alpha or delta."
        )
    # E D >= alpha for some N is a union of hypotheses: the largest p-value is one for it.
    p_S = betting_p_values(differences_QSK, alpha, delta).amax(1)
    return CalibrationResult(
        chosen=last_passed(p_S, delta),
        p_values=tuple(p_S.tolist()),
        alpha=alpha,
        delta=delta,
        num_questions=num_questions,
        needed=needed,
        needed_lossless=questions_needed_lossless(alpha, delta),
        form="every_fixed" if every_fixed else "reference",
    )


def _passes_lossless(num_questions: int, alpha: float, delta: float) -> bool:
    return bool(betting_p_values(torch.zeros(num_questions), alpha, delta) <= delta)


def _check_levels(alpha: float, delta: float) -> None:
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:  # NaN fails too
            raise T2Error(f"Expected `{name}` between 0 and 1, both excluded, got {value}.")
    if alpha < _SMALLEST_ALPHA:
        raise T2Error(
            f"Expected `alpha` of at least {_SMALLEST_ALPHA:g}, got {alpha:g}: no number of questions shows so small a "
            f"loss. Raise it (default {ALPHA:g})."
        )


def _check_accuracies(acc_QS: Tensor, reference: Tensor) -> None:
    if acc_QS.dim() != 2 or reference.dim() not in (1, 2) or len(acc_QS) != len(reference):
        raise T2Error(
            "Expected accuracies (questions, settings) and a reference (questions,) or (questions, budgets), got "
            f"shapes {tuple(acc_QS.shape)} and {tuple(reference.shape)}."
        )
    for name, values in (("settings", acc_QS), ("reference", reference)):
        if not bool(((values >= -_ROUNDING) & (values <= 1 + _ROUNDING)).all()):  # NaN fails too
            raise T2Error(
                f"Expected accuracies in [0, 1] of the {name}, got NaN or others. Calibrate on complete questions only."
            )
