"""From a pool and its out-of-fold predictions to the files of `t2 report`. Never trains."""

from __future__ import annotations

from pathlib import Path

import torch

from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.evaluation.bootstrap import clusters_of
from t2.evaluation.comparison import compare
from t2.evaluation.summary import summarise
from t2.loading import load_pool
from t2.predictions import PREDICTIONS_FILE, check_questions, load_predictions
from t2.reports.comparison import write_report


def report_of(source: str, out: Path, predictions: str | None = None, grader: str | None = None) -> list[Path]:
    """Compare, summarise, write.

    Raises:
        T2Error: no pool, no predictions, or predictions of other questions or grades.
    """
    torch.set_num_threads(1)  # many small products: threads get in each other's way
    loaded = load_pool(source, grader)
    path = Path(predictions) if predictions else loaded.root / PREDICTIONS_FILE
    stored = load_predictions(path)
    if stored.of.grader != loaded.grader:
        raise T2Error(
            f"Expected predictions of labels by grader {loaded.grader!r}, got {stored.of.grader!r} in {path}. "
            "Name the same `--grader`, or train again: python train.py cross_validate --config FILE"
        )
    pool = loaded.pool.take(check_questions(stored, loaded.pool.question_ids, path))
    labels = budget_labels(pool, stored.of.grid, stored.of.eps)
    comparisons = [compare(pool, labels, sources, seed) for seed, sources in stored.by_seed.items()]
    first = next(iter(stored.by_seed))
    summary = summarise(comparisons, stored.by_seed[first], clusters_of(pool.dedup_keys), stored.of.eps)
    header = (
        f"{len(pool)} questions x {stored.of.samples_per_question} samples; 5-fold over questions, fold seeds "
        f"{', '.join(map(str, stored.by_seed))}; N_ref = {summary.n_ref}; settings chosen out of fold to lose at most "
        "1 point against FixedN(N_ref); 95% bootstrap intervals over questions at the first fold seed."
    )
    return write_report(
        summary,
        comparisons[0],
        out,
        f"{loaded.name}: heads and policies",
        header,
        loaded.notes,
        cost_unit=loaded.cost_unit,
    )
