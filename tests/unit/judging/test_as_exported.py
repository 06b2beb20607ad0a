"""An exported head as a source, its promise, and the plan of a live run, on pools made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
import torch
from helpers.graded_pools import random_pool
from torch import Tensor

from t2.comparison.as_served import replay_as_served
from t2.comparison.controls import controls_of
from t2.comparison.fits import AtSetting, Fit, Run, binned_planned
from t2.comparison.slices import Slice
from t2.comparison.sources import INNER_FOLDS, OUTER_FOLDS, Folds, Known, check_enough, enough_for_folds
from t2.comparison.sweeps import FULL
from t2.curves.labels import budget_labels, dataset_optimum
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.grading.numeric import NumericGrader
from t2.heads.base import Prediction
from t2.judging.agreement import joint_level
from t2.judging.as_exported import (
    Promise,
    as_exported,
    head_source,
    observed_promise,
    shares_of,
)
from t2.judging.live_plan import MIN_FITTED, Questions, live_rows, plan
from t2.judging.live_run import live_run
from t2.policies import ASC, FixedN, PredictedN, Utility
from t2.policies.base import choices, replay_one_round
from t2.policies.rules import ByTable, GreedyAnswer, OneBatch
from t2.policies.stoppers import StopInputs
from t2.sampling import ScriptedSampler
from t2.spec import Question
from t2.stats.bootstrap import Interval
from t2.stats.frontier import Setting

GRID = (1, 3, 5, 7)
POOL = random_pool(num=90, samples=14)
LABELS = budget_labels(POOL, GRID, 0.02, first="sampled")


def said(noise: float = 0.3, grid_factor: int = 1) -> Prediction:
    """What a head might say: the curves, blurred; `grid_factor` repeats the last budget."""
    blur_Q1 = noise * torch.randn(len(POOL), 1, generator=torch.Generator().manual_seed(0))
    curve_QK = (LABELS.acc_QK.float() + blur_Q1).clamp(0, 1)
    curve_QK = torch.cat([curve_QK, *[curve_QK[:, -1:]] * (grid_factor - 1)], 1)
    return Prediction(
        LABELS.log_tokens_Q.float(),
        curve_QK,
        log2_n_B=3 * torch.rand(len(POOL), generator=torch.Generator().manual_seed(1)),
    )


def known() -> Known:
    prediction = said()
    assert prediction.accuracy_BK is not None
    return Known(prediction.accuracy_BK.mean(1).double(), prediction)


def test_a_head_says_the_same_of_a_question_in_every_fold() -> None:
    folds = Folds.of(POOL.dedup_keys, 0)
    source = head_source("H", known(), folds)
    assert source.kind == "head"
    for fold, part in enumerate(source.folds):
        assert torch.equal(part.test.score_B, known().score_B[folds.test_rows(fold)])
        assert torch.equal(part.train.score_B, known().score_B[folds.train_rows(fold)])


@pytest.mark.parametrize("policy", [FixedN(4), FixedN(99), Utility(30.0), PredictedN(0.0), PredictedN(9.0)])
def test_budgets_on_a_cut_grid(policy: FixedN | Utility | PredictedN) -> None:
    """The head's grid goes on beyond the pool's: what it would draw there is drawn at the pool's end."""
    whole, cut = choices(policy, said(grid_factor=3), GRID), choices(policy, said(), GRID)
    assert torch.equal(whole, cut)
    assert int(whole.max()) < len(GRID)


def test_as_exported_is_the_replay_of_the_choice() -> None:
    index_Q = choices(Utility(30.0), said(), GRID)
    reference = replay_one_round(torch.full_like(index_Q, 3), LABELS, POOL)
    replay = replay_as_served(Utility(30.0), Slice.of(POOL, LABELS, 0), StopInputs(prediction=said()))
    found = as_exported(Utility(30.0), replay, reference, POOL, shares_of(Utility(30.0), replay, GRID))
    budgets = torch.tensor(GRID)[index_Q].double()
    accuracy = sum(float(LABELS.served_QK[q, k]) for q, k in enumerate(index_Q.tolist())) / len(POOL)
    tokens = float((budgets * POOL.mean_tokens_Q).mean())
    assert found.policy == "Utility(price=30.0)"
    assert found.accuracy.value == pytest.approx(100 * accuracy)
    assert found.tokens.value == pytest.approx(tokens)
    assert found.ratio.value == pytest.approx(tokens / float((7 * POOL.mean_tokens_Q).mean()))
    assert found.difference.value == pytest.approx(100 * (accuracy - float(LABELS.acc_QK[:, 3].mean())))
    assert found.samples == pytest.approx(float(budgets.mean()))
    assert found.rounds == 1
    assert found.budget_shares is not None
    assert found.budget_shares[1] == pytest.approx(float((budgets == 1).double().mean()))


# Promises


def two_keys(acc_QK: Tensor) -> GradedPool:
    """Three questions, the first two of one key."""
    return replace(POOL.take(range(len(acc_QK))), dedup_keys=("a", "a", "b"))


def test_a_key_counts_once_in_the_observed_loss() -> None:
    acc_QK = torch.tensor([[0.5, 0.9, 0.7, 0.7], [0.1, 0.3, 0.7, 0.7], [0.2, 0.2, 0.4, 0.8]], dtype=torch.float64)
    labels = replace(LABELS.take(torch.arange(3)), acc_QK=acc_QK)
    correct_Q = acc_QK[torch.arange(3), torch.tensor([0, 1, 0])]
    found = observed_promise(correct_Q, two_keys(acc_QK), labels, 3, alpha=0.3, delta=0.1)
    by_key = ((0.9 - 0.5) + (0.3 - 0.3)) / 2, 0.2 - 0.2
    assert found.loss.value == pytest.approx(sum(by_key) / 2)
    assert found.rival == "FixedN(3)"
    assert found.within
    # Against every budget the hardest counts: N = 7, with losses (0.2 + 0.4) / 2 and 0.6.
    hardest = observed_promise(correct_Q, two_keys(acc_QK), labels, None, alpha=0.3, delta=0.1)
    assert hardest.loss.value == pytest.approx((0.3 + 0.6) / 2)
    assert hardest.rival == "every FixedN, here FixedN(7)"
    assert not hardest.within


def test_a_promise_against_all_is_kept_only_if_it_is_against_each() -> None:
    """The largest mean loss decided: a steady one hid another that may be larger than promised."""
    num = 200
    chosen, steady = torch.full((num, 1), 0.5), torch.full((num, 1), 0.51)
    varying = 0.5 + (torch.arange(num) % 40 == 0).double()[:, None] * 0.36
    acc_QK = torch.cat([steady.double(), varying, chosen.double(), chosen.double()], 1)
    pool = replace(POOL.take([0] * num), dedup_keys=tuple(map(str, range(num))))
    labels = replace(LABELS.take(torch.zeros(num, dtype=torch.long)), acc_QK=acc_QK)
    found = observed_promise(acc_QK[:, 3], pool, labels, None, alpha=0.015, delta=0.1)
    assert found.rival == "every FixedN, here FixedN(3)"
    assert found.loss.value == pytest.approx(0.009)
    assert "leaves it open" in found.verdict


@pytest.mark.parametrize(
    ("loss", "verdict"),
    [
        ((0.01, 0.0, 0.015), "kept here"),
        ((0.05, 0.03, 0.07), "broken here"),
        ((0.01, -0.01, 0.03), "kept on the mean, but the interval leaves it open"),
        ((0.025, 0.01, 0.04), "broken on the mean, but the interval leaves it open"),
    ],
)
def test_verdicts(loss: tuple[float, float, float], verdict: str) -> None:
    assert Promise(0.02, 0.1, "FixedN(5)", Interval(*loss)).verdict.endswith(f"{verdict}.")


# Folds


def test_folds_that_keys_cannot_fill() -> None:
    assert enough_for_folds(Folds.of(POOL.dedup_keys, 0))
    assert not enough_for_folds(Folds.of(["one key"] * 90, 0))
    grid = torch.tensor(list(product(range(OUTER_FOLDS), range(INNER_FOLDS))))
    assert enough_for_folds(Folds(grid[:, 0], grid[:, 1]))
    assert not enough_for_folds(Folds(grid[INNER_FOLDS:, 0], grid[INNER_FOLDS:, 1]))  # nothing to test in fold 0
    assert not enough_for_folds(Folds(grid[:, 0], torch.zeros(len(grid))))


def test_too_few_questions_or_keys_for_the_folds_of_any_seed() -> None:
    check_enough(POOL.dedup_keys, (0, 1, 2), "labelled questions", "pools/mine")
    with pytest.raises(
        T2Error, match=r"at least 40 labelled questions, for 5 folds, got 39 in pool pools/mine\. Label or import more"
    ):
        check_enough(POOL.dedup_keys[:39], (0,), "labelled questions", "pools/mine")
    with pytest.raises(T2Error, match="got 0 and 7 others in pool pools/mine"):
        check_enough([], (0,), "labelled questions", "pools/mine", besides=" and 7 others")
    keys = [f"key {q % 12}" for q in range(60)]
    fits = {seed for seed in range(200) if enough_for_folds(Folds.of(keys, seed))}
    assert 0 < len(fits) < 200
    check_enough(keys, sorted(fits), "labelled questions", "pools/mine")
    with pytest.raises(
        T2Error, match="in each of 5 folds and of 3 inside them, got 60 labelled questions with only 12 dedup keys"
    ):
        check_enough(keys, range(200), "labelled questions", "pools/mine")


def test_controls_are_those_that_the_pool_allows() -> None:
    texts = [f"question {q % 9}" for q in range(len(POOL))]
    pooled_QLD = torch.randn(len(POOL), 1, 4, generator=torch.Generator().manual_seed(0))
    plain = replace(POOL, prompt_tokens_Q=torch.zeros(len(POOL), dtype=torch.long), families=("",) * len(POOL))
    rich = replace(POOL, prompt_tokens_Q=torch.arange(len(POOL)), families=("f",) * len(POOL))
    assert [s.name for s in controls_of(plain, LABELS, texts, pooled_QLD)] == [
        "best layer ridge",
        "TF-IDF ridge",
    ]
    found = {s.name: s.kind for s in controls_of(rich, LABELS, texts, pooled_QLD)}
    assert found == {
        "best layer ridge": "activations",
        "TF-IDF ridge": "text",
        "prompt length": "text",
        "generator difficulty": "generator",
    }


# Live


def questions() -> Questions:
    return Questions(POOL, LABELS, known())


def test_live_rows_are_a_partition_that_grows() -> None:
    live, others = live_rows(POOL.question_ids, POOL.dedup_keys, 20)
    assert sorted([*live.tolist(), *others.tolist()]) == list(range(len(POOL)))
    more, _ = live_rows(POOL.question_ids, POOL.dedup_keys, 30)
    assert set(live.tolist()) < set(more.tolist())
    everyone, nobody = live_rows(POOL.question_ids, POOL.dedup_keys, 1000)
    assert (len(everyone), len(nobody)) == (len(POOL), 0)


def test_twins_of_live_questions_fit_nothing() -> None:
    ids, keys = [f"q{i}" for i in range(60)], [f"k{i // 2}" for i in range(60)]
    live, others = live_rows(ids, keys, 20)
    assert len(live) == 20
    assert not {keys[row] for row in live.tolist()} & {keys[row] for row in others.tolist()}


def test_others_of_a_single_inner_fold_fit_nothing() -> None:
    live, others = live_rows(POOL.question_ids, POOL.dedup_keys, 30)
    twins = questions().take(others)
    pool = replace(twins.pool, dedup_keys=("same",) * len(others))
    found = plan(questions().take(live), Questions(pool, twins.labels, twins.known), FixedN(3), 5)
    assert list(found)[-1] == "ASC(0.95)"


def test_the_plan_is_fitted_on_other_questions_alone() -> None:
    """Other answers to the live questions change no rule, only what replay says of them."""
    live, others = live_rows(POOL.question_ids, POOL.dedup_keys, 30)
    everyone = questions()
    before = plan(everyone.take(live), everyone.take(others), Utility(30.0), 5)
    wrong = replace(POOL, right_QM=torch.zeros_like(POOL.right_QM), vote_QM=POOL.vote_QM.clamp(max=0))
    changed = Questions(wrong, budget_labels(wrong, GRID, 0.02, first="sampled"), known())
    after = plan(changed.take(live), everyone.take(others), Utility(30.0), 5)
    assert list(before) == list(after)
    n_ref = GRID[dataset_optimum(LABELS.acc_QK[others])]
    kinds = [name.split("(")[0] for name in before]
    assert kinds == ["Utility", "FixedN", "ASC", "HeadThenStop"]
    for name, planned in before.items():
        assert float(after[name].replay.correct.sum()) == 0
        for mine, theirs in zip(planned.rules, after[name].rules, strict=True):
            if isinstance(mine, OneBatch):
                assert mine == theirs
            else:
                assert isinstance(mine, ByTable)
                assert isinstance(theirs, ByTable)
                assert mine.prior == theirs.prior
                assert torch.equal(mine.table.batch_PS, theirs.table.batch_PS)
                assert mine.table.states.cap == n_ref
    assert f"FixedN({n_ref})" in before


def test_the_price_is_chosen_on_questions_that_the_tables_have_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    live, others = live_rows(POOL.question_ids, POOL.dedup_keys, 30)
    seen: list[tuple[set[str], set[str]]] = []

    def recorded(prices: Sequence[Setting]) -> Fit:
        def fit(train: Slice, known: Known, cap: int) -> Run:
            run = binned_planned(prices)(train, known, cap)

            def replay(on: Slice, k: Known) -> AtSetting:
                seen.append((set(train.pool.question_ids), set(on.pool.question_ids)))
                return run(on, k)

            return replay

        return fit

    monkeypatch.setattr("t2.judging.live_plan.binned_planned", recorded)
    plan(questions().take(live), questions().take(others), Utility(30.0), 5)
    assert all(not fitted & replayed for fitted, replayed in seen)
    assert set.union(*(replayed for _, replayed in seen)) == {POOL.question_ids[row] for row in others.tolist()}


def test_too_few_others_fit_nothing() -> None:
    live, others = live_rows(POOL.question_ids, POOL.dedup_keys, len(POOL) - MIN_FITTED + 1)
    assert len(others) == MIN_FITTED - 1
    found = plan(questions().take(live), questions().take(others), FixedN(3), 5)
    assert list(found) == ["FixedN(n=3), as exported", "FixedN(5)", "ASC(0.95)"]
    rule = found["ASC(0.95)"].rules[0]
    assert isinstance(rule, ByTable)
    assert torch.equal(rule.table.batch_PS, ASC(0.95, 5).table.batch_PS)
    assert 0.95 in FULL.thresholds


def test_the_greedy_answer_is_one_request_at_temperature_0() -> None:
    sampler = ScriptedSampler({"q": {"#### 8": 0.4, "#### 7": 0.6}}, tokens_per_answer=4)
    sampler.open("", 0)
    asked = [Question("q", "?", "7", "q")]
    for _ in range(20):  # a sample would be wrong in some of them
        measured = live_run(sampler, NumericGrader(), asked, [(1, 2)], [GreedyAnswer()]).measured
        assert (float(measured.correct), float(measured.samples), float(measured.rounds)) == (1, 1, 1)
        assert float(measured.generated_tokens) == 4


def test_joint_level_is_bonferroni() -> None:
    assert joint_level(1) == pytest.approx(0.975)
    assert 1 - 10 * (1 - joint_level(5)) == pytest.approx(0.95)
