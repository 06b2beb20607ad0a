"""From an exported head and a pool to the files of `t2 evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from t2.budget_head import BudgetHead
from t2.comparison.as_served import replay_as_served
from t2.comparison.compare import Comparison, compare
from t2.comparison.contenders import nothing_known
from t2.comparison.controls import controls_of
from t2.comparison.slices import Slice
from t2.comparison.sources import FOLD_SEEDS, Folds, Known
from t2.comparison.summary import Summary, summarise
from t2.comparison.sweeps import FULL, Sweeps
from t2.errors import T2Error
from t2.hardware import one_thread
from t2.heads.base import Prediction
from t2.judging.as_exported import Promise, as_exported, head_source, observed_promise, shares_of
from t2.judging.live_command import LIVE_FILE, check_live, run_live
from t2.judging.questions import HeadQuestions, eps_of, load_questions
from t2.judging.report import IN_TERMINAL, NOT_IN_TERMINAL, Evaluated, live_table, rivals_table, write_evaluation
from t2.pages.terminal import rich_table
from t2.policies.base import Replay, choices
from t2.policies.record import in_words
from t2.policies.stoppers import Stopper
from t2.stats.bootstrap import clusters_of

PIPED_WIDTH = 120
"""Characters of a line where the terminal does not say how wide it is."""


def evaluate_head(
    name: str,
    source: str,
    out: Path,
    live: int = 0,
    proxy: str | None = None,
    features: str | None = None,
    grader: str | None = None,
    min_samples: int | None = None,
    sweeps: Sweeps = FULL,
) -> list[Path]:
    """Load, leave out what the head has learned from, run live if asked, compare, write, print.

    Args:
        name: folder or hub id of the head.
        source: folder of a pool, or a config.
        out: folder of the files.
        live: questions that are asked anew; 0: none.
        proxy: see `load_questions`, as are the others.
        features: folder of the feature caches.
        grader: of the answers.
        min_samples: fewest samples of a question.
        sweeps: what the comparison tries, and how often.

    Raises:
        T2Error: head, pool or options do not fit, see `load_questions`.
    """
    console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
    head = BudgetHead.from_pretrained(name)
    check_live(live, source, grader)
    judged = load_questions(head, source, proxy, features, grader, min_samples)
    prediction = None if judged.pooled_QLD is None else head.predict(judged.pooled_QLD)
    with one_thread():
        replay = _as_served(head, judged, prediction)
    known = nothing_known(len(judged.pool))
    if prediction is not None:  # the score is taken before the grid is cut
        known = Known.of_prediction(head.head, prediction).upto(len(judged.labels.grid))
    rows = run_live(head, judged, known, live, out) if live else None  # the engine needs all threads
    with one_thread():
        summary, comparison = compared(head, judged, known, console, sweeps)
        promise, promise_notes = promise_of(head, judged, prediction, replay)
        shares = shares_of(head.policy, replay, judged.labels.grid)
        exported = as_exported(head.policy, replay, comparison.reference, judged.pool, shares, promise)
    evaluated = Evaluated(
        head=Path(name).resolve().name,
        pool=judged.loaded.name,
        num_questions=len(judged.pool),
        num_samples=int(judged.pool.present_QM.sum(1).min()),
        left_out=judged.left_out,
        cost_unit=judged.loaded.cost_unit,
        exported=exported,
        live=rows,
        notes=(*judged.notes, *promise_notes),
    )
    paths = write_evaluation(evaluated, summary, comparison, out, FOLD_SEEDS)
    _print(evaluated, summary, console)
    return [*paths, out / LIVE_FILE] if rows else paths


def _as_served(head: BudgetHead, judged: HeadQuestions, prediction: Prediction | None) -> Replay:
    """The exported policy on the stored samples: first of all, since it may be impossible.

    Raises:
        T2Error: the exported setting does not go with these questions.
    """
    on = Slice.of(judged.pool, judged.labels, seed=0)
    try:
        return replay_as_served(head.policy, on, head.inputs(prediction))
    except T2Error as error:
        raise T2Error(
            f"Expected questions of pool {judged.loaded.name} that the head's policy {in_words(head.policy)} can be "
            f"run on, got: {error} Export another policy (`decision` and `accuracy_cost.policy` of `fit`), or name "
            "another pool."
        ) from error


def compared(
    head: BudgetHead, judged: HeadQuestions, known: Known, console: Console, sweeps: Sweeps
) -> tuple[Summary, Comparison]:
    """`compare` at every fold seed, with the head and the controls that these questions themselves can train."""
    pool, labels = judged.pool, judged.labels
    texts = [question.text for question in judged.questions]
    rivals = controls_of(pool, labels, texts, judged.pooled_QLD)  # they learn here: a head from elsewhere should win
    comparisons = []
    for seed in FOLD_SEEDS:
        folds = Folds.of(pool.dedup_keys, seed)
        own = [head_source(type(head.head).__name__, known, folds)] if head.has_weights else []
        comparisons.append(compare(pool, labels, [*own, *(rival.fitted(folds) for rival in rivals)], seed, sweeps))
        console.print(f"fold seed {seed}: {len(comparisons[-1].outcomes)} contenders on {len(pool)} questions")
    summary = summarise(comparisons, clusters_of(pool.dedup_keys), eps_of(head))
    return summary, comparisons[0]


def promise_of(
    head: BudgetHead, judged: HeadQuestions, prediction: Prediction | None, replay: Replay
) -> tuple[Promise | None, list[str]]:
    """What calibration promised, held against what the policy does here; or why it cannot be."""
    record = head.calibration
    if record is None:
        return None, []
    if record.status != "calibrated":
        return None, [record.promise]
    n_ref = None if record.form == "every_fixed" else record.n_ref
    if n_ref is not None and n_ref not in judged.labels.grid:
        return None, [
            f"The head's promise is against FixedN({n_ref}); this pool allows {judged.labels.grid[-1]} samples, so it "
            "cannot be checked here."
        ]
    if _is_cut(head, judged, prediction) or (n_ref is None and judged.labels.grid != head.grid):
        return None, [
            f"The head's promise needs budgets up to {head.grid[-1]}; this pool allows {judged.labels.grid[-1]} "
            "samples, so it cannot be checked here."
        ]
    return observed_promise(replay.correct, judged.pool, judged.labels, n_ref, record.alpha, record.delta), []


def _is_cut(head: BudgetHead, judged: HeadQuestions, prediction: Prediction | None) -> bool:
    """Whether the policy would draw more samples than the pool has."""
    policy = head.policy
    if isinstance(policy, Stopper):
        return policy.cap > judged.labels.grid[-1]
    return prediction is not None and bool((choices(policy, prediction, head.grid) >= len(judged.labels.grid)).any())


def _print(evaluated: Evaluated, summary: Summary, console: Console) -> None:
    console.print(rich_table(rivals_table(evaluated, summary, short=True)))
    if promise := evaluated.exported.promise:
        console.print(promise.verdict, highlight=False)
    if evaluated.live:
        console.print(rich_table(live_table(evaluated).without(NOT_IN_TERMINAL).titled(IN_TERMINAL)))
    for note in evaluated.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
