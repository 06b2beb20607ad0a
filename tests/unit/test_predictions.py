"""Out-of-fold predictions on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compared import GRID, POOL, knowing

from t2.errors import T2Error
from t2.predictions import PredictionsOf, check_questions, load_predictions, save_predictions


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
