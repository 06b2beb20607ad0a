"""The comparison on synthetic sources: nothing of a test question decides anything about it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from math import log

import pytest
import torch
from helpers.compared import FEWER, FOLDS, GRID, LABELS, POOL, SMALL, SOURCE, compared

from t2.comparison.compare import best_of, compare
from t2.comparison.contenders import Contender, fixed_frontier, fixed_n, nothing_known
from t2.comparison.fits import AtSetting, Run, bayes_oracle, numbered, own_oracle
from t2.comparison.identity import ORACLES, Key, Role
from t2.comparison.ladder import STOPPERS, _fewest_tokens
from t2.comparison.report import markdown, without_infinities
from t2.comparison.rows import reference_row
from t2.comparison.slices import Slice
from t2.comparison.sources import OUTER_FOLDS, FoldKnown, Known
from t2.comparison.summary import summarise
from t2.comparison.tuning import cheapest_within, held_out_frontier, in_order, inner_folds
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.policies.base import Replay
from t2.policies.batch_budget import allocate
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.resampled import Resampled


def test_settings_and_n_ref_come_from_training_questions_alone() -> None:
    """Other answers to the test questions of a fold must change neither N_ref nor any setting of that fold."""
    before = compared()
    rows = FOLDS.test_rows(0)
    vote_QM, right_QM = POOL.vote_QM.clone(), POOL.right_QM.clone()
    vote_QM[rows], right_QM[rows] = 1, False
    other = replace(POOL, vote_QM=vote_QM, right_QM=right_QM)
    after = compare(other, budget_labels(other, GRID, 0.02), [SOURCE], 0, FEWER)
    assert before.n_ref[0] == after.n_ref[0]
    for key, outcome in before.outcomes.items():
        assert outcome.folds[0].chosen == after.outcomes[key].folds[0].chosen, key
    assert float(after.reference.correct[rows].sum()) == 0


def test_settings_are_tuned_on_questions_that_the_fit_never_saw() -> None:
    """A fit that remembers its own questions: replayed on them, its cheap setting looked perfect and was chosen."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        seen = set(train.pool.question_ids)

        def run(on: Slice, _: Known) -> AtSetting:
            def at(samples: float) -> Replay:
                right = [float(samples > 1 or question in seen) for question in on.pool.question_ids]
                num_Q = torch.full((len(right),), samples, dtype=torch.float64)
                return Replay(torch.tensor(right, dtype=torch.float64), *[num_Q] * 7)

            return numbered(at)

        return run

    on, rows = Slice.of(POOL, LABELS, seed=0, num_orders=1), FOLDS.train_rows(0)
    train, contender = on.take(rows), Contender(Key("remembers"), "one round", (1.0, 7.0), fit)
    frontier = held_out_frontier(contender, inner_folds(train, FOLDS.inner_Q[rows]), nothing_known(len(rows)), 7)
    assert frontier.accuracy_P.tolist() == [0, 1]
    assert cheapest_within(frontier, 0.9) == 1


def test_inner_folds_put_questions_back_in_order() -> None:
    on, rows = Slice.of(POOL, LABELS, seed=0, num_orders=1), FOLDS.train_rows(0)
    train = on.take(rows)
    fixed = fixed_n(GRID)
    inner, plain = inner_folds(train, FOLDS.inner_Q[rows]), fixed_frontier(train)
    found = held_out_frontier(fixed, inner, nothing_known(len(rows)), GRID[-1])
    for mine, whole in zip(found.replays, plain.replays, strict=True):
        torch.testing.assert_close(mine.correct, whole.correct)
        torch.testing.assert_close(mine.generated_tokens, whole.generated_tokens)
    assert sorted(torch.cat([fold.held_rows for fold in inner]).tolist()) == list(range(len(rows)))
    assert all(not set(fold.learn_rows.tolist()) & set(fold.held_rows.tolist()) for fold in inner)


def test_a_batch_is_the_questions_that_are_tested_together() -> None:
    """Choices by hand: the batch is the test fold, budgets end at its N_ref, the total is that of n samples each."""
    outcome = compared().outcomes[Key("BatchBudget", "Oracle head")]
    assert outcome.frontier.settings[0] == 1
    assert outcome.frontier.settings[-1] == GRID[-1]
    assert outcome.frontier.settings == FEWER.totals_for(GRID)
    assert any(n not in GRID for n in outcome.frontier.settings)
    for fold, cap in enumerate(compared().n_ref):
        prediction = SOURCE.folds[fold].test.prediction
        assert prediction.accuracy_BK is not None
        grid = torch.tensor([n for n in GRID if n <= cap], dtype=torch.float64)
        tokens_BK = prediction.log_tokens_B.double().exp()[:, None] * grid
        for n, replay in zip(FEWER.totals_for(GRID), outcome.folds[fold].test, strict=True):
            total = n * float(tokens_BK[:, 0].sum()) * (1 + 1e-12)
            index_B = allocate(prediction.accuracy_BK[:, : len(grid)], tokens_BK, total)
            assert replay.samples.tolist() == grid[index_B].tolist()
        samples = [float(replay.samples.mean()) for replay in outcome.folds[fold].test]
        assert samples == sorted(samples)
    for in_bins in (False, True):
        either = compared().outcomes[Key("BatchBudget", "Oracle head", in_bins)]
        assert either.kind == "one round"
        # Lengths are predicted to be the same for all, so the setting bounds the mean samples.
        for n, replay in zip(FEWER.totals_for(GRID), either.frontier.replays, strict=True):
            assert float(replay.samples.mean()) <= n + 1e-9


def test_the_order_by_grades_of_the_other_half_is_a_reference() -> None:
    outcome = compared().outcomes[Key("DSC")]
    assert outcome.kind == "reference"
    assert all(float(replay.samples.max()) <= 14 // 2 + 1 for replay in outcome.frontier.replays)  # and a greedy answer


def test_a_pool_of_one_sample_has_neither_oracles_nor_targets() -> None:
    pool = POOL.only(torch.arange(14).expand(90, 14) == 0)
    source = replace(SOURCE, folds=tuple(FoldKnown(cut(fold.train), cut(fold.test)) for fold in SOURCE.folds))
    comparison = compare(pool, budget_labels(pool, (1,), 0.02), [source], 0, SMALL)
    assert not {Key("OwnOracle"), Key("BayesOracle"), Key("DSC")} & set(comparison.outcomes)
    summary = summarise([comparison], clusters_of(pool.dedup_keys))
    assert summary.targets == ()
    assert "Reliability" not in markdown(summary, "header")


def cut(known: Known) -> Known:
    """A prediction of the first budget alone."""
    assert known.prediction.accuracy_BK is not None
    return replace(known, prediction=replace(known.prediction, accuracy_BK=known.prediction.accuracy_BK[:, :1]))


def test_without_greedy_answers_nothing_is_compared_with_them() -> None:
    """They counted as wrong and free, also inside DSC."""
    bare = replace(POOL, greedy_present_Q=torch.zeros_like(POOL.greedy_present_Q))
    assert {"Greedy", "DSC", "FixedN"} <= {key.policy for key in compared().outcomes}
    policies = {key.policy for key in compare(bare, LABELS, [], 0, SMALL).outcomes}
    assert not {"Greedy", "DSC"} & policies
    assert "FixedN" in policies


def test_samples_without_any_token_have_no_cost_to_compare() -> None:
    free = replace(POOL, tokens_QM=torch.zeros_like(POOL.tokens_QM))
    with pytest.raises(T2Error, match="got 0 for every sample"):
        compare(free, LABELS, [], 0)


def test_the_best_of_a_field_loses_no_more_than_allowed_if_any_does() -> None:
    fold = compared().outcomes[Key("ASC")].folds[0]
    cheap, kept = replace(fold, within=False, train_tokens=1.0), replace(fold, within=True, train_tokens=2.0)
    assert min((cheap, kept), key=_fewest_tokens) is kept


def test_the_best_of_a_field_may_change_its_knob_between_folds() -> None:
    """Its settings were looked up under the first fold's knob: an index error on a real pool."""
    comparison, stoppers = compared(), [Key(policy) for policy in STOPPERS]
    preferred = iter(["ESC", "ASC", "Doubling", "ASC", "ESC"])
    liked = {id(comparison.outcomes[Key(next(preferred))].folds[fold]) for fold in range(OUTER_FOLDS)}
    best = best_of(comparison, stoppers, lambda fold: 0.0 if id(fold) in liked else 1.0, Role.STOPPER)
    assert (best.key, best.frontier.policy, best.made_of) == (Role.STOPPER, "", ("ASC", "Doubling", "ESC"))
    assert best.chosen[0] in comparison.outcomes[Key("ESC")].frontier.settings
    assert len(best.chosen) == OUTER_FOLDS
    assert len(best.frontier.replays) == 1
    assert torch.equal(
        best.tuned[-1].correct[FOLDS.test_rows(2)],
        comparison.outcomes[Key("Doubling")].tuned[-1].correct[FOLDS.test_rows(2)],
    )


def test_the_reference_is_as_accurate_as_itself() -> None:
    """Where N_ref differs between folds its own ratio at the same accuracy, read off the line of FixedN, was not 1."""
    fixed, n_ref = compared().outcomes[Key("FixedN")], (7, 5, 7, 3, 5)
    at_ref = [fold.test[fixed.frontier.settings.index(n)] for fold, n in zip(fixed.folds, n_ref, strict=True)]
    reference = in_order(at_ref, compared().test_order)
    resampled = Resampled([reference, *fixed.frontier.replays])
    assert resampled.ratio_at_same_accuracy(reference, fixed.frontier).value != 1
    row = reference_row(replace(compared(), n_ref=n_ref, reference=reference), resampled)
    assert row.same_accuracy == Interval(1, 1, 1)


def hundredfold(known: Known) -> Known:
    """The same of answers a hundred times as long."""
    return replace(known, prediction=replace(known.prediction, log_tokens_B=known.prediction.log_tokens_B + log(100)))


def test_the_unit_of_cost_changes_no_ratio_and_no_area() -> None:
    """Prices were per 1,000 tokens of short answers: with cost in samples a head's area fell from 1.8 to 0.3."""
    longer = replace(POOL, tokens_QM=100 * POOL.tokens_QM, greedy_tokens_Q=100 * POOL.greedy_tokens_Q)
    folds = [FoldKnown(*(hundredfold(known) for known in (fold.train, fold.test))) for fold in SOURCE.folds]
    other = compare(longer, budget_labels(longer, GRID, 0.02), [replace(SOURCE, folds=tuple(folds))], 0, FEWER)
    for key, outcome in compared().outcomes.items():
        if key.policy == "BatchBudget":  # its total never had a unit, and rounding decides whether a last step fits
            continue
        theirs = other.outcomes[key]
        for mine, scaled in zip(outcome.frontier.replays, theirs.frontier.replays, strict=True):
            assert torch.equal(mine.correct, scaled.correct), key
            torch.testing.assert_close(100 * mine.generated_tokens, scaled.generated_tokens)
        assert [fold.chosen for fold in outcome.folds] == [fold.chosen for fold in theirs.folds], key


def test_prices_come_from_training_questions_alone() -> None:
    """They were scaled by the whole pool's lengths: a test question's answers moved what was tried on it."""
    test = FOLDS.test_rows(0)
    longer_QM = POOL.tokens_QM.clone()
    longer_QM[test] *= 3
    longer = replace(POOL, tokens_QM=longer_QM)
    other = compare(longer, budget_labels(longer, GRID, 0.02), [SOURCE], 0, FEWER)
    for key, outcome in compared().outcomes.items():
        theirs = other.outcomes[key]
        assert theirs.folds[0].setting == pytest.approx(outcome.folds[0].setting, nan_ok=True), key
        if key.policy in ORACLES:  # they know their own lengths too
            continue
        for mine, again in zip(outcome.folds[0].test, theirs.folds[0].test, strict=True):
            assert torch.equal(mine.samples, again.samples), key
    assert (
        other.outcomes[Key("NoHeadThenStop")].folds[1].setting
        != compared().outcomes[Key("NoHeadThenStop")].folds[1].setting
    )


def test_tokens_in_one_question_alone_are_compared_and_summarised() -> None:
    """A fold without a token to learn prices from, and resamples without one, ended a finished comparison."""
    few_QM = torch.zeros_like(POOL.tokens_QM)
    few_QM[0] = POOL.tokens_QM[0]
    few = replace(POOL, tokens_QM=few_QM)
    comparison = compare(few, budget_labels(few, GRID, 0.02), [SOURCE], 0, SMALL)
    summary = summarise([comparison], clusters_of(few.dedup_keys))
    json.dumps(without_infinities(asdict(summary)), allow_nan=False)


def test_oracles_are_tuned_against_what_half_a_pool_can_reach() -> None:
    """They were held to FixedN(N_ref) minus a point, could not reach it, and drew all they could."""
    comparison = compare(POOL, budget_labels(POOL, (*GRID, 9, 12), 0.02), [], 0, FEWER)
    assert set(comparison.n_ref) == {12}
    fixed, oracle = (comparison.outcomes[Key(policy)] for policy in ("FixedN", "BayesOracle"))
    at_top = fixed.frontier.replays[fixed.frontier.settings.index(7)]
    assert float(comparison.reference.correct.mean() - at_top.correct.mean()) > 0.03
    for fold, found in enumerate(oracle.folds):
        assert found.within
        assert found.train_tokens < float(at_top.generated_tokens[FOLDS.train_rows(fold)].mean())


def test_oracles_keep_to_the_cap() -> None:
    on = Slice.of(POOL, LABELS, seed=0)
    for fit in (own_oracle, bayes_oracle):
        run = fit(on, nothing_known(len(POOL)), 3)
        assert float(run(on, nothing_known(len(POOL)))(0.001).samples.max()) <= 3
        run = fit(on, nothing_known(len(POOL)), 5)
        assert float(run(on, nothing_known(len(POOL)))(0.001).samples.max()) > 3


def test_sources_are_cut_to_the_grid_of_a_cap() -> None:
    """Curves that went on beyond the cap ended a report half way."""
    labels = budget_labels(POOL, GRID[:3], 0.02)
    with pytest.raises(RuntimeError, match="size of tensor"):
        compare(POOL, labels, [SOURCE], 0, SMALL)
    outcomes = compare(POOL, labels, [SOURCE.upto(3)], 0, SMALL).outcomes
    assert Key("BlendedUtility", "Oracle head") in outcomes
    assert (
        max(float(outcome.tuned[-1].samples.max()) for outcome in outcomes.values()) <= GRID[2] + 1
    )  # and a greedy one
