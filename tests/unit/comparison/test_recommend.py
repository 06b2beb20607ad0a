"""What is recommended for export: against plain loops over settings and folds, and blind to what it may not see."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.graded_pools import mixed_pool

from t2.calibration.betting import MAX_SETTINGS
from t2.comparison.recommend import FEWEST, Recommendation, chosen_elsewhere, folds_of, recommend
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.comparison.sweeps import Sweeps
from t2.comparison.tuning import Target
from t2.curves.labels import budget_labels, dataset_optimum
from t2.grading.graded import GradedPool
from t2.heads import PriorHead
from t2.heads.base import HeadShape, targets_of
from t2.policies.base import Replay, replay_one_round
from t2.policies.one_round import Utility
from t2.policies.record import in_words
from t2.policies.stoppers import PlanWithHead, PlanWithoutHead, StopByVotes, StopInputs
from t2.stats.frontier import Frontier

GRID = (1, 3, 5, 7, 9)
POOL = mixed_pool(num=80, samples=12, seed=4)
LABELS = budget_labels(POOL, GRID, 0.02)
SWEEPS = Sweeps(
    prices=(0.1, 2.0, 10.0, 60.0),
    plan_prices=(0.3, 3.0, 15.0),
    round_prices=(0.0, 0.5, math.inf),
    thresholds=(0.8, 0.95),
    num_orders=8,
)
LOOSE = Target(0.05, 3.0)


def known_of(pool: GradedPool, noise: float = 0.3) -> list[Known]:
    """A small head for each fold, fitted to the others; its features tell how often a question is answered rightly."""
    labels, fold_Q = budget_labels(pool, GRID, 0.02), folds_of(pool.dedup_keys)
    generator = torch.Generator().manual_seed(1)
    signal_Q = torch.linspace(-1, 1, len(pool))
    pooled = (signal_Q[:, None] + noise * torch.randn(len(pool), 4, generator=generator))[:, None]
    targets, known = targets_of(labels, pool), []
    for fold in torch.unique(fold_Q):
        torch.manual_seed(0)
        learn = fold_Q != fold
        head = PriorHead(HeadShape(1, 4, GRID, (1, 3)), num_atoms=8, components=4, hidden=8, members=1, dropout=0.0)
        head.start_stage(pooled[learn], targets.take(learn))
        optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
        for _ in range(60):
            optimizer.zero_grad()
            head.loss(head(pooled[learn]), targets.take(learn)).backward()
            optimizer.step()
        known.append(Known.of_head(head.eval(), pooled[~learn]))
    return known


@cache
def known() -> tuple[Known, ...]:
    return tuple(known_of(POOL))


def found(target: Target = LOOSE) -> Recommendation:
    recommendation = recommend(POOL, LABELS, known(), target, SWEEPS)
    assert recommendation is not None
    return recommendation


def test_all_kinds_are_weighed() -> None:
    kinds = {type(each.weighed.policy) for each in found(Target(0.05, math.inf)).candidates}
    assert kinds == {StopByVotes, PlanWithoutHead, PlanWithHead, Utility}


def test_the_best_is_the_cheapest_that_keeps_to_the_target() -> None:
    one = found()
    assert one.best is one.candidates[0]
    good = [each.weighed for each in one.candidates if each.within]
    assert [each.ratio.value for each in good] == sorted(each.ratio.value for each in good)
    assert all(each.within for each in one.candidates[: len(good)]), "those that lose too much come last"
    for weighed in good:
        assert weighed.difference.value >= -5 - 1e-9
        assert weighed.rounds <= 3 + 1e-9
    assert one.n_ref == GRID[dataset_optimum(LABELS.served_QK)]
    assert one.num_questions == 80


def test_a_candidate_is_what_a_plain_loop_over_folds_and_settings_finds() -> None:
    """Of ASC, which is fitted to nothing: each threshold replayed on all questions, the cheapest good one kept."""
    target = Target(0.05, math.inf)
    one = found(target)
    fixed = reference(one.n_ref)
    orders = Slice.of(POOL, LABELS, 0, 8).with_fewer_orders().orders
    rows = []
    for threshold in SWEEPS.thresholds:
        replay = StopByVotes(one.n_ref, threshold).rule(StopInputs()).replay(orders)
        rows.append((float(replay.generated_tokens.mean()), threshold, float((replay.correct - fixed.correct).mean())))
    tokens, threshold, gap = min(row for row in rows if row[2] >= -0.05)
    (asc,) = [each.weighed for each in one.candidates if isinstance(each.weighed.policy, StopByVotes)]
    assert asc.policy == StopByVotes(one.n_ref, threshold)
    assert asc.difference.value == pytest.approx(100 * gap)
    assert asc.ratio.value == pytest.approx(tokens / float(fixed.generated_tokens.mean()))


def reference(n_ref: int) -> Replay:
    return replay_one_round(torch.full((len(POOL),), GRID.index(n_ref)), LABELS, POOL)


def test_one_round_leaves_what_waits_once() -> None:
    for each in found(Target(0.05, 1.0)).candidates:
        assert each.weighed.rounds == pytest.approx(1.0)
        assert all(setting.rounds == pytest.approx(1.0) for setting in each.settings)


def test_settings_for_calibration_are_worth_choosing_and_dearest_first() -> None:
    for each in found(Target(0.05, math.inf)).candidates:
        ratios = [setting.ratio.value for setting in each.settings]
        gaps = [setting.difference.value for setting in each.settings]
        assert len(ratios) <= MAX_SETTINGS
        assert ratios == sorted(ratios, reverse=True)
        assert gaps == sorted(gaps, reverse=True), "a cheaper one is as accurate"
        assert all(ratio <= 1 + 1e-9 for ratio in ratios)
        assert len({in_words(setting.policy) for setting in each.settings}) == len(ratios)


def test_many_settings_are_thinned_out() -> None:
    many = replace(SWEEPS, prices=tuple(0.5 * 1.2**step for step in range(40)))
    one = recommend(POOL, LABELS, known(), Target(0.5, 1.0), many)
    assert one is not None
    (utility,) = [each for each in one.candidates if isinstance(each.weighed.policy, Utility)]
    assert 3 < len(utility.settings) <= MAX_SETTINGS


def test_nothing_gains_half_of_all_questions() -> None:
    one = found(Target(-0.5, 2.0))
    assert one.best is None
    assert one.chosen_like_this is None
    assert one.candidates
    assert not any(each.within for each in one.candidates)


def test_what_is_no_cheaper_than_one_n_for_all_is_not_recommended() -> None:
    """A head that spends more than FixedN(N_ref) was called the rule with the fewest tokens."""
    sure = replace(POOL, vote_QM=torch.zeros_like(POOL.vote_QM), right_QM=torch.ones_like(POOL.right_QM))
    sure = replace(sure, greedy_right_Q=torch.ones_like(POOL.greedy_right_Q))
    one = recommend(sure, budget_labels(sure, GRID, 0.02), known(), Target(0.01, 2.0), SWEEPS)
    assert one is not None
    assert one.n_ref == 1
    assert all(each.weighed.difference.value == 0 for each in one.candidates), "nothing is lost"
    assert one.best is None


def test_the_settings_end_at_the_candidate() -> None:
    """What is cheaper loses too much on held-out questions, so that calibration may not choose it."""
    for each in found(Target(0.02, math.inf)).candidates:
        if each.within:
            assert in_words(each.settings[-1].policy) == in_words(each.weighed.policy)
            assert all(setting.difference.value >= -2 - 1e-9 for setting in each.settings)


def frontier(correct_SQ: list[list[float]], tokens_S: list[float]) -> Frontier:
    """A rule at several settings, each with the same tokens for all questions, in one round."""
    replays = []
    for correct_Q, tokens in zip(correct_SQ, tokens_S, strict=True):
        right_Q = torch.tensor(correct_Q, dtype=torch.float64)
        spent_Q = torch.full_like(right_Q, tokens)
        parts = dict.fromkeys((*Replay.__dataclass_fields__,)[1:-1], spent_Q)
        replays.append(Replay(right_Q, **{**parts, "rounds": torch.ones_like(right_Q)}))
    return Frontier("a rule", tuple(map(float, range(len(replays)))), tuple(replays), policy="ASC")


def test_a_fold_gets_what_the_other_questions_prefer() -> None:
    """The cheap setting is wrong on the last two questions alone: whoever does not ask them takes it."""
    learn, held = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 5])
    (fixed,) = frontier([[1, 1, 0, 1, 1, 1]], [100]).replays
    rule = frontier([[1, 1, 0, 1, 1, 1], [1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]], [60, 40, 20])
    got = chosen_elsewhere([rule], fixed, learn, held, Target(0.0, 2.0))
    assert got.correct.tolist() == [0, 0]
    assert got.generated_tokens.tolist() == [40, 40]
    mirrored = frontier([[1, 1, 0, 1, 0, 0], [1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]], [60, 40, 20])
    same = chosen_elsewhere([mirrored], fixed, learn, held, Target(0.0, 2.0))
    assert same.generated_tokens.tolist() == [40, 40], "the held questions had a say"
    cheaper = frontier([[1, 1, 0, 1, 1, 0]], [30])
    both = chosen_elsewhere([rule, cheaper], fixed, learn, held, Target(0.0, 2.0))
    assert both.correct.tolist() == [1, 0]
    wrong = frontier([[0, 0, 0, 0, 1, 1]], [10])
    assert chosen_elsewhere([wrong], fixed, learn, held, Target(0.0, 2.0)).generated_tokens.tolist() == [100, 100]


def test_the_loss_is_put_together_from_what_each_fold_gets() -> None:
    """Of ASC alone, against a plain loop: each fold's threshold from the other folds' questions."""
    only = replace(SWEEPS, prices=(0.0,), plan_prices=(0.0,), round_prices=(0.0,), thresholds=(0.8, 0.9, 0.97))
    one = recommend(POOL, LABELS, known(), Target(0.04, math.inf), only)
    assert one is not None
    assert one.best is not None
    assert isinstance(one.best.weighed.policy, StopByVotes)
    assert one.chosen_like_this is not None
    fixed, fold_Q = reference(one.n_ref), folds_of(POOL.dedup_keys)
    orders = Slice.of(POOL, LABELS, 0, 8).with_fewer_orders().orders
    replays = [StopByVotes(one.n_ref, t).rule(StopInputs()).replay(orders) for t in only.thresholds]
    right, spent = 0.0, 0.0
    for fold in torch.unique(fold_Q):
        others, own = fold_Q != fold, fold_Q == fold
        good = [r for r in replays if float((r.correct - fixed.correct)[others].mean()) >= -0.04]
        best = min(good, key=lambda r: float(r.generated_tokens[others].mean()))  # used at once
        right += float(best.correct[own].sum())
        spent += float(best.generated_tokens[own].sum())
    gap = 100 * (right - float(fixed.correct.sum())) / len(POOL)
    assert one.chosen_like_this.difference.value == pytest.approx(gap)
    assert one.chosen_like_this.ratio.value == pytest.approx(spent / float(fixed.generated_tokens.sum()))


def test_too_few_questions_say_nothing() -> None:
    few = POOL.take(range(FEWEST - 1))
    assert recommend(few, LABELS.take(torch.arange(FEWEST - 1)), [], LOOSE, SWEEPS) is None
    twins = replace(POOL, dedup_keys=("same",) * len(POOL))
    assert recommend(twins, LABELS, [], LOOSE, SWEEPS) is None
