"""`t2 evaluate` on scripted answers: brute force of the exported setting, live runs, refusals by words."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import torch
import yaml
from helpers.judged_heads import GRID, MODEL, NUM_QUESTIONS, PRICE, SAMPLES, SEEN, TOKENS, MakeHead, World, fails
from helpers.live_agreement import assert_agrees
from helpers.signals import handlers_come_back

import t2.judging.command
import t2.judging.questions
from t2.activations.cache import FeatureSpec
from t2.activations.features import computed
from t2.budget_head import BudgetHead
from t2.cli import main
from t2.errors import T2Error
from t2.judging.agreement import joint_level
from t2.policies import ASC, Orders
from t2.pools.load import LoadedPool
from t2.sampling import ScriptedSampler


@pytest.fixture
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold seed 0 alone: a third of the time."""
    for module in (t2.judging.command, t2.judging.questions):
        monkeypatch.setattr(module, "FOLD_SEEDS", (0,))


# What it says


def majority_of(votes: list[str | None], gold: str) -> float:
    """Expected correctness of a vote, ties shared: the definition, counted out."""
    counts = Counter(vote for vote in votes if vote is not None)
    top = max(counts.values(), default=0)
    winners = [name for name, count in counts.items() if count == top]
    return (gold in winners) / len(winners) if winners else 0.0


def brute_force(loaded: LoadedPool, head: BudgetHead, seen: list[str]) -> tuple[float, float, int]:
    """Accuracy and tokens of the exported setting by enumerating every subset of every question's samples."""
    rows = [row for row, key in enumerate(loaded.pool.dedup_keys) if key not in seen]
    spec = FeatureSpec(loaded.spec.model["fingerprint"], head.layers)
    pooled_QLD = computed(MODEL, [loaded.prompts[row] for row in rows], spec)
    prediction = head.predict(pooled_QLD)
    assert prediction.accuracy_BK is not None
    correct, tokens = [], []
    for index, row in enumerate(rows):
        cost = float(prediction.log_tokens_B[index].double().exp())
        utility = [100 * float(prediction.accuracy_BK[index, k]) - PRICE * n * cost / 1000 for k, n in enumerate(GRID)]
        n = GRID[utility.index(max(utility))]
        right = loaded.pool.right_QM[row].tolist()
        votes = [
            "gold" if ok else None if vote < 0 else f"{vote}"
            for vote, ok in zip(loaded.pool.vote_QM[row].tolist(), right, strict=True)
        ]
        if n == 1:  # one answer is the greedy one
            correct.append(float(loaded.pool.greedy_right_Q[row]))
            tokens.append(int(loaded.pool.greedy_tokens_Q[row]))
            continue
        subsets = [majority_of([votes[s] for s in chosen], "gold") for chosen in combinations(range(SAMPLES), n)]
        correct.append(sum(subsets) / len(subsets))
        tokens.append(n * TOKENS)
    return 100 * sum(correct) / len(correct), sum(tokens) / len(tokens), len(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("one_seed", "few_settings")
def test_the_exported_setting_against_brute_force_on_questions_that_were_not_learned_from(
    world: World, head: Path, seen_keys: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--grader", "numeric", "--proxy", str(MODEL), "--out", str(tmp_path / "out")]
    main(["evaluate", str(head), str(world.pool), *options])
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    accuracy, tokens, rows = brute_force(world.loaded(), BudgetHead.from_pretrained(head), seen_keys)
    exported = found["as_exported"]
    assert (found["num_questions"], found["left_out"]) == (rows, SEEN) == (NUM_QUESTIONS - SEEN, SEEN)
    assert exported["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-9)
    assert exported["tokens"]["value"] == pytest.approx(tokens, abs=1e-9)
    assert exported["accuracy"]["low"] < accuracy < exported["accuracy"]["high"]
    assert sum(exported["budget_shares"].values()) == pytest.approx(1)
    assert len([share for share in exported["budget_shares"].values() if share]) > 1
    loss = 100 * exported["promise"]["loss"]["value"]
    fixed = brute_fixed(world.loaded(), seen_keys, 5)
    assert loss == pytest.approx(fixed - accuracy, abs=1e-9)
    names = {row["name"] for row in found["rows"]}
    assert {"FixedN(N_ref)", "CurveHead + HeadThenStop", "TF-IDF ridge + bins + Utility", "ASC"} <= names
    assert "generator difficulty + bins + Utility" in names
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert page.index("As exported") < page.index("Accuracy against tokens") < page.index("All contenders")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert f"{SEEN} questions that the head has learned from are left out." in text
    assert "| Utility(price=60.0), as exported |" in text
    shown = " ".join(capsys.readouterr().out.split())
    assert "Promise: loses less than 2 points against FixedN(5)" in shown
    assert f"Note: {SEEN} of {NUM_QUESTIONS} questions are left out" in shown
    for name in ("report.md", "report.json", "index.html", "frontier.png"):
        assert (tmp_path / "out" / name).is_file()
    key = (tmp_path / "out" / "key.md").read_text(encoding="utf-8")
    assert text.startswith(key)
    assert "| best one-round head |" in key
    assert "| claim |" not in key


@pytest.mark.slow
@pytest.mark.usefixtures("one_seed", "few_settings")
def test_an_export_without_a_head_is_judged_too(
    world: World, make_head: MakeHead, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads no activations, so neither LLM nor features are looked for; live it asks round by round."""
    export = make_head(policy={"name": "ASC", "arguments": {"cap": 5, "threshold": 0.8}})
    assert not (export / "model.safetensors").exists()
    options = ["--out", str(tmp_path / "out"), "--features", str(tmp_path / "nowhere"), "--live", "20"]
    main(["evaluate", str(export), str(world.config), *options])
    found = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    loaded = world.loaded()
    replay = ASC(0.8, 5).replay(Orders.of(loaded.pool, 32, seed=0))
    exported = found["as_exported"]
    assert exported["policy"] == "ASC(cap=5, threshold=0.8)"
    assert exported["accuracy"]["value"] == pytest.approx(100 * float(replay.correct.mean()))
    assert exported["tokens"]["value"] == pytest.approx(float(replay.generated_tokens.mean()))
    assert exported["rounds"] == pytest.approx(float(replay.rounds.mean()))
    assert exported["budget_shares"] is None
    assert not any(row["name"].startswith("CurveHead") for row in found["rows"])
    live = json.loads((tmp_path / "out" / "live.json").read_text(encoding="utf-8"))["policies"]
    assert [name.split("(")[0] for name in live] == ["Greedy", "ASC", "FixedN", "ASC"]
    assert live["ASC(cap=5, threshold=0.8), as exported"]["totals"]["rounds_per_question"] > 1
    assert f"It waits {exported['rounds']:.2f} rounds a question." in (tmp_path / "out" / "report.md").read_text()
    capsys.readouterr()


def brute_fixed(loaded: LoadedPool, seen: list[str], n: int) -> float:
    """Accuracy of FixedN, percent, by enumeration."""
    total, count = 0.0, 0
    for row, key in enumerate(loaded.pool.dedup_keys):
        if key in seen:
            continue
        votes = [
            "gold" if ok else None if vote < 0 else f"{vote}"
            for vote, ok in zip(loaded.pool.vote_QM[row].tolist(), loaded.pool.right_QM[row].tolist(), strict=True)
        ]
        subsets = [majority_of([votes[s] for s in chosen], "gold") for chosen in combinations(range(SAMPLES), n)]
        total, count = total + sum(subsets) / len(subsets), count + 1
    return 100 * total / count


# Live


@pytest.mark.slow
@pytest.mark.usefixtures("one_seed", "few_settings")
def test_live_through_the_command_line(
    world: World, head: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(head), str(world.config), "--out", str(tmp_path / "out"), "--live", "20"])
    found = json.loads((tmp_path / "out" / "live.json").read_text(encoding="utf-8"))
    assert found["fitted_on"] == NUM_QUESTIONS - SEEN - 20 == 40
    names = list(found["policies"])
    assert names[:2] == ["Greedy", "Utility(price=60.0), as exported"]
    assert [name.split("(")[0] for name in names[2:]] == ["FixedN", "ASC", "HeadThenStop"]
    asked_ids = [row["id"] for row in found["policies"]["Greedy"]["questions"]]
    for row in found["policies"].values():
        assert row["totals"]["questions"] == 20
        assert [each["id"] for each in row["questions"]] == asked_ids
        assert row["engine"] is None
        # Scripted answers and the pool's come from one distribution. 95% intervals would miss it now and then: which
        # samples a rule asks for depends on settings, so that a change elsewhere is a new draw in spite of the seeds.
        for part in ("accuracy_difference", "generated_tokens_difference"):
            assert_agrees(row["agreement"][part], joint_level(len(names)), 20)
    greedy = found["policies"]["Greedy"]
    assert greedy["totals"]["accuracy"] == greedy["replayed"]["correct"]
    assert greedy["totals"]["samples"] == 20
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Live on the engine" in page
    shown = capsys.readouterr().out
    assert "Live, 20 questions" in shown
    assert "live: Greedy, 20 samples in" in shown


def test_the_engine_has_all_threads(world: World, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison's one thread was set before the engine started: live runs had one core."""
    seen, before, opened = [], torch.get_num_threads(), ScriptedSampler.open

    def instead_of_comparing(*args: object) -> None:
        assert torch.get_num_threads() == 1
        raise T2Error("enough seen")

    def watched(self: ScriptedSampler, model_folder: str, engine_seed: int) -> None:
        seen.append(torch.get_num_threads())
        opened(self, model_folder, engine_seed)

    monkeypatch.setattr(ScriptedSampler, "open", watched)
    monkeypatch.setattr(t2.judging.command, "compared", instead_of_comparing)
    torch.set_num_threads(2)
    try:
        with pytest.raises(SystemExit):
            main(["evaluate", str(head), str(world.config), "--out", str(tmp_path / "out"), "--live", "20"])
        assert seen == [2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--live", "-1"), "at least 20 questions, got -1"),
        (("--live", "19"), "at least 20 questions, got 19"),
        (("--live", "20", "--grader", "exact"), "`--live` without `--grader`"),
        (("--min_samples", "0"), "`min_samples`"),
        (("--grader", "no-such"), "no-such"),
    ],
)
def test_options_that_do_not_fit(
    world: World, head: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], named: str
) -> None:
    assert named in fails(capsys, head, world.config, *options)


def test_a_pool_folder_cannot_run_live(world: World, head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = fails(capsys, head, world.pool, "--live", "20")
    assert "Expected a config with `--live`" in error
    assert str(world.pool) in error


def test_missing_vllm_is_said_before_anything_is_compared(
    world: World, head: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr("t2.sampling.vllm_sampler.set_environment", lambda *_, **__: None)
    monkeypatch.setattr("t2.judging.command.compare", None)
    config = yaml.safe_load(world.config.read_text(encoding="utf-8"))
    config["data"]["pool"]["sampler"] = {"class_path": "VLLMSampler", "init_args": {"max_tokens": TOKENS}}
    (tmp_path / "vllm.yaml").write_text(yaml.safe_dump(config))
    error = fails(capsys, head, tmp_path / "vllm.yaml", "--live", "20", "--out", tmp_path / "out")
    assert "pip install 't2-budget[vllm]'" in error


def test_live_that_is_interrupted_says_which_policies_have_run(
    world: World, head: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was a traceback of the engine, and nobody knew of `live.json`."""
    runs = []

    def end_at_the_second_run(sampler: ScriptedSampler) -> None:
        runs.append(sampler)
        if len(runs) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ScriptedSampler, "cool", end_at_the_second_run)
    command = ["evaluate", str(head), str(world.config), "--live", "20", "--out", str(tmp_path)]
    with handlers_come_back(), pytest.raises(SystemExit, match="143"):
        main(command)
    words = r"Interrupted: 1 of (\d+) policies have run, (.*) has them\. Again: t2 (.*)\n"
    line = re.fullmatch(words, capsys.readouterr().err)
    assert line
    assert (Path(line[2]), line[3].split()) == (tmp_path / "live.json", command)
    assert len(json.loads((tmp_path / "live.json").read_text())["policies"]) == 1 < int(line[1])


# Bad heads and pools


@pytest.mark.parametrize("live", [(), ("--live", "20")])
def test_a_total_that_is_out_of_reach_is_said_before_anything_is_run_or_compared(
    world: World,
    make_head: MakeHead,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    live: tuple[str, ...],
) -> None:
    """What the head chooses was asked last: minutes of comparison, and no report."""
    monkeypatch.setattr("t2.judging.command.compare", None)
    monkeypatch.setattr("t2.judging.command.run_live", None)
    poor = make_head(policy={"name": "BatchBudget", "arguments": {"tokens_per_question": 0.5}})
    error = fails(capsys, poor, world.config, "--out", tmp_path / "out", *live)
    assert f"predicted tokens, the cheapest budget for each of {NUM_QUESTIONS} questions, got 45." in error
    assert "BatchBudget(tokens_per_question=0.5)" in error
    assert not (tmp_path / "out").exists()


def test_a_head_that_is_none(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "exported head, got 'no/such-head'" in fails(capsys, "no/such-head", world.config)
    assert "exported head with config.json" in fails(capsys, world.pool, world.config)
    (tmp_path / "config.json").write_text("{}")
    assert "Expected t2-head version 2" in fails(capsys, tmp_path, world.config)


def test_a_pool_that_is_none(head: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such file or folder" in fails(capsys, head, tmp_path / "nothing")
    assert "Expected a pool, got no" in fails(capsys, head, tmp_path)


@pytest.mark.parametrize(
    "args", [[], ["head"], ["head", "pool", "--no-such-option", "1"], ["head", "pool", "--live", "x"]]
)
def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *args])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
