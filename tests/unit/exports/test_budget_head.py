"""What an export decides, and what it refuses to decide."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exports import (
    ASC,
    FINGERPRINT,
    HEADS,
    NO_HEAD,
    SHAPE,
    VOTES,
    edit_config,
    features,
    randomised,
    record_of,
    save,
    save_without,
)

from t2 import BudgetHead, T2Error
from t2.heads import CurveHead, OrdinalHead
from t2.policies import FixedN, PredictedN, Utility
from t2.policies.record import PolicyRecord
from t2.policies.rules import GreedyAnswer
from t2.policies.stoppers import StopInputs


def test_without_a_policy_the_largest_constant_is_recorded(tmp_path: Path) -> None:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    record = {k: v for k, v in record_of(head, {}).items() if k != "policy"}
    loaded = BudgetHead.from_pretrained(save(head, record, tmp_path))
    assert (loaded.budgets(features()) == 7).all()


def test_loading_imports_nothing_heavy(folder: Path) -> None:
    script = (
        "import sys, torch, t2\n"
        f"head = t2.BudgetHead.from_pretrained({str(folder)!r})\n"
        "head.budgets(torch.zeros(2, 3, 16))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(re.findall(r"'([^']+)'", done.stdout))
    assert not loaded & {"lightning", "transformers", "vllm", "peft", "datasets", "wandb", "matplotlib", "jsonargparse"}


def test_policy_that_needs_a_curve_on_a_head_without_one(tmp_path: Path) -> None:
    head = randomised(OrdinalHead(SHAPE))
    folder = save(head, record_of(head, {"name": "Utility", "arguments": {"price": 1.0}}), tmp_path)
    with pytest.raises(T2Error, match="Expected a head that predicts a curve"):
        BudgetHead.from_pretrained(folder).budgets(features())


@pytest.mark.parametrize("shape", [(2, 2, 16), (2, 3, 8), (3, 16)])
def test_features_of_another_model(folder: Path, shape: tuple[int, ...]) -> None:
    head = BudgetHead.from_pretrained(folder)
    message = r"Expected features of 3 layers x 16 \(layers \[4, 8, 12\] of org/model\), got shape " + re.escape(
        str(shape)
    )
    with pytest.raises(T2Error, match=message):
        head.budgets(torch.zeros(shape))


def test_activations_go_where_the_head_is(folder: Path) -> None:
    """Those that an LLM had made on a GPU ended in a traceback."""
    head = BudgetHead.from_pretrained(folder)
    head.head.to("meta")
    assert head.raws(features()).device.type == "meta"


def test_model_fingerprint(folder: Path) -> None:
    head = BudgetHead.from_pretrained(folder)
    head.check_model(FINGERPRINT)
    with pytest.raises(T2Error, match=r"Expected the model org/model \(f{12}\.\.\.\), got another \(0{12}\.\.\.\)"):
        head.check_model("0" * 64)


@pytest.mark.parametrize("policy", [FixedN(9), PredictedN(-0.5), Utility(2.5)])
def test_policies_are_their_recorded_knobs(policy: FixedN | PredictedN | Utility) -> None:
    again = PolicyRecord.of(policy).policy()
    assert type(again) is type(policy)
    assert vars(again) == vars(policy)


def test_an_older_head_knows_nothing_of_questions_and_calibration(folder: Path) -> None:
    loaded = BudgetHead.from_pretrained(folder)
    assert not loaded.records_seen
    assert loaded.seen == frozenset()
    assert not loaded.has_seen("abc")
    assert loaded.calibration is None


@pytest.mark.parametrize("policy", [NO_HEAD, ASC], ids=["votes", "nothing"])
def test_a_folder_without_weights_decides(policy: dict[str, Any], tmp_path: Path) -> None:
    """Over an earlier export with weights, of which nothing may stay; the votes say how sure an answer is."""
    make, own = HEADS["CurveHead"]
    save(head := randomised(make()), record_of(head, own), tmp_path / "export")
    folder = save_without(policy, tmp_path / "export")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "votes.safetensors"]
    loaded = BudgetHead.from_pretrained(folder)
    assert not loaded.has_weights
    assert not loaded.reads_activations
    assert loaded.grid == SHAPE.grid
    rules = loaded.rules(3)
    table = loaded.policy.rule(StopInputs(votes=VOTES)).table  # type: ignore[union-attr]  # it is a stopping rule
    assert [rule.extra([]) for rule in rules] == [table.extra(0, 0, 0, 0)] * 3
    assert rules[0].extra(["a", "b", "a"]) == table.extra(0, 3, 2, 1)
    assert rules[0].extra(["a"] * 7) == 0
    assert [rule.extra([]) for rule in loaded.rules(features(3))] == [rule.extra([]) for rule in rules]
    for use in (lambda: loaded.predict(features()), lambda: loaded.plans(features(), 1.0), lambda: loaded.head):
        with pytest.raises(T2Error, match=f"Expected an export with a head, got one that decides by {policy['name']}"):
            use()
    with pytest.raises(T2Error, match=r"Expected a policy that decides beforehand, got .*Use `rules`"):
        loaded.budgets(features())
    card = (folder / "README.md").read_text()
    assert f"# {policy['name']}, no head, for org/model" in card
    assert "(rule,) = head.rules(1)" in card


def test_one_round_heads_give_rules_too(folder: Path) -> None:
    loaded = BudgetHead.from_pretrained(folder)
    budgets, rules = loaded.budgets(features()), loaded.rules(features())
    assert [rule.extra([]) for rule in rules] == budgets.tolist()
    assert all(rule.extra(["a"] * int(n)) == 0 for rule, n in zip(rules, budgets, strict=True))
    assert [isinstance(rule, GreedyAnswer) for rule in rules] == [n == 1 for n in budgets.tolist()]
    with pytest.raises(T2Error, match=r"Expected the activations of 3 questions for Utility.*, got their number"):
        loaded.rules(3)


def test_a_head_that_never_saw_greedy_answers_serves_none(folder: Path) -> None:
    """Its decision and its promise are about one random answer."""
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, labels={**config["labels"], "first": "sampled"})
    loaded = BudgetHead.from_pretrained(folder)
    assert not loaded.is_greedy_first
    assert 1 in loaded.budgets(features()).tolist()
    assert not any(isinstance(rule, GreedyAnswer) for rule in loaded.rules(features()))


def test_numbers_of_questions_that_are_none(tmp_path: Path) -> None:
    loaded = BudgetHead.from_pretrained(save_without(ASC, tmp_path / "head"))
    assert loaded.rules(0) == []
    for number in (-1, True):
        with pytest.raises(T2Error, match=f"Expected a number of questions from 0 on, got {number}"):
            loaded.rules(number)


def test_a_cap_beyond_the_head_s_budgets_is_refused(tmp_path: Path) -> None:
    folder = save_without(ASC, tmp_path / "head")
    edit_config(folder, policy={"name": "ASC", "arguments": {"cap": 500, "threshold": 0.9}})
    with pytest.raises(
        T2Error, match=r"Expected a policy up to 7 samples, the head's largest budget, got ASC\(cap=500"
    ):
        BudgetHead.from_pretrained(folder)
