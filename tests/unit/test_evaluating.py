"""`t2 evaluate` on scripted answers: brute force of the exported setting, what is left out, refusals by words."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
import yaml

import t2.evaluating.command
import t2.evaluating.questions
from t2.activations.cache import FeatureCache, FeatureSpec
from t2.activations.features import computed, pooled_features
from t2.cli import main
from t2.errors import T2Error
from t2.evaluating.questions import HeadQuestions, load_questions
from t2.export import BudgetHead, key_digest, save_head
from t2.heads import CurveHead, HeadShape
from t2.heads.base import Targets
from t2.heads.record import head_record
from t2.importing import import_file
from t2.labelling.job import run as label
from t2.loading import LoadedPool, load_pool
from t2.model_files import resolve_model
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.tasks import JsonlTask

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "assets" / "tiny-arith"
NUM_QUESTIONS, SAMPLES, TOKENS = 90, 8, 25
GRID = (1, 3, 5, 8)
SEEN = 30
PRICE = 60.0
"""Points per 1,000 tokens: a random head's budgets differ."""


@dataclass(frozen=True)
class World:
    """A finished pool of scripted answers, its config, and its questions."""

    folder: Path
    config: Path

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    def loaded(self) -> LoadedPool:
        return load_pool(self.config)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Questions from sure to hopeless; 25 tokens each answer."""
    folder = tmp_path_factory.mktemp("world")
    answers, lines = {}, []
    for index in range(NUM_QUESTIONS):
        a, b = 10 + index, 3 + index % 7
        right = (index % 5) / 4
        script = {f"####{a + b}": right, f"####{a - b}": (1 - right) * 0.7, "": (1 - right) * 0.3}
        answers[f"q{index}"] = {text: p for text, p in script.items() if p > 0}
        row = {"id": f"q{index}", "question": f"{a}+{b}", "answer": str(a + b), "dedup_key": f"{a} {b}", "family": "f"}
        lines.append(json.dumps(row))
    (folder / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    sampler = {"answers": answers, "tokens_per_answer": TOKENS}
    pool = {
        "path": str(folder / "pool"),
        "model": str(MODEL),
        "task": {"class_path": "JsonlTask", "init_args": {"path": str(folder / "questions.jsonl")}},
        "sampler": {"class_path": "ScriptedSampler", "init_args": sampler},
        "samples_per_question": SAMPLES,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"pool": pool}}), encoding="utf-8")
    task = JsonlTask(str(folder / "questions.jsonl"))
    job = LabelJob(pool["path"], pool["model"], task, ScriptedSampler(**sampler), samples_per_question=SAMPLES)
    label(job, SplitFractions())
    return World(folder, folder / "config.yaml")


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


MakeHead = Callable[..., Path]


@pytest.fixture(scope="module")
def make_head(world: World, tmp_path_factory: pytest.TempPathFactory) -> MakeHead:
    """An exported head with random weights that reads the embedded LLM."""
    spec = world.loaded().spec

    def make(layers: tuple[int, ...] = (1, 2, 3, 4), grid: tuple[int, ...] = GRID, **record: Any) -> Path:
        shape = HeadShape(len(layers), spec.model["width"], grid, (1, 3))
        torch.manual_seed(0)
        head, generator = CurveHead(shape, num_atoms=6), torch.Generator().manual_seed(2)
        pooled_QLD = torch.randn(20, len(layers), shape.width, generator=generator)
        acc, fold = torch.rand(20, len(grid), generator=generator).sort(1).values, torch.arange(20) % 2
        head.start_stage(pooled_QLD, Targets(acc, fold, fold == 0, torch.full((20,), 3.2), fold))
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        base = {name: spec.model[name] for name in ("id", "revision", "fingerprint")}
        reads = {"model_fingerprint": spec.model["fingerprint"], "layers": list(layers), "pooling": "last-token"}
        config = {
            **head_record(head),
            "base_model": base,
            "features": reads,
            "prompt": spec.prompt,
            "sampling": spec.sampling,
            "labels": {"eps": 0.02, "cost_unit": "tokens"},
            "policy": {"name": "Utility", "arguments": {"price": PRICE}},
            "metrics": {"n_ref": 5},
        }
        return save_head(head.eval(), {**config, **record}, tmp_path_factory.mktemp("head") / "head")

    return make


@pytest.fixture(scope="module")
def seen_keys(world: World) -> list[str]:
    return list(world.loaded().pool.dedup_keys[:SEEN])


@pytest.fixture(scope="module")
def head(make_head: MakeHead, seen_keys: list[str]) -> Path:
    """A head that says which questions it has learned from and makes a promise."""
    record = {"status": "calibrated", "form": "reference", "n_ref": 5, "alpha": 0.02, "delta": 0.1, "promise": "."}
    calibration = {**record, "settings": [{}], "p_values": [0.01], "chosen": 0}
    return make_head(seen_questions=[key_digest(key) for key in seen_keys], calibration=calibration)


@pytest.fixture
def one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fold seed 0 alone: a third of the time."""
    for module in (t2.evaluating.command, t2.evaluating.questions):
        monkeypatch.setattr(module, "FOLD_SEEDS", (0,))


def fails(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """Runs `t2 evaluate`, which must end with exit code 2 and one line; gives that line."""
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, args)])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("error: ")
    assert len(error.strip().split("\n")) == 1
    return error


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
    pooled_QLD = computed(MODEL, [loaded.prompts[row] for row in rows], spec).bfloat16().float()
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
        subsets = [majority_of([votes[s] for s in chosen], "gold") for chosen in combinations(range(SAMPLES), n)]
        correct.append(sum(subsets) / len(subsets))
        tokens.append(n * TOKENS)
    return 100 * sum(correct) / len(correct), sum(tokens) / len(tokens), len(rows)


@pytest.mark.slow
@pytest.mark.usefixtures("one_seed")
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


def asked(head: Path, source: Path, **options: Any) -> HeadQuestions:
    return load_questions(BudgetHead.from_pretrained(head), str(source), **options)


def test_questions_with_a_seen_key_are_left_out_whatever_their_id(
    world: World, head: Path, seen_keys: list[str]
) -> None:
    found = asked(head, world.config)
    assert not set(found.pool.dedup_keys) & set(seen_keys)
    assert [question.id for question in found.questions] == list(found.pool.question_ids)
    assert len(found.prompts) == len(found.pooled_QLD) == len(found.pool) == NUM_QUESTIONS - SEEN
    assert found.labels.acc_QK.shape == (NUM_QUESTIONS - SEEN, len(GRID))


def test_a_head_without_a_record_is_judged_on_everything_and_a_note_says_so(world: World, make_head: MakeHead) -> None:
    found = asked(make_head(), world.config)
    assert (len(found.pool), found.left_out) == (NUM_QUESTIONS, None)
    assert "no record of the questions it has learned from" in found.notes[0]


def test_too_few_questions_are_one_clear_error(
    world: World, make_head: MakeHead, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = world.loaded().pool.dedup_keys[: NUM_QUESTIONS - 39]
    known = make_head(seen_questions=[key_digest(key) for key in keys])
    error = fails(capsys, known, world.config, "--out", tmp_path / "out")
    assert (
        f"at least 40 questions that the head has not learned from, for 5 folds, got 39 and {len(keys)} that" in error
    )
    assert not (tmp_path / "out").exists()
    everything = make_head(seen_questions=[key_digest(key) for key in world.loaded().pool.dedup_keys])
    assert "got 0 and 90 that it has learned from" in fails(capsys, everything, world.config)


def test_a_grid_beyond_the_pool_is_cut_and_a_note_says_so(world: World, make_head: MakeHead) -> None:
    found = asked(make_head(grid=(1, 3, 5, 16)), world.config)
    assert found.labels.grid == (1, 3, 5)
    assert any("budgets go up to 16; this pool allows 5" in note for note in found.notes)
    with pytest.raises(T2Error, match=r"Expected at least 9 samples of every question.*got 8 in pool pool"):
        asked(make_head(grid=(1, 9)), world.config)


def test_what_differs_from_training_is_noted(world: World, make_head: MakeHead) -> None:
    spec = world.loaded().spec
    other = make_head(
        prompt={**spec.prompt, "fingerprint": "x"},
        sampling={**spec.sampling, "temperature": 0.7},
        labels={"cost_unit": "samples"},
    )
    notes = " ".join(asked(other, world.config).notes)
    assert "The prompt (template, system line or worked examples) is not the one" in notes
    assert "temperature 0.7 then, 1.0 here" in notes
    assert "The head's cost is in samples, this pool's in tokens" in notes


# Features


def test_a_wider_cache_serves_without_the_llm(
    world: World, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything, fewer = asked(make_head(), world.config), make_head(layers=(2, 4))
    monkeypatch.setattr("t2.activations.features.load_frozen", None)
    assert torch.equal(asked(fewer, world.config).pooled_QLD, everything.pooled_QLD[:, [1, 3]])


def test_features_are_computed_once_and_come_back_through_bfloat16(world: World, tmp_path: Path) -> None:
    loaded, calls = world.loaded(), []
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (2, 3))

    def find() -> Path:
        calls.append(1)
        return MODEL

    first = pooled_features(tmp_path, spec, loaded.prompts[:3], find)
    again = pooled_features(tmp_path, spec, loaded.prompts[:3], find)
    assert torch.equal(first, again)
    assert calls == [1]
    assert torch.equal(first, computed(MODEL, loaded.prompts[:3], spec).bfloat16().float())


@pytest.mark.parametrize("content", ["no json", "[1]", "{}", '{"layers": 3}'])
def test_a_foreign_index_is_no_cache(world: World, tmp_path: Path, content: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.json").write_text(content)
    loaded = world.loaded()
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (1,))
    assert pooled_features(tmp_path, spec, loaded.prompts[:2], lambda: MODEL).shape == (2, 1, 128)


def test_a_cache_of_another_model_is_not_used(world: World, tmp_path: Path) -> None:
    loaded = world.loaded()
    other = FeatureSpec("f" * 64, (1, 2))
    FeatureCache(tmp_path, other).store(loaded.prompts[:2], torch.zeros(2, 2, 128))
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (1,))
    assert bool(pooled_features(tmp_path, spec, loaded.prompts[:2], lambda: MODEL).any())


def test_neither_features_nor_the_llm_is_named(world: World, head: Path, tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"layers \[1, 2, 3, 4\] in .*none.*tiny-arith.*got neither.*`--proxy`"):
        asked(head, world.pool, grader="numeric", features=str(tmp_path / "none"))
    found = asked(head, world.pool, grader="numeric", features=str(tmp_path / "none"), proxy=str(MODEL))
    assert torch.equal(found.pooled_QLD, asked(head, world.config).pooled_QLD)


# Models


def test_a_pool_of_another_model_is_refused_and_the_difference_named(
    world: World, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"id": "org/other", "revision": None, "fingerprint": "a" * 64}
    reads = {"model_fingerprint": "a" * 64, "layers": [1, 2, 3, 4], "pooling": "last-token"}
    error = fails(capsys, make_head(base_model=base, features=reads), world.config)
    mine = world.loaded().spec.model["fingerprint"]
    assert f"a pool of org/other ({'a' * 12}...)" in error
    assert f"of tiny-arith ({mine[:12]}...)" in error
    error = fails(capsys, make_head(base_model=base, features=reads), world.config, "--proxy", MODEL)
    assert "got another" in error


def test_a_head_with_a_proxy_reads_it_on_samples_of_its_own_model(world: World, make_head: MakeHead) -> None:
    """The proxy here has the pool's tokens because it is the same LLM; the samples' model is what differs."""
    base = {"id": "some-api", "revision": None, "fingerprint": "b" * 64}
    mine = world.loaded().spec.model["fingerprint"]
    reads = {"model_fingerprint": mine, "layers": [1, 2, 3, 4], "pooling": "last-token", "model_id": str(MODEL)}
    api_head = make_head(base_model=base, features=reads)
    with pytest.raises(T2Error, match=r"Expected a pool of some-api .* got pool .* of tiny-arith"):
        asked(api_head, world.config)
    found = asked(api_head, world.config, proxy=str(MODEL))
    assert any("The samples are those of tiny-arith, the head learned from some-api's" in note for note in found.notes)


def test_samples_of_a_third_model_are_read_with_prompts_of_the_head_s_own(
    world: World, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token ids of another tokenizer mean nothing to the LLM that the head reads."""
    shutil.copytree(world.pool, tmp_path / "pool")
    spec = json.loads((tmp_path / "pool" / "pool.json").read_text())
    spec["model"] |= {"id": "third", "fingerprint": "d" * 64}
    (tmp_path / "pool" / "pool.json").write_text(json.dumps(spec))
    with pytest.raises(T2Error, match=r"Expected a pool of tiny-arith .* of third \(d{12}"):
        asked(head, tmp_path / "pool", grader="numeric")
    monkeypatch.setattr(t2.evaluating.questions, "render", lambda tokenizer, prompt, text: [1, 5, len(text)])
    found = asked(head, tmp_path / "pool", grader="numeric", proxy=str(MODEL))
    assert found.prompts == tuple((1, 5, len(question.text)) for question in found.questions)
    assert any("The samples are those of third" in note for note in found.notes)


@pytest.fixture
def imported(world: World, tmp_path: Path) -> Path:
    """The questions with answers from a file, and a few samples more of one question."""
    lines = []
    for index, question in enumerate(world.loaded().questions):
        answers = [question.answer] * (3 + index % 3) + [f"{s}" for s in range(5 - index % 3)]
        row = {"id": question.id, "question": question.text, "answer": question.answer, "dedup_key": question.dedup_key}
        lines.append(json.dumps({**row, "samples": [{"answer": a, "tokens": TOKENS} for a in answers]}))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    import_file(str(tmp_path / "samples.jsonl"), str(tmp_path / "imported"), model="some-api")
    return tmp_path / "imported"


def test_an_imported_pool_needs_the_head_s_llm(
    imported: Path, head: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Expected `--proxy` with the LLM that the head reads (tiny-arith)" in fails(capsys, head, imported)
    found = asked(head, imported, proxy=str(MODEL))
    assert torch.equal(found.pooled_QLD, asked(head, world.config).pooled_QLD)  # the same prompts, rendered again
    assert any("The samples are those of some-api" in note for note in found.notes)
    assert not any("prompt" in note and "trained with" in note for note in found.notes)


def test_another_proxy_than_the_head_s_is_refused(
    imported: Path, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = {"model_fingerprint": "c" * 64, "layers": [1, 2, 3, 4], "pooling": "last-token", "model_id": "org/proxy"}
    mine = resolve_model(str(MODEL)).fingerprint
    error = fails(capsys, make_head(features=reads), imported, "--proxy", MODEL)
    assert "c" * 12 in error
    assert mine[:12] in error


# Live


@pytest.mark.slow
@pytest.mark.usefixtures("one_seed")
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
        # Scripted answers and the pool's come from one distribution.
        assert row["agreement"]["holds"], row["agreement"]
    greedy = found["policies"]["Greedy"]
    assert greedy["totals"]["accuracy"] == greedy["replayed"]["correct"]
    assert greedy["totals"]["samples"] == 20
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Live on the engine" in page
    assert "Live, 20 questions" in capsys.readouterr().out


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
    monkeypatch.setattr("t2.sampling.vllm_sampler._set_environment", lambda: None)
    monkeypatch.setattr("t2.evaluating.command.compare", None)
    config = yaml.safe_load(world.config.read_text(encoding="utf-8"))
    config["data"]["pool"]["sampler"] = {"class_path": "VLLMSampler", "init_args": {"max_tokens": TOKENS}}
    (tmp_path / "vllm.yaml").write_text(yaml.safe_dump(config))
    error = fails(capsys, head, tmp_path / "vllm.yaml", "--live", "20", "--out", tmp_path / "out")
    assert "pip install 't2-budget[vllm]'" in error


# Bad heads and pools


def test_a_head_that_is_none(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "exported head, got 'no/such-head'" in fails(capsys, "no/such-head", world.config)
    assert "exported head with config.json" in fails(capsys, world.pool, world.config)
    (tmp_path / "config.json").write_text("{}")
    assert "Expected t2-head version 1" in fails(capsys, tmp_path, world.config)


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
