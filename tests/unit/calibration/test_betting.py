"""The promise kept by simulation, the martingale against a plain loop, and a mutant that must break the promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from helpers.graded_pools import graded_pool
from helpers.seeds import most_of, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from t2.calibration.betting import (
    betting_p_values,
    calibrate,
    hash_order,
    last_passed,
    observations,
    questions_needed,
    questions_needed_lossless,
)
from t2.curves.labels import budget_labels
from t2.curves.majority import majority_accuracy
from t2.errors import T2Error
from t2.hashing import unit_interval
from t2.heads.answer_atoms import answer_atoms
from t2.policies import Orders, TableRule
from t2.policies.then_stop import Prices, Priors, no_head

ALPHA, DELTA = 0.02, 0.1
REPEATS, QUESTIONS = 2000, 300
BOUNDARY_REPEATS = 8000
ALLOWED, BOUNDARY_ALLOWED = (most_of(repeats, DELTA) for repeats in (REPEATS, BOUNDARY_REPEATS))
"""Violations of a promise that is kept: more of them come about once in 10 million sets of repeats."""
GRID = (1, 3, 5, 7, 9, 12, 16, 24, 32)


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(shifted(number))


def keys(num: int) -> list[str]:
    return [f"k{i}" for i in range(num)]


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# The martingale


def plain_p_value(differences: list[float], alpha: float, delta: float) -> float:
    """The formula of the design, one question at a time, wealth as a plain product."""
    m, n = (1 + alpha) / 2, len(differences)
    total, squares, variance, wealth, largest = 0.5, 0.25, 0.25, 1.0, 1.0
    for t, difference in enumerate(differences, start=1):
        x = (difference + 1) / 2
        bet = min(math.sqrt(2 * math.log(1 / delta) / (n * variance)), 0.9 / (1 - m))
        wealth *= 1 + bet * (m - x)
        largest = max(largest, wealth)
        total += x
        squares += (x - total / (t + 1)) ** 2
        variance = squares / (t + 1)
    return min(1.0, 1 / largest)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=60),
    st.floats(0.001, 0.9),
    st.floats(0.001, 0.9),
)
def test_p_value_is_the_formula(differences: list[float], alpha: float, delta: float) -> None:
    found = betting_p_values(doubles(*differences), alpha, delta)
    assert float(found) == pytest.approx(plain_p_value(differences, alpha, delta), rel=1e-9)


def test_columns_are_tested_each_alone() -> None:
    differences_QSK = torch.rand(200, 4, 3, generator=seeded(0)).double() * 0.4 - 0.3
    found = betting_p_values(differences_QSK)
    assert found.shape == (4, 3)
    for s in range(4):
        for k in range(3):
            plain = plain_p_value(differences_QSK[:, s, k].tolist(), ALPHA, DELTA)
            assert float(found[s, k]) == pytest.approx(plain, rel=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 300), st.floats(0.01, 0.5), st.floats(0.01, 0.4))
def test_allowing_more_or_asking_more_never_raises_a_lossless_p_value(num: int, alpha: float, more: float) -> None:
    zeros = torch.zeros(num + 50, dtype=torch.float64)
    few = float(betting_p_values(zeros[:num], alpha))
    assert float(betting_p_values(zeros[:num], alpha + more)) < few < 1
    assert float(betting_p_values(zeros, alpha)) < few


def test_wealth_survives_the_worst_question() -> None:
    """The cap leaves a tenth of the wealth at least: a total loss after long luck is no ruin and no NaN."""
    differences = torch.full((5000,), -1.0, dtype=torch.float64)
    differences[2500:] = 1.0
    assert 0 <= float(betting_p_values(differences)) < 1e-300  # the maximum came before the losses
    assert float(betting_p_values(differences.flip(0))) == 1


# The promise. A violation: a setting is chosen whose true E D is alpha or more.


def exactly_alpha() -> Tensor:
    """(Q, R): losses and gains, E D = 0.11 - 0.09 = alpha."""
    return (
        torch.multinomial(doubles(0.09, 0.80, 0.11), QUESTIONS * BOUNDARY_REPEATS, True, generator=seeded(1))
        .sub(1.0)
        .view(QUESTIONS, BOUNDARY_REPEATS)
    )


def rare_loss() -> Tensor:
    """(Q, R): D = 1 with probability alpha, else 0."""
    return (torch.rand(QUESTIONS, BOUNDARY_REPEATS, generator=seeded(2), dtype=torch.float64) < ALPHA).double()


@cache
def population() -> tuple[Tensor, Tensor]:
    """20,000 questions: exact curves of pools of 32 samples, and accuracy under 15 settings, safest first.

    A setting is `Utility` at a price on a noisy guess of the curve, as a head would give one.
    """
    num, generator = 20_000, torch.Generator().manual_seed(3)  # one world, whatever is drawn from it
    right_C, answers = torch.arange(33), torch.tensor([[True, False]]).expand(33, 2)
    table_CM = majority_accuracy(torch.stack([right_C, 32 - right_C], 1), answers, torch.zeros(33).long())
    table_CK = table_CM[:, [n - 1 for n in GRID]]

    def counts(logit_Q: Tensor) -> Tensor:
        """Correct samples of 32."""
        return torch.binomial(torch.full_like(logit_Q, 32.0), logit_Q.sigmoid(), generator=generator).long()

    logit_Q = 2 + 1.5 * torch.randn(num, generator=generator, dtype=torch.float64)
    acc_QK = table_CK[counts(logit_Q)]
    guess_QK = table_CK[counts(logit_Q + 0.4 * torch.randn(num, generator=generator, dtype=torch.float64))]
    prices = torch.logspace(-4, -1.7, 15).tolist()
    chosen_QS = torch.stack([(guess_QK - price * torch.tensor(GRID)).argmax(1) for price in prices], 1)
    return acc_QK, acc_QK.gather(1, chosen_QS)


@cache
def planned_population() -> tuple[Tensor, Tensor]:
    """The same of 15 planned rules, cheap rounds and dear tokens last: a question's accuracy is a mean over orders."""
    num, generator = 6_000, torch.Generator().manual_seed(5)
    logit_Q = 1 + 1.5 * torch.randn(num, generator=generator, dtype=torch.float64)
    right_QM = torch.rand(num, 32, generator=generator, dtype=torch.float64) < logit_Q.sigmoid()[:, None]
    wrong_QM = torch.randint(1, 4, (num, 32), generator=generator)
    pool = graded_pool(torch.where(right_QM, 0, wrong_QM).tolist())
    priors = Priors(no_head(answer_atoms(pool.take(range(400))), 32), torch.tensor([50.0]))
    rest = pool.take(range(400, num))
    orders = Orders.of(rest, 4, seed=6)
    prices = [Prices(price, 0.5) for price in torch.logspace(-1, 2, 15).tolist()]
    replays = [TableRule(table).replay(orders) for table in priors.tables(prices)]
    assert max(float(replay.rounds.mean()) for replay in replays) > 1.2
    acc_QK = budget_labels(rest, GRID, 0.02, first="sampled").acc_QK
    return acc_QK, torch.stack([replay.correct for replay in replays], 1)


def realistic_draws(num: int = 20_000) -> Tensor:
    """Questions of each repeat, (Q, R)."""
    return torch.randint(num, (QUESTIONS, REPEATS), generator=seeded(4))


@pytest.mark.statistical
@pytest.mark.parametrize("world", [exactly_alpha, rare_loss])
def test_promise_at_the_boundary(world) -> None:
    """With E D = alpha every rejection is a violation."""
    assert int((betting_p_values(world()) <= DELTA).sum()) <= BOUNDARY_ALLOWED


@pytest.mark.statistical
@pytest.mark.parametrize("world", [population, planned_population])
def test_promise_on_curves(world: Callable[[], tuple[Tensor, Tensor]]) -> None:
    """Of one-round settings and of stopping rules, whose loss is a mean over orders: one bounded number too."""
    acc_QK, acc_QS = world()
    differences_QS = acc_QK[:, -1:] - acc_QS
    true_loss_S = differences_QS.mean(0)
    assert int((true_loss_S < ALPHA).sum()) >= 3, "some settings keep the promise"
    assert int((true_loss_S >= ALPHA).sum()) >= 2, "some break it"
    draws = realistic_draws(len(acc_QK)).split(250, 1)
    p_RS = torch.cat([betting_p_values(differences_QS[rows]) for rows in draws])
    chosen = [last_passed(p_S) for p_S in p_RS]
    violations = sum(c is not None and float(true_loss_S[c]) >= ALPHA for c in chosen)
    assert 0 < violations <= ALLOWED
    cheap = sum(c is not None and c >= 2 for c in chosen)
    assert cheap >= REPEATS / 2, "the promise is not kept by never choosing"


@pytest.mark.statistical
def test_stronger_promise_on_curves() -> None:
    """A violation: the chosen setting loses alpha or more against the best FixedN, true means of both."""
    acc_QK, acc_QS = population()
    acc_QS = acc_QS[:, ::3]  # five settings: each has a test for every budget
    true_loss_S = (acc_QK[:, None, :] - acc_QS[:, :, None]).mean(0).amax(1)
    violations = found = 0
    for rows in realistic_draws().split(100, 1):
        differences = acc_QK[rows][:, :, None, :] - acc_QS[rows][:, :, :, None]  # (Q, R, S, K)
        chosen = [last_passed(p_S) for p_S in betting_p_values(differences).amax(2)]
        violations += sum(c is not None and float(true_loss_S[c]) >= ALPHA for c in chosen)
        found += sum(c is not None for c in chosen)
    assert violations <= ALLOWED
    assert found >= REPEATS / 2


@pytest.mark.statistical
@pytest.mark.parametrize("world", [exactly_alpha, rare_loss])
def test_stronger_promise_at_the_boundary(world) -> None:
    """Nothing is lost against two budgets, alpha on average against the third: every rejection is a violation."""
    nothing_QR = torch.zeros(QUESTIONS, REPEATS, dtype=torch.float64)
    p_RK = betting_p_values(torch.stack([nothing_QR, world()[:, :REPEATS], nothing_QR - 0.01], 2))
    assert int((p_RK.amax(1) <= DELTA).sum()) <= ALLOWED
    assert int((p_RK.amin(1) <= DELTA).sum()) > ALLOWED, "one budget that loses nothing proves nothing"


@pytest.mark.statistical
def test_a_normal_approximation_breaks_the_promise() -> None:
    """The mutant: mean + 1.2816 sd / sqrt(n) < alpha. Too few rare losses are seen, and their variance with them.

    It rejects where at most 3 of 300 questions lose, which has probability 0.148: of 8,000 repeats the expected number
    is 7 standard errors above what is allowed.
    """
    losses_QR = rare_loss()
    upper_R = losses_QR.mean(0) + 1.2816 * losses_QR.std(0) / math.sqrt(QUESTIONS)
    violations = int((upper_R < ALPHA).sum())
    assert violations > BOUNDARY_ALLOWED
    assert int((betting_p_values(losses_QR) <= DELTA).sum()) <= BOUNDARY_ALLOWED, "where the martingale keeps it"


# Calibration


def test_power() -> None:
    """All settings but the last lose nothing: the last lossless one, the cheapest, is chosen from 135 questions on."""
    enough = questions_needed_lossless()
    reference = torch.rand(enough, generator=seeded(0)).double()
    acc_QS = reference[:, None].expand(-1, 5).clone()
    acc_QS[:, 4] -= 0.1 * reference
    result = calibrate(acc_QS, reference, keys(enough))
    assert result.chosen == 3
    assert result.p_values[4] > DELTA >= max(result.p_values[:4])
    assert (result.num_questions, result.needed, result.needed_lossless) == (enough, 114, enough)


def test_gains_pass_earlier() -> None:
    """A setting that beats the reference on some questions passes with fewer questions than a lossless one."""
    gains = -0.5 * (torch.rand(114, 1, generator=seeded(0)) < 0.3).double()
    assert calibrate(-gains, torch.zeros(114), keys(114)).chosen == 0
    assert calibrate(torch.zeros(114, 1), torch.zeros(114), keys(114)).chosen is None


@pytest.mark.parametrize(
    ("p_values", "chosen"),
    [
        ([0.01, 0.1, 0.05], 2),
        ([0.01, 0.2, 0.01], 0),
        ([0.2, 0.01, 0.01], None),
        ([0.05, 0.05, 1.0], 1),
        ([0.1], 0),
    ],
)
def test_fixed_sequence_stops_at_the_first_failure(p_values: list[float], chosen: int | None) -> None:
    assert last_passed(doubles(*p_values), 0.1) == chosen


def test_every_fixed_takes_the_hardest_rival() -> None:
    num = 400
    acc_QK = torch.rand(num, 4, generator=seeded(0)).double() * 0.1 + doubles(0.5, 0.6, 0.7, 0.65)
    acc_QS = torch.stack([acc_QK[:, 2], acc_QK[:, 3]], 1)
    strong = calibrate(acc_QS, acc_QK, keys(num))
    each = [calibrate(acc_QS, acc_QK[:, k], keys(num)).p_values for k in range(4)]
    assert strong.p_values == pytest.approx([max(p[s] for p in each) for s in range(2)])
    assert (strong.chosen, strong.form) == (0, "every_fixed")
    weak = calibrate(acc_QS, acc_QK[:, 1], keys(num))
    assert (weak.chosen, weak.form) == (1, "reference")


def test_order_of_rows_decides_nothing() -> None:
    num = 200
    reference, names = torch.rand(num, generator=seeded(0)), keys(num)
    acc_QS = torch.rand(num, 3, generator=seeded(1))
    order = torch.randperm(num, generator=seeded(2))
    again = calibrate(acc_QS[order], reference[order], [names[i] for i in order])
    assert again == calibrate(acc_QS, reference, names)


def test_hash_order_is_that_of_the_hash() -> None:
    names = ["3+4", "5*6", "3+4", "7-1", "9", "8"]
    place = hash_order(names).tolist()
    assert place[0] == place[2]
    ranked = sorted(set(names), key=lambda key: unit_interval("t2-calibration", key))
    assert [ranked[p] for p in place] == names


def test_a_key_is_one_observation() -> None:
    """Copies of questions would fake certainty: ten copies of 20 questions are 20 observations, not 200."""
    values = torch.rand(20, 3, generator=seeded(0)).double()
    copied = observations(values.repeat(10, 1), keys(20) * 10)
    torch.testing.assert_close(copied, observations(values, keys(20)))
    assert observations(doubles(0.0, 1.0, 0.5), ["a", "a", "b"]).sort().values.tolist() == [0.5, 0.5]
    with pytest.raises(T2Error, match=r"with keys of their own .* got 20"):
        calibrate(values.repeat(10, 1), values.repeat(10, 1)[:, 0], keys(20) * 10)


# How many questions


@pytest.mark.parametrize(("alpha", "delta", "needed"), [(0.02, 0.1, 114), (0.01, 0.1, 230), (0.5, 0.25, 2)])
def test_questions_needed(alpha: float, delta: float, needed: int) -> None:
    assert questions_needed(alpha, delta) == needed


@settings(deadline=None, max_examples=200)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_questions_needed_is_the_first_number_that_shows_a_rare_loss(alpha: float, delta: float) -> None:
    needed = questions_needed(alpha, delta)
    assert (1 - alpha) ** needed <= delta * (1 + 1e-6)
    assert needed == 1 or (1 - alpha) ** (needed - 1) > delta * (1 - 1e-6)


@pytest.mark.parametrize(("alpha", "delta"), [(0.02, 0.1), (0.05, 0.05), (0.3, 0.2), (0.9, 0.9)])
def test_lossless_settings_pass_from_this_number_on(alpha: float, delta: float) -> None:
    passes = [plain_p_value([0.0] * n, alpha, delta) <= delta for n in range(1, 400)]
    first = passes.index(True) + 1
    assert all(passes[first - 1 :])
    assert questions_needed_lossless(alpha, delta) == first >= questions_needed(alpha, delta)


# Results and mistakes


def test_results_say_what_was_tested() -> None:
    result = calibrate(torch.ones(200, 2), torch.ones(200), keys(200))
    assert result.chosen == 1
    assert len(result.p_values) == 2
    assert (result.alpha, result.delta, result.form) == (0.02, 0.1, "reference")
    assert (result.num_questions, result.needed) == (200, 114)
    assert calibrate(torch.zeros(200, 1), torch.ones(200), keys(200)).chosen is None


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, math.nan])
def test_bad_levels(value: float) -> None:
    with pytest.raises(T2Error, match="Expected `alpha` between 0 and 1"):
        questions_needed(value, 0.1)
    with pytest.raises(T2Error, match="Expected `delta` between 0 and 1"):
        calibrate(torch.ones(200, 1), torch.ones(200), keys(200), delta=value)


@pytest.mark.parametrize("alpha", [5e-324, 1e-310, 1e-20, 9e-13])
def test_losses_too_small_to_be_shown(alpha: float) -> None:
    """1e-310 was an OverflowError from the depths; near 1e-16 the bets cannot tell alpha from 0."""
    with pytest.raises(T2Error, match=f"Expected `alpha` of at least 1e-12, got {alpha:g}: no number of questions"):
        questions_needed(alpha, 0.1)
    assert questions_needed(1e-12, 0.1) == pytest.approx(2.302585093e12)


@pytest.mark.parametrize("delta", [5e-324, 1e-310])
def test_a_promise_that_all_but_never_fails(delta: float) -> None:
    assert questions_needed(0.02, delta) == math.ceil(math.log(delta) / math.log1p(-0.02))


def test_too_few_questions_says_how_many() -> None:
    with pytest.raises(T2Error, match=r"at least 114 calibration questions .* alpha 0.02 and delta 0.1, got 113"):
        calibrate(torch.ones(113, 1), torch.ones(113), keys(113))
    assert calibrate(torch.ones(114, 1), torch.ones(114), keys(114)).num_questions == 114


def test_bad_shapes_and_values() -> None:
    ones = torch.ones(200, 1)
    with pytest.raises(T2Error, match="Expected 1 to 15 settings, safest first, got 16"):
        calibrate(torch.ones(200, 16), torch.ones(200), keys(200))
    with pytest.raises(T2Error, match="Expected 1 to 15 settings, safest first, got 0"):
        calibrate(torch.ones(200, 0), torch.ones(200), keys(200))
    with pytest.raises(T2Error, match=r"got shapes \(200, 1\) and \(199,\)"):
        calibrate(ones, torch.ones(199), keys(200))
    with pytest.raises(T2Error, match="one dedup key for each of 200 questions, got 199"):
        calibrate(ones, torch.ones(200), keys(199))
    with pytest.raises(T2Error, match=r"accuracies in \[0, 1\] of the settings, got NaN"):
        calibrate(ones * math.nan, torch.ones(200), keys(200))
    with pytest.raises(T2Error, match=r"accuracies in \[0, 1\] of the reference"):
        calibrate(ones, torch.full((200,), 1.5), keys(200))
    with pytest.raises(T2Error, match=r"differences of accuracies in \[-1, 1\]"):
        betting_p_values(doubles(0.0, math.nan))
    with pytest.raises(T2Error, match="at least one calibration question, got none"):
        betting_p_values(torch.zeros(0))
