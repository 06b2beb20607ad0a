"""A pool with the out-of-fold predictions of its questions, checked to belong together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from t2.comparison.predictions import StoredPredictions, check_labels, check_questions, load_predictions
from t2.curves.labels import BudgetLabels, budget_labels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.pools.load import LoadedPool, load_pool


@dataclass(frozen=True)
class PredictedPool:
    """What a report is made from."""

    stored: StoredPredictions
    loaded: LoadedPool
    pool: GradedPool
    """the predicted questions alone, in the order of the predictions"""
    labels: BudgetLabels
    """of the pool, on the grid of the predictions"""


def load_predicted(source: str, path: Path, grader: str | None) -> PredictedPool:
    """Load both.

    Args:
        source: folder of a pool, or a config.
        path: of the predictions.
        grader: see `load_pool`.

    Raises:
        T2Error: no pool, no predictions, or predictions of other questions, samples or grades.
    """
    stored = load_predictions(path)
    loaded = load_pool(source, grader, max_samples=stored.made_for.samples_per_question)
    # Another version of a grader may give the same grades, which the digests below tell.
    of = stored.made_for
    if of.grader != loaded.grader and not (of.labels_digest and of.votes_digest):
        raise T2Error(
            f"Expected predictions of labels by grader {loaded.grader!r}, got {stored.made_for.grader!r} in {path}. "
            "Name the same `--grader`, or train again: python train.py cross_validate --config FILE"
        )
    pool = loaded.pool.take(check_questions(stored, loaded.pool.question_ids, loaded.pool.dedup_keys, path))
    labels = budget_labels(pool, stored.made_for.grid, stored.made_for.eps)
    check_labels(stored, pool, labels, path)
    return PredictedPool(stored, loaded, pool, labels)
