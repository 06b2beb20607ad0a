"""From a pool and its out-of-fold predictions to the files of `t2 report`. Never trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from joblib import Parallel, cpu_count, delayed
from torch import Tensor

from t2.comparison.compare import Comparison, compare
from t2.comparison.key_rows import key_markdown
from t2.comparison.predicted import load_predicted
from t2.comparison.predictions import PREDICTIONS_FILE
from t2.comparison.report import write_report
from t2.comparison.sources import Source
from t2.comparison.summary import summarise
from t2.comparison.sweeps import FULL, Sweeps
from t2.curves.labels import BudgetLabels, budget_labels, cut_grid
from t2.endings import SIGNALS, no_signals_in_children
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.hardware import one_thread
from t2.pools.load import pool_folder
from t2.stats.bootstrap import clusters_of
from t2.store.files import write_text_atomically
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths


@one_thread()
def report_of(
    source: str,
    out: Path,
    predictions: str | None = None,
    grader: str | None = None,
    new_after: int | None = None,
    cap: int | None = None,
    sweeps: Sweeps = FULL,
) -> list[Path]:
    """Compare, summarise, write; arguments as in `t2.cli.looking.report`.

    Raises:
        T2Error: no pool, no predictions, predictions of other questions, samples or grades, no new question, or a cap
            below the first budget.
    """
    path = Path(predictions) if predictions else pool_folder(source) / PREDICTIONS_FILE
    found = load_predicted(source, path, grader)
    stored, loaded, pool, labels = found.stored, found.loaded, found.pool, found.labels
    new_rows = None if new_after is None else _new_rows(loaded.root, pool, new_after)
    if cap is not None:
        labels = _capped(pool, labels, stored.made_for.eps, cap)
    # Fold seeds have nothing to do with each other: a process for each core, each on one thread.
    processes = min(cpu_count(), len(stored.by_seed))
    by_seed = {seed: [each.upto(len(labels.grid)) for each in sources] for seed, sources in stored.by_seed.items()}
    jobs = (delayed(_compared)(pool, labels, sources, seed, sweeps) for seed, sources in by_seed.items())
    with no_signals_in_children(*SIGNALS):
        comparisons = list(Parallel(n_jobs=processes)(jobs))
    summary = summarise(comparisons, clusters_of(pool.dedup_keys), stored.made_for.eps, new_rows)
    header = (
        f"{len(pool)} questions x {stored.made_for.samples_per_question} samples; 5-fold over questions, fold seeds "
        f"{', '.join(map(str, stored.by_seed))}; N_ref = {summary.n_ref}; settings chosen out of fold to lose at most "
        "1 point against FixedN(N_ref); 95% bootstrap intervals over questions at the first fold seed."
    )
    if new_after is not None:
        header += f" New questions are those after the pool's first {new_after}."
    if cap is not None:
        header += f" No rule draws more than {labels.grid[-1]} sample{'s' if labels.grid[-1] > 1 else ''}."
    title = f"{loaded.name}: heads and policies"
    written = write_report(summary, comparisons[0], out, title, header, loaded.notes, cost_unit=loaded.cost_unit)
    write_text_atomically(out / "key.md", key_markdown(summary, header, loaded.cost_unit))
    return [*written, out / "key.md"]


def _capped(pool: GradedPool, labels: BudgetLabels, eps: float, cap: int) -> BudgetLabels:
    """The labels with the budgets up to `cap`.

    Raises:
        T2Error: there are none.
    """
    if cap < labels.grid[0]:
        raise T2Error(f"Expected a `cap` of at least {labels.grid[0]}, the first budget of the grid, got {cap}.")
    return budget_labels(pool, cut_grid(labels.grid, cap), eps)


def _compared(
    pool: GradedPool, labels: BudgetLabels, sources: Sequence[Source], seed: int, sweeps: Sweeps
) -> Comparison:
    with one_thread():
        return compare(pool, labels, sources, seed, sweeps)


def _new_rows(folder: Path, pool: GradedPool, new_after: int) -> Tensor:
    """Rows of `pool` that are not among the first `new_after` questions of the folder, nor share a dedup key with them.

    Raises:
        T2Error: there are none.
    """
    stored, _ = read_questions(PoolPaths(folder))
    if not 1 <= new_after < len(stored):
        raise T2Error(
            f"Expected `new_after` between 1 and {len(stored) - 1}, got {new_after}: it is the number of questions "
            "that the pool had when the methods were chosen."
        )
    first = stored[:new_after]
    ids = {question.id for question in first}
    compared = list(zip(pool.question_ids, pool.dedup_keys, strict=True))
    # A config may give the questions other keys than the pool has stored.
    keys = {question.dedup_key for question in first} | {key for name, key in compared if name in ids}
    rows = [row for row, (name, key) in enumerate(compared) if name not in ids and key not in keys]
    if not rows:
        raise T2Error(
            f"Expected predictions of questions after the pool's first {new_after}, got {len(pool)} questions, none of "
            "them new. Make them again: python train.py cross_validate --config FILE"
        )
    if not int(pool.tokens_QM[rows].sum()):
        raise T2Error(
            f"Expected generated tokens in the {len(rows)} new questions, got 0 for every sample: they have no cost to "
            "compare. Leave out `--new_after`."
        )
    return torch.tensor(rows)
