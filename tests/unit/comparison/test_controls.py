"""Controls: what they learn, and that they are fitted out of fold."""

from __future__ import annotations

import pytest
import torch
from helpers.compared import FOLDS, LABELS, POOL, knowing

from t2.comparison.controls import best_layer_ridge, generator_difficulty, prompt_length, tfidf_ridge
from t2.comparison.sources import OUTER_FOLDS


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
