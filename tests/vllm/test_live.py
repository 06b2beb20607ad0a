"""Policies on a real engine: live agrees with the replay of the committed pool, and with what the engine counts."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import pytest
from helpers.live_agreement import assert_agrees
from helpers.own_group import ROOT, run_alone

pytestmark = pytest.mark.vllm

MODEL, POOL = ROOT / "assets" / "tiny-arith", ROOT / "assets" / "pools" / "tiny-arith"
MAX_NUM_SEQS, BLOCK = 64, 32
GRID = (1, 3, 5, 9)
LEVEL = 0.95

_SCRIPT = """
import json, sys
from pathlib import Path

import psutil
import torch

from t2.curves.labels import budget_labels
from t2.pools.grader import PoolGrader
from t2.judging.live_run import agreement, evaluate_live
from t2.policies.asc import ASC
from t2.policies.base import replay_one_round
from t2.policies.orders import Orders
from t2.policies.rules import one_batch_rules, table_rules
from t2.sampling import VLLMSampler
from t2.spec import LabelJob
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

if __name__ == "__main__":
    model, pool_folder, out, max_num_seqs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    grid, level = tuple(json.loads(sys.argv[5])), float(sys.argv[6])
    sampler = VLLMSampler(max_tokens=128, dtype="float32", kv_cache_gib=0.25, max_num_seqs=max_num_seqs)
    job = LabelJob(pool_folder, model, ArithTask(600), sampler, samples_per_question=32, engine_seed=5)
    paths = PoolPaths(Path(pool_folder))
    questions, prompts = read_questions(paths)
    long = [row for row, prompt in enumerate(prompts) if len(prompt) > 32]
    rows = sorted({*long[:8], *range(0, 600, 11)})
    questions, prompts = [questions[row] for row in rows], [prompts[row] for row in rows]
    grader = PoolGrader(ShardReader(paths), job.task.grader)
    grader.refresh()
    pool = grader.pool(questions, [len(prompt) for prompt in prompts], 32)

    labels = budget_labels(pool, grid, 0.02)
    fixed_Q, own_Q = torch.full((len(rows),), 2), torch.arange(len(rows)) % len(grid)
    asc = ASC(0.95, 12)
    replays = {
        "fixed": replay_one_round(fixed_Q, labels, pool),
        "own": replay_one_round(own_Q, labels, pool),
        "asc": asc.replay(Orders.of(pool, 64, 0)),
    }
    budgets = torch.tensor(grid)
    contenders = {
        "fixed": one_batch_rules(budgets[fixed_Q]),
        "own": one_batch_rules(budgets[own_Q], greedy_first=True),
        "asc": table_rules(asc.table, torch.zeros(len(rows))),
    }
    live = evaluate_live(job, questions, prompts, contenders)
    result = {
        name: {
            **run.as_json(),
            "agreement": agreement(run.measured, replays[name], level, num_resamples=20_000).as_json(),
            "replayed": {key: float(getattr(replays[name], key).mean()) for key in ("samples", "rounds")},
        }
        for name, run in live.items()
    }
    left = [child.name() for child in psutil.Process().children(recursive=True)]
    result = {"runs": result, "left": left, "closed": sampler._llm is None, "prompts": [len(p) for p in prompts]}
    Path(out).write_text(json.dumps(result))
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three policies on one engine, in a process and a group of their own; the group's survivors are counted."""
    folder = tmp_path_factory.mktemp("live")
    shutil.copytree(POOL, folder / "pool")
    (folder / "script.py").write_text(_SCRIPT)
    arguments = [str(MODEL), "pool", "out.json", str(MAX_NUM_SEQS), json.dumps(GRID), str(LEVEL)]
    _, survivors = run_alone([sys.executable, "script.py", *arguments], folder)
    return {**json.loads((folder / "out.json").read_text()), "survivors": survivors}


@pytest.mark.parametrize("name", ["fixed", "own", "asc"])
def test_live_agrees_with_replay(ran: dict[str, Any], name: str) -> None:
    found = ran["runs"][name]["agreement"]
    num = len(ran["runs"][name]["questions"])
    assert assert_agrees(found["accuracy_difference"], LEVEL, num) < 0.4, "what allows everything proves nothing"
    assert_agrees(found["generated_tokens_difference"], LEVEL, num)


@pytest.mark.parametrize("name", ["fixed", "own", "asc"])
def test_every_sample_is_charged(ran: dict[str, Any], name: str) -> None:
    """The tokens that questions are charged are those that the engine says it has generated."""
    run = ran["runs"][name]
    assert sum(row["generated_tokens"] for row in run["questions"]) == run["engine"]["generated_tokens"]
    assert all(row["generated_tokens"] >= row["samples"] >= 1 for row in run["questions"])
    assert [row["prompt_tokens"] for row in run["questions"]] == ran["prompts"]
    assert run["totals"]["samples"] == sum(row["samples"] for row in run["questions"])


def test_questions_get_their_budgets_in_one_request(ran: dict[str, Any]) -> None:
    fixed, own = (ran["runs"][name]["questions"] for name in ("fixed", "own"))
    assert [row["samples"] for row in fixed] == [5] * len(fixed)
    assert [row["samples"] for row in own] == [GRID[index % len(GRID)] for index in range(len(own))]
    for row in (*fixed, *own):
        assert row["rounds"] == 1
        assert row["peak"] == row["samples"]


def test_a_sequential_rule_proceeds_in_rounds(ran: dict[str, Any]) -> None:
    run = ran["runs"]["asc"]
    samples = [row["samples"] for row in run["questions"]]
    # Four equal answers convince it (1 - 2^-5 > 0.95); twelve are the cap.
    assert min(samples) == 4
    assert max(samples) == 12
    for row in run["questions"]:
        assert (row["rounds"] == 1) == (row["samples"] == 4)
        assert row["peak"] <= row["samples"]
    assert run["totals"]["rounds_per_question"] == pytest.approx(run["replayed"]["rounds"], rel=0.3)
    assert sum(samples) / len(samples) == pytest.approx(run["replayed"]["samples"], rel=0.3)


@pytest.mark.parametrize("name", ["fixed", "own", "asc"])
def test_engine_facts(ran: dict[str, Any], name: str) -> None:
    run = ran["runs"][name]
    engine = run["engine"]
    assert engine["max_num_seqs"] == MAX_NUM_SEQS
    # More samples than that wait from the first moment.
    assert engine["peak_running"] == MAX_NUM_SEQS
    assert 0 < engine["peak_kv_use"] < 1
    assert engine["peak_kv_use"] * engine["kv_cache_tokens"] <= MAX_NUM_SEQS * (max(ran["prompts"]) + 128 + BLOCK)
    lookups = [(row["samples"], prompt) for row, prompt in zip(run["questions"], ran["prompts"], strict=True)]
    assert engine["prefix_queries"] == sum(samples * prompt for samples, prompt in lookups)
    # Of a prompt of 33 tokens its one full block is shared by all samples but the first; the cache was cold.
    assert engine["prefix_hits"] == sum(BLOCK * (samples - 1) for samples, prompt in lookups if prompt > BLOCK)
    assert engine["prefix_hit_rate"] > 0
    assert run["totals"]["seconds"] > 0


def test_no_process_is_left_behind(ran: dict[str, Any]) -> None:
    assert ran["closed"]
    assert ran["left"] == []
    assert ran["survivors"] == []
