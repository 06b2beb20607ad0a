"""Out-of-fold predictions on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.compared import GRID, LABELS, POOL, knowing
from safetensors.torch import save_file

from t2.comparison.predicted import load_predicted
from t2.comparison.predictions import (
    PredictionsOf,
    check_questions,
    keys_digest,
    labels_digest,
    load_predictions,
    save_predictions,
    votes_digest,
)
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.importing.command import import_file
from t2.pools.load import load_pool


def test_predictions_come_back(tmp_path: Path) -> None:
    source, path = knowing(0.1), tmp_path / "predictions.safetensors"
    of = PredictionsOf(POOL.question_ids, GRID, 0.02, 14, "numeric", {"layers": [1]}, {"max_epochs": 40})
    save_predictions(path, of, {3: [source]})
    stored = load_predictions(path)
    assert stored.made_for == of
    assert list(stored.by_seed) == [3]
    (again,) = stored.by_seed[3]
    assert (again.name, again.kind) == (source.name, source.kind)
    for mine, theirs in zip(source.folds, again.folds, strict=True):
        assert torch.equal(mine.test.score_B, theirs.test.score_B)
        assert torch.equal(mine.train.prediction.accuracy_BK, theirs.train.prediction.accuracy_BK)
        assert theirs.train.prediction.log2_n_B is None
    assert check_questions(stored, ("new", *POOL.question_ids), ("new", *POOL.dedup_keys), path).tolist() == list(
        range(1, len(POOL) + 1)
    )
    with pytest.raises(T2Error, match="a pool without 1 of 90"):
        check_questions(stored, POOL.question_ids[1:], POOL.dedup_keys[1:], path)


def test_bad_predictions(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"python train\.py cross_validate"):
        load_predictions(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(T2Error, match="Expected a predictions file"):
        load_predictions(tmp_path / "bad.safetensors")


def test_predictions_of_other_folds_are_refused(tmp_path: Path) -> None:
    """Only ids were compared: with other dedup keys a question is tested by a head that learned from it."""
    path = tmp_path / "predictions.safetensors"
    of = PredictionsOf(POOL.question_ids, GRID, 0.02, 14, "numeric", {}, {}, keys_digest(POOL.dedup_keys))
    save_predictions(path, of, {0: [knowing(0.1)]})
    stored = load_predictions(path)
    assert len(check_questions(stored, POOL.question_ids, POOL.dedup_keys, path)) == len(POOL)
    with pytest.raises(T2Error, match="Expected the dedup keys that"):
        check_questions(stored, POOL.question_ids, ("other", *POOL.dedup_keys[1:]), path)


def test_an_id_in_an_error_is_cut(tmp_path: Path) -> None:
    """Ids come from users' files and may be megabytes; the whole of one was in the message."""
    path, ids = tmp_path / "predictions.safetensors", ("i" * 1_000_000, *POOL.question_ids[1:])
    save_predictions(path, PredictionsOf(ids, GRID, 0.02, 14, "numeric", {}, {}), {0: [knowing(0.1)]})
    with pytest.raises(T2Error, match=r"\(first: 'i+\.\.\.\)") as caught:
        check_questions(load_predictions(path), POOL.question_ids, POOL.dedup_keys, path)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_labels_have_a_digest_of_their_own() -> None:
    other = replace(LABELS, acc_QK=LABELS.acc_QK.clone())
    assert labels_digest(POOL, other) == labels_digest(POOL, LABELS)
    other.acc_QK[3, 1] += 1e-3
    assert labels_digest(POOL, other) != labels_digest(POOL, LABELS)
    assert labels_digest(replace(POOL, families=("f",) * len(POOL)), LABELS) != labels_digest(POOL, LABELS)


def test_a_header_without_its_parts_is_named(tmp_path: Path) -> None:
    path = tmp_path / "predictions.safetensors"
    header = {"format": "t2-predictions", "format_version": 1, "of": {"grid": [1]}, "sources": {}}
    save_file({"x": torch.zeros(1)}, path, {"t2": json.dumps(header)})
    with pytest.raises(T2Error, match=r"Expected a whole predictions file, got .* without 'question_ids'"):
        load_predictions(path)


def test_a_new_version_of_a_grader_that_grades_alike_needs_no_training(tmp_path: Path) -> None:
    """The version alone refused predictions, though not one grade had changed."""
    rows = [
        {"id": f"q{index}", "question": f"{index}?", "answer": "7", "samples": [{"text": "#### 7", "tokens": 3}]}
        for index in range(5)
    ]
    (tmp_path / "samples.jsonl").write_text("\n".join(map(json.dumps, rows)))
    import_file(str(tmp_path / "samples.jsonl"), str(tmp_path / "pool"), grader="numeric")
    loaded = load_pool(tmp_path / "pool")
    pool, ids = loaded.pool, loaded.pool.question_ids
    labels = budget_labels(pool, (1,), 0.02)
    of = PredictionsOf(ids, (1,), 0.02, 1, "numeric-2", {}, {}, keys_digest(pool.dedup_keys), votes_digest(pool))
    path = tmp_path / "predictions.safetensors"
    save_predictions(path, replace(of, labels_digest=labels_digest(pool, labels)), {0: [knowing(0.1)]})
    assert load_predicted(str(tmp_path / "pool"), path, None).stored.made_for.grader == "numeric-2"
    for other in (of, replace(of, labels_digest="other")):
        save_predictions(path, other, {0: [knowing(0.1)]})
        with pytest.raises(T2Error, match=r"Expected (predictions of labels by grader|the samples and grades that)"):
            load_predicted(str(tmp_path / "pool"), path, None)
