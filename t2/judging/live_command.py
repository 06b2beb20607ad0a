"""`t2 evaluate --live N`: the head's policy and its rivals on fresh samples, beside replay of the same questions."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rich.console import Console

from t2.budget_head import BudgetHead
from t2.comparison.sources import Known
from t2.endings import keeping
from t2.errors import T2Error
from t2.hardware import one_thread
from t2.judging.live_plan import Planned, Questions, enough_to_fit, live_rows, plan
from t2.judging.live_run import LiveResult, beside_replay, evaluate_live
from t2.judging.questions import HeadQuestions
from t2.judging.report import LiveEvaluated
from t2.policies.base import replay_greedy
from t2.policies.rules import GreedyAnswer
from t2.store.files import write_text_atomically

LIVE_FILE = "live.json"
MIN_LIVE = 20
"""Fewest questions of a live run: bootstrap intervals over fewer are too short to judge agreement by."""


def check_live(num_live: int, source: str, grader: str | None) -> None:
    """Reject what cannot run live before anything is loaded.

    Raises:
        T2Error: too few questions, a pool folder (which knows neither sampler nor where the LLM lies), or a grader
            that is not the config's.
    """
    if num_live and num_live < MIN_LIVE:
        raise T2Error(
            f"Expected `--live` with at least {MIN_LIVE} questions, got {num_live}: with fewer, intervals say nothing "
            "about agreement."
        )
    if num_live and os.path.isdir(source):
        raise T2Error(
            f"Expected a config with `--live` (its `data.pool` says which model and sampler draw the samples), got the "
            f"pool folder {source}. Name the YAML file instead."
        )
    if num_live and grader is not None:
        raise T2Error(
            f"Expected `--live` without `--grader`, since the config's task grades fresh answers, got {grader!r}."
        )


def run_live(head: BudgetHead, judged: HeadQuestions, known: Known, num_live: int, out: Path) -> LiveEvaluated:
    """Plan on the other questions, run one policy after the other on one engine, keep everything in live.json.

    Raises:
        T2Error: an imported pool, vLLM is not installed, or the config does not fit the pool, see `evaluate_live`.
    """
    job = judged.loaded.job
    assert job is not None  # `check_live` wants a config
    if judged.loaded.spec.imported:
        raise T2Error(
            f"Expected a pool that `t2 label` has filled with `--live`, got the imported pool {judged.loaded.root}: "
            "the LLM that answered is not known here."
        )
    everyone = Questions(judged.pool, judged.labels, known)
    rows, other_rows = live_rows(judged.pool.question_ids, judged.pool.dedup_keys, num_live)
    live, others = everyone.take(rows), everyone.take(other_rows)
    with one_thread():
        planned = plan(live, others, head.policy, n_ref_of(head, judged), head.inputs(live.known.prediction))
    if bool(live.pool.greedy_present_Q.all()):
        greedy = Planned(tuple(GreedyAnswer() for _ in rows), replay_greedy(live.pool))
        planned = {"Greedy": greedy, **planned}  # first: what an engine does once, it does in the cheapest run
    stored = dict(zip(judged.loaded.pool.question_ids, judged.loaded.prompts, strict=True))  # of the LLM that answers
    fitted = len(other_rows) if enough_to_fit(others) else 0
    replays, done, console = {name: one.replay for name, one in planned.items()}, {}, Console(soft_wrap=True)

    def keep(name: str, result: LiveResult) -> None:
        """What has run is in the file before the next one starts."""
        done[name] = result
        rows_so_far = {name: row.as_json() for name, row in beside_replay(done, replays).items()}
        content = json.dumps({"fitted_on": fitted, "policies": rows_so_far}, indent=1, ensure_ascii=False)
        write_text_atomically(out / LIVE_FILE, content + "\n")
        samples = int(result.measured.samples.sum())
        console.print(f"live: {name}, {samples} samples in {result.seconds:.0f} s", highlight=False)

    def kept() -> str:
        ran = f"{len(done)} of {len(planned)} policies have run"
        return f"{ran}, {out / LIVE_FILE} has them" if done else ran

    with keeping(kept, goes_on=False):
        results = evaluate_live(
            job,
            [judged.questions[row] for row in rows.tolist()],
            [stored[name] for name in live.pool.question_ids],
            {name: one.rules for name, one in planned.items()},
            keep,
        )
    return LiveEvaluated(beside_replay(results, replays), num_questions=len(rows), num_fitted=fitted)


def n_ref_of(head: BudgetHead, judged: HeadQuestions) -> int:
    """The reference budget that the head recorded, as far as the pool allows; without a record the largest."""
    record = head.record
    recorded = next(
        (each.n_ref for each in (record.calibration, record.decision, record.metrics) if each and each.n_ref), None
    )
    return max(n for n in judged.labels.grid if recorded is None or n <= recorded)
