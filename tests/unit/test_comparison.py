"""The comparison on synthetic sources: nothing of a test question decides anything about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_policies import random_pool

from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.evaluation.bootstrap import clusters_of
from t2.evaluation.comparison import best_of, compare
from t2.evaluation.controls import best_layer_ridge, generator_difficulty, prompt_length, tfidf_ridge
from t2.evaluation.sources import OUTER_FOLDS, Folds, Known, Source, cross_fitted
from t2.evaluation.summary import summarise
from t2.heads.base import Prediction
from t2.predictions import PredictionsOf, check_questions, load_predictions, save_predictions
from t2.reports.comparison import markdown, write_report

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
    source = knowing(0.2)
    before = compare(POOL, LABELS, [source], 0)
    rows = FOLDS.test_rows(0)
    vote_QM, right_QM = POOL.vote_QM.clone(), POOL.right_QM.clone()
    vote_QM[rows], right_QM[rows] = 1, False
    other = replace(POOL, vote_QM=vote_QM, right_QM=right_QM)
    after = compare(other, budget_labels(other, GRID, 0.02), [source], 0)
    assert before.n_ref[0] == after.n_ref[0]
    for name, outcome in before.outcomes.items():
        assert outcome.folds[0].chosen == after.outcomes[name].folds[0].chosen, name
    assert float(after.reference.correct[rows].sum()) == 0


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
    assert summary.area_over_controls["Shuffled + bins + Utility"].value > 0
    text = markdown(summary, "header")
    assert all(f"| {name} |" in text for name in rows)


def test_report_files(tmp_path: Path) -> None:
    source = knowing(0.1)
    comparison = compare(POOL, LABELS, [source], 0)
    summary = summarise([comparison], [source], clusters_of(POOL.dedup_keys))
    paths = write_report(summary, comparison, tmp_path, "<b>title</b>", "header")
    assert sorted(path.name for path in paths) == ["frontier.png", "index.html", "report.json", "report.md"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<b>title</b>" not in page
    assert "Oracle head + HeadThenStop" in page


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
    source = knowing(0.3)
    comparison = compare(POOL, LABELS, [source], 0)
    names = ["ASC", "ESC", "Doubling"]
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
