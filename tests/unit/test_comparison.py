"""The comparison on synthetic sources: nothing of a test question decides anything about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from scipy.stats import spearmanr
from test_policies import random_pool

from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.evaluation.bootstrap import clusters_of
from t2.evaluation.comparison import best_of, compare
from t2.evaluation.contenders import Contender, fixed_frontier, nothing_known, references
from t2.evaluation.controls import best_layer_ridge, generator_difficulty, prompt_length, tfidf_ridge
from t2.evaluation.fits import Run
from t2.evaluation.frontier import area
from t2.evaluation.ladder import BY_AREA, KNOWS, _fewest_tokens, named_out_of_fold
from t2.evaluation.reliability import reliability, spearman_brown
from t2.evaluation.resampled import Resampled
from t2.evaluation.slices import Slice
from t2.evaluation.sources import OUTER_FOLDS, FoldKnown, Folds, Known, Source, cross_fitted
from t2.evaluation.summary import summarise
from t2.evaluation.tuning import cheapest_within, held_out_frontier, inner_folds
from t2.heads.base import Prediction, concatenated
from t2.policies.base import Replay
from t2.policies.batch_budget import allocate
from t2.predictions import PredictionsOf, check_questions, load_predictions, save_predictions
from t2.reports.comparison import COLUMNS, cells, markdown, write_report
from t2.reports.curse_tables import span
from t2.reports.ladder_figure import ladder_figure

GRID = (1, 3, 5, 7)
POOL = random_pool(num=90, samples=14)
LABELS = budget_labels(POOL, GRID, 0.02)
FOLDS = Folds.of(POOL.dedup_keys, 0)


def knowing(noise: float, seed: int = 0) -> Source:
    """A head that knows the curve up to noise."""
    error_Q = noise * torch.randn(len(POOL), generator=torch.Generator().manual_seed(seed))
    curve_QK = (LABELS.acc_QK.float() + error_Q[:, None]).clamp(0, 1)

    def fit_predict(learn: torch.Tensor, held: torch.Tensor) -> Known:
        assert not set(learn.tolist()) & set(held.tolist())
        prediction = Prediction(LABELS.log_tokens_Q[learn].mean().expand(len(held)).float(), curve_QK[held])
        return Known(curve_QK[held].mean(1).double(), prediction)

    return Source("Oracle head", "head", cross_fitted(fit_predict, FOLDS))


SOURCE = knowing(0.1)
COMPARISON = compare(POOL, LABELS, [SOURCE], 0)
SUMMARY = summarise([COMPARISON], [SOURCE], clusters_of(POOL.dedup_keys), 0.02)


def test_cross_fitting_covers_every_question_once() -> None:
    source, curve_mean = knowing(0.0), LABELS.acc_QK.float().mean(1).double()
    tested = torch.cat([FOLDS.test_rows(fold) for fold in range(OUTER_FOLDS)])
    assert tested.sort().values.tolist() == list(range(len(POOL)))
    for fold, known in enumerate(source.folds):
        rows = FOLDS.train_rows(fold)
        assert len(known.train.score_B) == len(rows)
        # Out-of-fold parts come back in the order of the rows.
        torch.testing.assert_close(known.train.score_B, curve_mean[rows])
        assert known.test.prediction.accuracy_BK is not None
        torch.testing.assert_close(known.test.score_B, known.test.prediction.accuracy_BK.mean(1).double())


def test_controls_learn_what_is_there() -> None:
    level_Q, length_Q = LABELS.acc_QK.mean(1), LABELS.log_tokens_Q
    texts = [f"{'easy' if level > 0.5 else 'hard'} question number {q % 7}" for q, level in enumerate(level_Q)]
    sizes = [int(level * 4) for level in level_Q]
    features = level_Q.float()[:, None, None] * torch.ones(1, 2, 6) + torch.tensor([1.0, 2, 3, 4, 5, 6])
    features[:, 0] = torch.randn(len(POOL), 6, generator=torch.Generator().manual_seed(0))
    controls = {
        "ridge": best_layer_ridge(features, level_Q, length_Q),
        "text": tfidf_ridge(texts, level_Q, length_Q),
        "cells": generator_difficulty(["f"] * len(POOL), sizes, level_Q, length_Q),
    }
    learn, held = FOLDS.train_rows(0), FOLDS.test_rows(0)
    for name, fit_predict in controls.items():
        found = torch.corrcoef(torch.stack([fit_predict(learn, held).score_B, level_Q[held]]))[0, 1]
        assert found > 0.7, name
    tokens_Q = torch.arange(len(POOL))
    known = prompt_length(tokens_Q, length_Q)(learn, held)
    assert torch.equal(known.score_B, held.double())
    torch.testing.assert_close(known.prediction.log_tokens_B, length_Q[learn].mean().float().expand(len(held)))


def test_a_cell_that_was_never_seen_gets_the_overall_mean() -> None:
    level_Q = LABELS.acc_QK.mean(1)
    sizes = [0] * len(POOL)
    learn, held = torch.arange(1, 50), torch.tensor([0])
    known = generator_difficulty(["other", *["f"] * (len(POOL) - 1)], sizes, level_Q, level_Q)(learn, held)
    assert float(known.score_B) == pytest.approx(float(level_Q[learn].mean()))


def test_settings_and_n_ref_come_from_training_questions_alone() -> None:
    """Other answers to the test questions of a fold must change neither N_ref nor any setting of that fold."""
    before = COMPARISON
    rows = FOLDS.test_rows(0)
    vote_QM, right_QM = POOL.vote_QM.clone(), POOL.right_QM.clone()
    vote_QM[rows], right_QM[rows] = 1, False
    other = replace(POOL, vote_QM=vote_QM, right_QM=right_QM)
    after = compare(other, budget_labels(other, GRID, 0.02), [SOURCE], 0)
    assert before.n_ref[0] == after.n_ref[0]
    for name, outcome in before.outcomes.items():
        assert outcome.folds[0].chosen == after.outcomes[name].folds[0].chosen, name
    assert float(after.reference.correct[rows].sum()) == 0


def test_settings_are_tuned_on_questions_that_the_fit_never_saw() -> None:
    """A fit that remembers its own questions: replayed on them, its cheap setting looked perfect and was chosen."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        seen = set(train.pool.question_ids)

        def run(on: Slice, _: Known, samples: float) -> Replay:
            right = [float(samples > 1 or question in seen) for question in on.pool.question_ids]
            num_Q = torch.full((len(right),), samples, dtype=torch.float64)
            return Replay(torch.tensor(right, dtype=torch.float64), num_Q, num_Q, num_Q, num_Q, num_Q)

        return run

    on, rows = Slice.of(POOL, LABELS, 7, seed=0, num_orders=1), FOLDS.train_rows(0)
    train, contender = on.take(rows), Contender("remembers", "one round", (1.0, 7.0), fit)
    frontier = held_out_frontier(contender, inner_folds(train, FOLDS.inner_Q[rows]), nothing_known(len(rows)), 7)
    assert frontier.accuracy_P.tolist() == [0, 1]
    assert cheapest_within(frontier, 0.9) == 1


def test_inner_folds_put_questions_back_in_order() -> None:
    on, rows = Slice.of(POOL, LABELS, 7, seed=0, num_orders=1), FOLDS.train_rows(0)
    train = on.take(rows)
    fixed = next(c for c in references(GRID, halves=False) if c.name == "FixedN")
    inner, plain = inner_folds(train, FOLDS.inner_Q[rows]), fixed_frontier(train)
    found = held_out_frontier(fixed, inner, nothing_known(len(rows)), GRID[-1])
    for mine, whole in zip(found.replays, plain.replays, strict=True):
        torch.testing.assert_close(mine.correct, whole.correct)
        torch.testing.assert_close(mine.generated_tokens, whole.generated_tokens)
    assert sorted(torch.cat([fold.held_rows for fold in inner]).tolist()) == list(range(len(rows)))
    assert all(not set(fold.learn_rows.tolist()) & set(fold.held_rows.tolist()) for fold in inner)


def test_a_head_that_knows_beats_one_that_guesses() -> None:
    clusters = clusters_of(POOL.dedup_keys)
    guess = replace(knowing(0.0), name="Shuffled", kind="nothing")
    guess = replace(
        guess,
        folds=tuple(
            replace(f, train=Known(f.train.score_B.flip(0), f.train.prediction), test=f.test) for f in guess.folds
        ),
    )
    sources = [knowing(0.02), guess]
    comparison = compare(POOL, LABELS, sources, 0)
    summary = summarise([comparison], sources, clusters)
    rows = {row.name: row for row in summary.rows}
    assert rows["FixedN(N_ref)"].ratio.value == 1
    assert rows["Oracle head + Utility"].ratio.high < 1
    area = rows["Oracle head + bins + Utility"].area
    assert area is not None
    assert area.low > 0
    assert summary.claims.area_over_controls["Shuffled + bins + Utility"].value > 0
    text = markdown(summary, "header")
    assert all(f"| {name} |" in text for name in rows)


def test_a_batch_is_the_questions_that_are_tested_together() -> None:
    """Choices by hand: the batch is the test fold, budgets end at its N_ref, the total is that of n samples each."""
    outcome = COMPARISON.outcomes["Oracle head + BatchBudget"]
    assert outcome.settings[0] == 1
    assert outcome.settings[-1] == GRID[-1]
    assert 10 <= len(outcome.settings) <= 14
    assert any(n not in GRID for n in outcome.settings)
    for fold, cap in enumerate(COMPARISON.n_ref):
        prediction = SOURCE.folds[fold].test.prediction
        assert prediction.accuracy_BK is not None
        grid = torch.tensor([n for n in GRID if n <= cap], dtype=torch.float64)
        tokens_BK = prediction.log_tokens_B.double().exp()[:, None] * grid
        for n, replay in zip(outcome.settings, outcome.folds[fold].test, strict=True):
            total = n * float(tokens_BK[:, 0].sum()) * (1 + 1e-12)
            index_B = allocate(prediction.accuracy_BK[:, : len(grid)], tokens_BK, total)
            assert replay.samples.tolist() == grid[index_B].tolist()
        samples = [float(replay.samples.mean()) for replay in outcome.folds[fold].test]
        assert samples == sorted(samples)
    for name in ("Oracle head + BatchBudget", "Oracle head + bins + BatchBudget"):
        assert COMPARISON.outcomes[name].kind == "one round"
        # Lengths are predicted to be the same for all, so the setting bounds the mean samples.
        for n, replay in zip(outcome.settings, COMPARISON.outcomes[name].frontier.replays, strict=True):
            assert float(replay.samples.mean()) <= n + 1e-9


def test_the_order_by_grades_of_the_other_half_is_a_reference() -> None:
    outcome = COMPARISON.outcomes["DSC by other-fold mean correct"]
    assert outcome.kind == "reference"
    assert all(float(replay.samples.max()) <= 14 // 2 + 1 for replay in outcome.frontier.replays)  # and a greedy answer


def test_ladder() -> None:
    names = [rung.name for rung in SUMMARY.ladder]
    best = ["best one-round head", "NoHeadThenStop", "best HeadThenStop"]
    assert names == ["FixedN(N_ref)", *best, "BayesOracle", "OwnOracle"]
    assert [rung.knows for rung in SUMMARY.ladder] == [KNOWS[name] for name in names]
    (then_stop,) = [rung for rung in SUMMARY.ladder if rung.name == "best HeadThenStop"]
    assert then_stop.made_of == "Oracle head + HeadThenStop"
    assert SUMMARY.ladder[0].made_of == ""
    rows = {row.name: row for row in SUMMARY.rows}
    for rung in SUMMARY.ladder:
        if not rung.made_of:
            assert rung.row == rows[rung.name]
    (axes,) = ladder_figure(SUMMARY.ladder).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"{r.name}\n({r.knows})" for r in SUMMARY.ladder]
    dots = [line.get_xdata()[0] for line, _, _ in axes.containers]
    assert dots == [rung.row.ratio.value for rung in SUMMARY.ladder]
    ends = [bars[0].get_segments()[0][:, 0].tolist() for _, _, bars in axes.containers]
    assert ends == [pytest.approx([rung.row.ratio.low, rung.row.ratio.high]) for rung in SUMMARY.ladder]
    assert [text.get_text() for text in axes.texts][:-1] == [span(rung.row.difference) for rung in SUMMARY.ladder]


def test_text_and_generator_rungs_are_the_best_of_their_own_field() -> None:
    """A one-round policy of a control competes on the control's rung, never on that of the heads."""
    text = {
        name: replace(outcome, source="TF-IDF ridge", name=name)
        for outcome in COMPARISON.outcomes.values()
        if (name := outcome.name.replace("Oracle head", "TF-IDF ridge")) != outcome.name
    }
    comparison = replace(COMPARISON, outcomes={**COMPARISON.outcomes, **text})
    named = named_out_of_fold(comparison, [SOURCE, replace(SOURCE, name="TF-IDF ridge", kind="text")])
    found = named["TF-IDF ridge, one round"]
    assert "TF-IDF" not in named["best one-round head"].name
    for fold in range(OUTER_FOLDS):
        field = [outcome.folds[fold] for outcome in text.values() if outcome.kind == "one round"]
        assert len(field) >= 4
        assert found.folds[fold] is min(field, key=lambda side: side.train_tokens)
    assert "generator difficulty, one round" not in named


def test_targets_are_read_against_their_reliability() -> None:
    """Reliability is that of `reliability`, correlations are SciPy's on predictions in the order of the pool."""
    rows = {row.name: row for row in SUMMARY.targets}
    assert {name: row.half for name, row in rows.items()} == reliability(POOL, GRID, 0.02)
    predicted = concatenated([fold.test.prediction for fold in SOURCE.folds]).take(FOLDS.test_order)
    assert predicted.accuracy_BK is not None
    curve_QK = predicted.accuracy_BK.double()
    top = len(LABELS.label_grid) - 1
    assert SUMMARY.label_top == LABELS.label_grid[top] == 7
    said, truth = (
        {"first_accuracy": part[:, 0], "top_accuracy": part[:, top], "gain": part[:, top] - part[:, 0]}
        for part in (curve_QK, LABELS.acc_QK)
    )
    for name, mine in said.items():
        found = rows[name].heads["Oracle head"]
        assert found.value == pytest.approx(spearmanr(mine.round(decimals=9), truth[name].round(decimals=9)).statistic)
        assert found.low < found.value < found.high
        whole = rows[name].whole
        assert whole == spearman_brown(rows[name].half)
        assert rows[name].ceiling == pytest.approx(max(0.0, whole.value) ** 0.5)
    assert rows["n_star"].heads == {}, "this head has no N*"


def test_a_pool_of_one_sample_has_neither_oracles_nor_targets() -> None:
    pool = POOL.only(torch.arange(14).expand(90, 14) == 0)
    source = replace(SOURCE, folds=tuple(FoldKnown(cut(fold.train), cut(fold.test)) for fold in SOURCE.folds))
    comparison = compare(pool, budget_labels(pool, (1,), 0.02), [source], 0)
    assert not {"OwnOracle", "BayesOracle", "DSC by other-fold mean correct"} & set(comparison.outcomes)
    summary = summarise([comparison], [source], clusters_of(pool.dedup_keys))
    assert summary.targets == ()
    assert "Reliability" not in markdown(summary, "header")


def cut(known: Known) -> Known:
    """A prediction of the first budget alone."""
    assert known.prediction.accuracy_BK is not None
    return replace(known, prediction=replace(known.prediction, accuracy_BK=known.prediction.accuracy_BK[:, :1]))


def test_half_point_settings_are_shown() -> None:
    """They were computed and shown nowhere."""
    outcome = COMPARISON.outcomes["Oracle head + Utility"]
    (row,) = [row for row in SUMMARY.rows if row.name == outcome.name]
    half, reference = outcome.tuned[0], COMPARISON.reference
    points, ratio = row.half_point
    assert points.value == pytest.approx(100 * float((half.correct - reference.correct).mean()))
    assert ratio.value == pytest.approx(float(half.generated_tokens.sum() / reference.generated_tokens.sum()))
    shown = dict(zip(COLUMNS, cells(row), strict=True))
    assert shown["tuned to 0.5 point: points"] == span(points)
    assert shown["tuned to 0.5 point: ratio"] == span(ratio)
    assert f"| {span(points)} | {span(ratio)} |" in markdown(SUMMARY, "header")


def test_report_files(tmp_path: Path) -> None:
    paths = write_report(SUMMARY, COMPARISON, tmp_path, "<b>title</b>", "header")
    names = ["frontier.png", "index.html", "ladder.png", "report.json", "report.md"]
    assert sorted(path.name for path in paths) == names
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>title</b>" not in page
    texts = [page, (tmp_path / "report.md").read_text(encoding="utf-8")]
    for shown in ("Oracle head + HeadThenStop", "artefact: half the grades", "gain A(7) - A(1)", "reference"):
        assert all(shown in text for text in texts), shown
    found = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [rung["knows"] for rung in found["ladder"]] == [rung.knows for rung in SUMMARY.ladder]
    assert found["targets"][0]["half"]["value"] == SUMMARY.targets[0].half.value
    greedy = next(row for row in found["rows"] if row["name"] == "Greedy")
    assert greedy["chosen"] == []
    assert imread(tmp_path / "ladder.png").shape[1] > 800


def test_without_greedy_answers_nothing_is_compared_with_them() -> None:
    """They counted as wrong and free, also inside DSC."""
    bare = replace(POOL, greedy_present_Q=torch.zeros_like(POOL.greedy_present_Q))
    names = compare(bare, LABELS, [], 0).outcomes
    assert "Greedy" in COMPARISON.outcomes
    assert "Greedy" not in names
    assert not [name for name in names if name.startswith("DSC")]
    assert "FixedN" in names


def test_samples_without_any_token_have_no_cost_to_compare() -> None:
    free = replace(POOL, tokens_QM=torch.zeros_like(POOL.tokens_QM))
    with pytest.raises(T2Error, match="got 0 for every sample"):
        compare(free, LABELS, [], 0)


def test_the_best_of_a_field_loses_no_more_than_allowed_if_any_does() -> None:
    fold = COMPARISON.outcomes["ASC"].folds[0]
    cheap, kept = replace(fold, within=False, train_tokens=1.0), replace(fold, within=True, train_tokens=2.0)
    assert min((cheap, kept), key=_fewest_tokens) is kept


def test_then_stop_is_paired_with_the_prior_of_every_control() -> None:
    sources = [SOURCE, replace(SOURCE, name="Same", kind="text")]
    summary = summarise([compare(POOL, LABELS, sources, 0)], sources, clusters_of(POOL.dedup_keys), 0.02)
    (pair,) = summary.claims.then_stop_over_controls.values()
    assert (pair.ratio.low, pair.ratio.high, pair.difference.value) == (1, 1, 0)  # the same source under another name
    assert "e. HeadThenStop" in markdown(summary, "header")


def test_claims_repeated_on_all_questions_are_the_claims() -> None:
    every = summarise([COMPARISON], [SOURCE], clusters_of(POOL.dedup_keys), 0.02, torch.arange(len(POOL)))
    assert every.repeated == every.claims == SUMMARY.claims
    assert SUMMARY.repeated is None


def test_claims_on_some_questions_choose_nothing_anew() -> None:
    rows, control = torch.arange(40, len(POOL)), replace(SOURCE, name="Same", kind="text")
    comparison = compare(POOL, LABELS, [SOURCE, control], 0)
    clusters_Q = torch.arange(len(POOL)) // 2  # pairs share a key
    summary = summarise([comparison], [SOURCE, control], clusters_Q, 0.02, rows)
    outcomes, again = comparison.outcomes, summary.repeated
    assert again is not None
    mine, theirs = (outcomes[name].tuned[-1].take(rows) for name in ("Oracle head + HeadThenStop", "NoHeadThenStop"))
    resampled = Resampled([mine, theirs], clusters_Q[rows])
    assert again.pairs["b"].ratio == resampled.ratio(mine, theirs)
    assert again.pairs["b"].difference == resampled.difference(mine, theirs)
    assert again.pairs["b"].ratio != Resampled([mine, theirs]).ratio(mine, theirs)
    named = named_out_of_fold(comparison, [SOURCE, control])
    fixed = outcomes["FixedN"].frontier.take(rows)
    best, other = (
        frontier.take(rows) for frontier in (named[BY_AREA].frontier, outcomes["Same + bins + Utility"].frontier)
    )
    gap = 100 * (area(best, fixed, summary.n_ref) - area(other, fixed, summary.n_ref))
    assert again.area_over_controls["Same + bins + Utility"].value == pytest.approx(gap, abs=1e-12)
    assert "The same claims on 50 new questions alone" in markdown(summary, "header")


def test_a_pool_without_token_counts_says_that_its_cost_is_in_samples(tmp_path: Path) -> None:
    write_report(SUMMARY, COMPARISON, tmp_path, "title", "header", cost_unit="samples")
    for name in ("report.md", "index.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "cost in samples" in text
        for said in ("generated tokens", "total tokens", "token ratio"):
            assert said not in text.replace("Generated tokens at settings", ""), said


def test_predictions_come_back(tmp_path: Path) -> None:
    source, path = knowing(0.1), tmp_path / "predictions.safetensors"
    of = PredictionsOf(POOL.question_ids, GRID, 0.02, 14, "numeric", {"layers": [1]}, {"max_epochs": 40})
    save_predictions(path, of, {3: [source]})
    stored = load_predictions(path)
    assert stored.of == of
    assert list(stored.by_seed) == [3]
    (again,) = stored.by_seed[3]
    assert (again.name, again.kind) == (source.name, source.kind)
    for mine, theirs in zip(source.folds, again.folds, strict=True):
        assert torch.equal(mine.test.score_B, theirs.test.score_B)
        assert torch.equal(mine.train.prediction.accuracy_BK, theirs.train.prediction.accuracy_BK)
        assert theirs.train.prediction.log2_n_B is None
    assert check_questions(stored, ("new", *POOL.question_ids), path).tolist() == list(range(1, len(POOL) + 1))
    with pytest.raises(T2Error, match="a pool without 1 of 90"):
        check_questions(stored, POOL.question_ids[1:], path)


def test_bad_predictions(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"python train\.py cross_validate"):
        load_predictions(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(T2Error, match="Expected a predictions file"):
        load_predictions(tmp_path / "bad.safetensors")


def test_the_best_of_a_field_may_change_its_knob_between_folds() -> None:
    """Its settings were looked up under the first fold's knob: an index error on a real pool."""
    comparison, names = COMPARISON, ["ASC", "ESC", "Doubling"]
    preferred = iter(["ESC", "ASC", "Doubling", "ASC", "ESC"])
    liked = {id(comparison.outcomes[next(preferred)].folds[fold]) for fold in range(OUTER_FOLDS)}
    best = best_of(comparison, names, lambda fold: 0.0 if id(fold) in liked else 1.0, "best")
    assert best.name == "best (ASC, Doubling, ESC)"
    assert best.chosen[0] in comparison.outcomes["ESC"].settings
    assert len(best.chosen) == OUTER_FOLDS
    assert len(best.frontier.replays) == 1
    assert torch.equal(
        best.tuned[-1].correct[FOLDS.test_rows(2)],
        comparison.outcomes["Doubling"].tuned[-1].correct[FOLDS.test_rows(2)],
    )
