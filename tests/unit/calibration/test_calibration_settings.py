"""Settings in order of cost, the choice among them against one made by hand, and the promise over the whole chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
import torch
from helpers.seeds import most_of, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from t2.calibration.betting import MAX_SETTINGS, CalibrationResult, Form, calibrate
from t2.calibration.settings import (
    calibrate_settings,
    promise,
    settings_dearest_first,
    why_not,
)
from t2.curves.labels import BudgetLabels, reference_budget
from t2.curves.majority import majority_accuracy
from t2.heads.base import Prediction
from t2.policies import POLICIES, FixedN, PredictedN, Utility
from t2.policies.base import OneRound, choices
from t2.policies.record import in_words

GRID = (1, 3, 5, 7, 9, 12, 16, 24, 32)
ALPHA, DELTA = 0.02, 0.1


def keys(num: int) -> list[str]:
    return [f"k{i}" for i in range(num)]


def labels_of(acc_QK: Tensor, tokens_Q: Tensor) -> BudgetLabels:
    num = len(acc_QK)
    zeros = torch.zeros(num, dtype=torch.long)
    return BudgetLabels(GRID, GRID[:7], acc_QK.double(), zeros, zeros.bool(), tokens_Q.double().log())


@cache
def world() -> tuple[BudgetLabels, Prediction]:
    """8,000 questions with exact curves of 32 samples, and a head's noisy guess of each: curve, N* and length."""
    num, generator = 8000, torch.Generator().manual_seed(5)
    right_C, correct_CA = torch.arange(33), torch.tensor([[True, False]]).expand(33, 2)
    table_CM = majority_accuracy(torch.stack([right_C, 32 - right_C], 1), correct_CA, torch.zeros(33).long())
    table_CK = table_CM[:, [n - 1 for n in GRID]]

    def noise(size: float) -> Tensor:
        return size * torch.randn(num, generator=generator, dtype=torch.float64)

    def right(logit_Q: Tensor) -> Tensor:
        return torch.binomial(torch.full_like(logit_Q, 32.0), logit_Q.sigmoid(), generator=generator).long()

    logit_Q = 1.5 + noise(1.5)
    acc_QK, guess_QK = table_CK[right(logit_Q)], table_CK[right(logit_Q + noise(0.4))]
    tokens_Q = (5 + noise(0.5)).exp()
    enough_QK = guess_QK >= guess_QK.amax(1, keepdim=True) - 0.02
    log2_n_Q = torch.tensor(GRID).double().log2()[enough_QK.int().argmax(1)]
    prediction = Prediction((tokens_Q.log() + noise(0.2)).float(), guess_QK.float(), log2_n_Q.float())
    return labels_of(acc_QK, tokens_Q), prediction


def some(rows: Tensor) -> tuple[BudgetLabels, Prediction]:
    labels, prediction = world()
    return labels.take(rows), prediction.take(rows)


def spent(policy: OneRound, labels: BudgetLabels, prediction: Prediction) -> float:
    """Mean tokens of a setting, question by question."""
    total = 0.0
    for index, log_tokens in zip(choices(policy, prediction, GRID).tolist(), labels.log_tokens_Q.tolist(), strict=True):
        total += GRID[index] * math.exp(log_tokens)
    return total / len(labels.acc_QK)


# Which policies


def test_only_policies_with_a_knob_that_decide_each_question_alone() -> None:
    can = {name for name, policy in POLICIES.items() if why_not(policy) is None}
    assert can == {"Utility", "PredictedN"}
    assert "depends on the others" in (why_not(POLICIES["BatchBudget"]) or "")
    assert why_not(FixedN) == "has no knob to calibrate"


# Settings


@pytest.mark.parametrize("policy", [Utility, PredictedN])
@pytest.mark.parametrize("most", [1, 3, 9, 32])
def test_settings_run_from_the_dearest_allowed_to_one_sample(policy: type[OneRound], most: int) -> None:
    labels, prediction = some(torch.arange(200))
    found = settings_dearest_first(policy, prediction, labels, most)
    costs = [spent(each, labels, prediction) for each in found]
    fixed = spent(FixedN(most), labels, prediction)
    assert 1 <= len(found) <= MAX_SETTINGS
    assert costs == sorted(costs, reverse=True)
    assert max(costs) <= fixed * (1 + 1e-6)
    assert costs[-1] == pytest.approx(spent(FixedN(1), labels, prediction))
    knobs = [next(iter(vars(each).values())) for each in found]
    assert knobs == sorted(knobs, reverse=policy is PredictedN)


@pytest.mark.parametrize("most", [3, 5, 9])
def test_the_first_setting_is_the_dearest_allowed(most: int) -> None:
    labels, prediction = some(torch.arange(200))
    fixed = spent(FixedN(most), labels, prediction)
    of_prices = [spent(Utility(price), labels, prediction) for price in (0.0, *(10.0**p for p in range(-3, 6)))]
    assert of_prices[0] > fixed, "without the limit a dearer setting would come first"
    first = settings_dearest_first(Utility, prediction, labels, most)[0]
    assert spent(first, labels, prediction) >= max(cost for cost in of_prices if cost <= fixed)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 7000), st.sampled_from([5, 12, 32]))
def test_settings_are_spread_over_the_range(start: int, most: int) -> None:
    """Neighbours differ by a fifteenth of the range and at most one jump of the fine sweep, 0.25 in log tokens here."""
    labels, prediction = some(torch.arange(start, start + 150))
    costs = [spent(each, labels, prediction) for each in settings_dearest_first(Utility, prediction, labels, most)]
    steps = [math.log(a / b) for a, b in pairwise(costs)]
    assert len(costs) >= 10
    assert max(steps) <= math.log(costs[0] / costs[-1]) / (MAX_SETTINGS - 1) + 0.25


def test_lengths_of_any_scale_have_settings() -> None:
    """Prices are per 1,000 tokens: answers of one token and of 30,000 both get a list."""
    labels, prediction = some(torch.arange(150))
    for shift in (-5.0, 5.0):
        scaled = replace(prediction, log_tokens_B=prediction.log_tokens_B + shift)
        moved = replace(labels, log_tokens_Q=labels.log_tokens_Q + shift)
        found = settings_dearest_first(Utility, scaled, moved, 16)
        assert len(found) >= 8
        assert (choices(found[-1], scaled, GRID) == 0).all()


def test_a_head_that_says_the_same_of_all_questions_still_has_settings() -> None:
    labels, _ = some(torch.arange(50))
    same = Prediction(torch.zeros(50), torch.full((50, len(GRID)), 0.5), torch.zeros(50))
    for policy in (Utility, PredictedN):
        assert settings_dearest_first(policy, same, labels, 1)


def test_reference_budget_is_that_of_the_splits_together() -> None:
    """Alone, one split needs 1 sample and the other 3; together the rise is worth it."""
    flat = torch.full((30, len(GRID)), 0.9)
    rising = torch.tensor([0.5] + [0.6] * 8).expand(10, -1)
    one, two = labels_of(flat, torch.ones(30)), labels_of(rising, torch.ones(10))
    assert reference_budget(one) == 1
    assert reference_budget(one, two) == reference_budget(two) == 3


# The choice


def calibrated(
    listed: Sequence[OneRound],
    prediction: Prediction,
    labels: BudgetLabels,
    dedup_keys: Sequence[str],
    n_ref: int,
    form: Form = "reference",
) -> CalibrationResult:
    index_QS = torch.stack([choices(each, prediction, labels.grid) for each in listed], 1)
    acc_QS = labels.served_QK.gather(1, index_QS)
    return calibrate_settings(acc_QS, labels, dedup_keys, n_ref, ALPHA, DELTA, form)


@pytest.mark.parametrize("policy", [Utility, PredictedN])
def test_the_choice_is_calibrate_on_accuracies_gathered_by_hand(policy: type[OneRound]) -> None:
    labels, prediction = some(torch.arange(400))
    other_labels, other_prediction = some(torch.arange(400, 600))
    listed = settings_dearest_first(policy, other_prediction, other_labels, 16)
    by_hand = torch.tensor(
        [[labels.acc_QK[q, k] for q, k in enumerate(choices(each, prediction, GRID).tolist())] for each in listed],
        dtype=torch.float64,
    ).T
    references: dict[Form, Tensor] = {"reference": labels.acc_QK[:, GRID.index(16)], "every_fixed": labels.acc_QK}
    for form, reference in references.items():
        found = calibrated(listed, prediction, labels, keys(400), 16, form)
        assert found == calibrate(by_hand, reference, keys(400), ALPHA, DELTA)
        assert found.form == form


def test_token_counts_of_calibration_questions_change_no_decision() -> None:
    labels, prediction = some(torch.arange(300))
    other_labels, other_prediction = some(torch.arange(300, 450))
    listed = settings_dearest_first(Utility, other_prediction, other_labels, 16)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    shuffled = replace(labels, log_tokens_Q=labels.log_tokens_Q[order])
    results = [calibrated(listed, prediction, each, keys(300), 16) for each in (labels, shuffled)]
    assert results[0] == results[1]


def test_a_head_that_knows_saves_and_one_that_is_wrong_does_not() -> None:
    labels, prediction = some(torch.arange(600))
    knows = replace(prediction, accuracy_BK=labels.acc_QK)
    listed = settings_dearest_first(Utility, knows, labels, 16)
    result = calibrated(listed, knows, labels, keys(600), 16)
    assert result.chosen is not None
    assert spent(listed[result.chosen], labels, knows) < 0.5 * spent(FixedN(16), labels, knows)
    wrong = replace(prediction, accuracy_BK=-labels.acc_QK)
    listed = settings_dearest_first(Utility, wrong, labels, 16)
    assert calibrated(listed, wrong, labels, keys(600), 16).chosen is None


@pytest.mark.statistical
def test_the_promise_holds_over_the_whole_chain() -> None:
    """Frozen on 200 validation questions; 300 calibration sets of 250. A violation: true loss of alpha or more."""
    repeats = 300
    everything, all_predictions = world()
    validation = some(torch.arange(200))
    n_ref = reference_budget(validation[0])
    listed = settings_dearest_first(Utility, validation[1], validation[0], n_ref)
    chosen_QS = torch.stack([choices(each, all_predictions, GRID) for each in listed], 1)
    loss_QS = everything.acc_QK[:, GRID.index(n_ref)][:, None] - everything.acc_QK.gather(1, chosen_QS)
    loss_S, generator = loss_QS.mean(0), torch.Generator().manual_seed(shifted(6))
    assert bool((loss_S >= ALPHA).any())
    violations = passed = 0
    for _ in range(repeats):
        labels, prediction = some(torch.randint(len(loss_QS), (250,), generator=generator))
        result = calibrated(listed, prediction, labels, keys(250), n_ref)
        violations += result.chosen is not None and float(loss_S[result.chosen]) >= ALPHA
        passed += result.chosen is not None
    assert violations <= most_of(repeats, DELTA)
    assert passed >= repeats / 2, "the promise is not kept by never choosing"


# Words


def test_the_promise_in_words() -> None:
    lossless, lossy = torch.ones(200, 2), torch.zeros(200, 2)
    listed = (Utility(0.5), Utility(4.7))
    kept = promise(calibrate(lossless, torch.ones(200), keys(200)), listed, 16)
    assert kept == (
        "Utility(price=4.7) loses less than 2 points of accuracy against FixedN(n=16), on average over questions of "
        "the mix that it was calibrated on (200 questions); this promise fails with probability at most 0.1."
    )
    strong = promise(calibrate(lossless, torch.ones(200, 3), keys(200)), listed, 16)
    assert "against FixedN at every N of the grid (N_ref is 16)" in strong
    none = promise(calibrate(lossy, torch.ones(200), keys(200)), listed, 16)
    assert none.startswith("No setting of Utility passed calibration on 200 questions (loss below 2 points")
    assert none.endswith("so the policy is FixedN(n=16).")
    few = promise(calibrate(lossy[:120], torch.ones(120), keys(120)), listed, 16)
    assert few.endswith("With fewer than 135 only a setting that gains accuracy can pass.")
    assert in_words(PredictedN(-0.5)) == "PredictedN(shift=-0.5)"
