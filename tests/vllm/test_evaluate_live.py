"""`t2 evaluate --live` on a real engine, end to end: the embedded LLM, its committed pool, a head exported by hand."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.live_agreement import assert_agrees
from helpers.own_group import ROOT, run_alone

from t2.curves.labels import budget_labels
from t2.export import key_digest, save_head
from t2.head_record import HeadRecord
from t2.heads import HeadShape, PriorHead
from t2.heads.base import targets_of
from t2.judging.agreement import joint_level
from t2.pools.load import load_pool
from t2.store.pool_spec import read_spec
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths

pytestmark = pytest.mark.vllm

MODEL, POOL = ROOT / "assets" / "tiny-arith", ROOT / "assets" / "pools" / "tiny-arith"
GRID, NUM_EVALUATED, NUM_LIVE, MAX_NUM_SEQS = (1, 3, 5, 9), 110, 60, 32
_SCRIPT = """
import sys
from dataclasses import replace
from functools import partial

from t2.cli import main
from t2.comparison.sweeps import Sweeps
from t2.judging import command

if __name__ == "__main__":
    command.FOLD_SEEDS = (0,)
    # The comparison has tests of its own.
    few = Sweeps(prices=(1.0, 10.0), plan_prices=(3.0,), round_prices=(0.0, 0.5), totals=(0.0, 1.0), num_orders=4)
    few = replace(few, num_resamples=100, num_rank_resamples=100)
    command.evaluate_head = partial(command.evaluate_head, sweeps=few)
    main(sys.argv[1:])
"""


def export_head(folder: Path) -> None:
    """A head that plans rounds, with random weights over the answer distributions of the committed questions.

    It has learned from all but `NUM_EVALUATED` of them, says its record.
    """
    spec, generator = read_spec(PoolPaths(POOL)), torch.Generator().manual_seed(1)
    pool = load_pool(ROOT / "configs" / "tiny-arith.yaml").pool.take(range(200))
    shape = HeadShape(4, spec.model["width"], GRID, (1, 3))
    torch.manual_seed(0)
    head = PriorHead(shape, num_atoms=8, components=8, hidden=8, members=1)
    pooled_QLD = torch.randn(len(pool), 4, shape.width, generator=generator)
    head.start_stage(pooled_QLD, targets_of(budget_labels(pool, GRID, 0.02), pool))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    keys = sorted({question.dedup_key for question in read_questions(PoolPaths(POOL))[0]})
    record = {
        **HeadRecord.of(head).as_json(),
        "base_model": {name: spec.model[name] for name in ("id", "revision", "fingerprint")},
        "features": {
            "model_fingerprint": spec.model["fingerprint"],
            "layers": [1, 2, 3, 4],
            "pooling": "last-token",
        },
        "prompt": spec.prompt,
        "sampling": spec.sampling,
        "labels": {"eps": 0.02, "cost_unit": "tokens"},
        "policy": {"name": "HeadThenStop", "arguments": {"cap": 9, "price": 3.0, "round_price": 0.3}},
        "metrics": {"n_ref": 9},
        "seen_questions": [key_digest(key) for key in keys[NUM_EVALUATED:]],
    }
    save_head(head.eval(), HeadRecord.from_json(record, "the test"), folder)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The command in a process and a group of its own; the group's survivors are counted."""
    folder = tmp_path_factory.mktemp("evaluate")
    shutil.copytree(POOL, folder / "pool")
    export_head(folder / "head")
    config = yaml.safe_load((ROOT / "configs" / "tiny-arith.yaml").read_text(encoding="utf-8"))
    config["data"]["pool"] |= {"path": str(folder / "pool"), "model": str(MODEL), "engine_seed": 7}
    config["data"]["pool"]["sampler"]["init_args"] |= {"kv_cache_gib": 0.25, "max_num_seqs": MAX_NUM_SEQS}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "script.py").write_text(_SCRIPT, encoding="utf-8")
    command = ["evaluate", "head", "config.yaml", "--out", "out", "--live", str(NUM_LIVE)]
    output, survivors = run_alone([sys.executable, "script.py", *command], folder)
    return {
        "live": json.loads((folder / "out" / "live.json").read_text(encoding="utf-8")),
        "report": json.loads((folder / "out" / "report.json").read_text(encoding="utf-8")),
        "page": (folder / "out" / "index.html").read_text(encoding="utf-8"),
        "output": output,
        "survivors": survivors,
    }


def test_every_contender_ran_live_and_agrees_with_its_replay(ran: dict[str, Any]) -> None:
    policies = ran["live"]["policies"]
    kinds = [name.split("(")[0] for name in policies]
    assert kinds == ["Greedy", "HeadThenStop", "FixedN", "ASC", "HeadThenStop"]
    (own,) = [row for name, row in policies.items() if name.endswith("as exported")]
    rounds = own["totals"]["rounds_per_question"]
    assert 1 < rounds < 9, "planned rounds wait more than once, and not after each sample"
    assert rounds == pytest.approx(own["replayed"]["rounds"], abs=0.4)
    for row in policies.values():
        assert row["totals"]["questions"] == NUM_LIVE
        assert set(row["agreement"]) == {"accuracy_difference", "generated_tokens_difference", "holds"}
        parts = [row["agreement"][key] for key in ("accuracy_difference", "generated_tokens_difference")]
        assert row["agreement"]["holds"] == all(part["low"] <= 1e-9 and part["high"] >= -1e-9 for part in parts)
        allowed = [assert_agrees(part, joint_level(len(policies)), NUM_LIVE) for part in parts]
        assert allowed[0] < 0.4, "what allows everything proves nothing"
        difference = row["totals"]["accuracy"] - row["replayed"]["correct"]
        assert parts[0]["value"] == pytest.approx(difference)


def test_engine_facts_are_measured(ran: dict[str, Any]) -> None:
    for row in ran["live"]["policies"].values():
        engine = row["engine"]
        assert engine["generated_tokens"] == sum(each["generated_tokens"] for each in row["questions"])
        assert 0 < engine["peak_running"] <= MAX_NUM_SEQS
        assert 0 < engine["peak_kv_use"] < 1
        assert row["totals"]["seconds"] > 0


def test_the_page_and_the_terminal_show_both(ran: dict[str, Any]) -> None:
    assert ran["report"]["num_questions"] >= NUM_EVALUATED
    others = ran["report"]["num_questions"] - NUM_LIVE
    assert others - 2 <= ran["live"]["fitted_on"] <= others, "what shares a key with a live question fits nothing"
    for heading in ("As exported", "Live on the engine", "All contenders"):
        assert heading in ran["page"]
    assert f"Live, {NUM_LIVE} questions" in ran["output"]
    assert "as exported" in ran["output"]


def test_no_process_is_left_behind(ran: dict[str, Any]) -> None:
    assert ran["survivors"] == []
