"""Exported heads: exact round trips, refusals by their messages, and nothing heavy or pickled on the way in."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.targets import targets
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2 import BudgetHead, T2Error
from t2.export import export_checkpoint, key_digest, save_head
from t2.head_record import HeadRecord
from t2.heads import CurveHead, Head, HeadShape, LayerwiseRegression, OrdinalHead
from t2.heads.training_votes import TrainingVotes
from t2.model_card import model_card
from t2.policies import FixedN, PredictedN, Utility
from t2.policies.record import PolicyRecord
from t2.policies.rules import GreedyAnswer
from t2.policies.stoppers import StopInputs

SHAPE = HeadShape(num_layers=3, width=16, grid=(1, 3, 5, 7), label_grid=(1, 3))
FINGERPRINT = "f" * 64
FEATURES = {"model_fingerprint": FINGERPRINT, "layers": [4, 8, 12], "pooling": "last"}
HEADS: dict[str, tuple[Callable[[], Head], dict[str, Any]]] = {
    "CurveHead": (lambda: CurveHead(SHAPE, num_atoms=6), {"name": "Utility", "arguments": {"price": 3.0}}),
    "OrdinalHead": (lambda: OrdinalHead(SHAPE, hidden=8), {"name": "PredictedN", "arguments": {"shift": 0.5}}),
    "LayerwiseRegression": (lambda: LayerwiseRegression(SHAPE), {"name": "PredictedN", "arguments": {"shift": 1.0}}),
    "constant": (lambda: CurveHead(SHAPE, num_atoms=6), {"name": "FixedN", "arguments": {"n": 5}}),
}


def features(num: int = 20) -> Tensor:
    return torch.randn(num, 3, 16, generator=torch.Generator().manual_seed(1))


def randomised(head: Head) -> Head:
    """Statistics from a few made-up questions and random weights, so that budgets differ."""
    generator = torch.Generator().manual_seed(2)
    acc = torch.rand(20, 4, generator=generator).sort(1).values
    fold = torch.arange(20) % 2
    head.start_stage(features(), targets(acc, fold, fold == 0, 3 + torch.rand(20, generator=generator), fold))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return head.eval()


def record_of(head: Head, policy: dict[str, Any]) -> dict[str, Any]:
    interval = {"value": 0.0213, "low": 0.01, "high": 0.03}
    return {
        **HeadRecord.of(head).as_json(),
        "base_model": {"id": "org/model", "revision": None, "fingerprint": FINGERPRINT},
        "features": FEATURES,
        "sampling": {"temperature": 1.0},
        "labels": {"eps": 0.02, "samples_per_question": 32, "grader": "numeric-1-####-1", "questions": {"train": 20}},
        "policy": policy,
        "metrics": {"area": interval, "n_ref": 7},
    }


def save(head: Head, record: dict[str, Any], folder: Path) -> Path:
    return save_head(head, HeadRecord.from_json(record, "the test"), folder)


def card_of(record: dict[str, Any]) -> str:
    return model_card(HeadRecord.from_json(record, "the test"))


@pytest.fixture(params=HEADS)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Head, dict[str, Any], Path]:
    make, policy = HEADS[request.param]
    head = randomised(make())
    record = record_of(head, policy)
    return head, record, save(head, record, tmp_path / "head")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make, policy = HEADS["CurveHead"]
    head = randomised(make())
    return save(head, record_of(head, policy), tmp_path / "head")


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def edit_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_round_trip_is_exact(exported: tuple[Head, dict[str, Any], Path]) -> None:
    head, record, folder = exported
    loaded = BudgetHead.from_pretrained(folder)
    assert type(loaded.head) is type(head)
    assert loaded.head.shape == head.shape
    assert loaded.grid == (1, 3, 5, 7)
    assert loaded.layers == (4, 8, 12)
    state, again = head.state_dict(), loaded.head.state_dict()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
    for name, part in vars(loaded.predict(features())).items():
        own = getattr(head.predict(head(features())), name)
        assert part is own is None or torch.equal(part, own), name
    budgets = loaded.budgets(features())
    once_more = save(loaded.head, record, folder.with_name("again"))
    assert torch.equal(BudgetHead.from_pretrained(once_more).budgets(features()), budgets)
    assert set(budgets.tolist()) <= set(loaded.grid)
    if record["policy"]["name"] == "FixedN":
        assert (budgets == 5).all()
    else:
        assert len(set(budgets.tolist())) > 1
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (once_more / file).read_bytes() == (folder / file).read_bytes()


def test_a_checkpoint_exports_to_the_same_head(exported: tuple[Head, dict[str, Any], Path], tmp_path: Path) -> None:
    head, record, folder = exported
    state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save({"t2": record, "state_dict": {**state, "metric.total": torch.zeros(1)}}, tmp_path / "last.ckpt")
    out = export_checkpoint(tmp_path / "last.ckpt", tmp_path / "from checkpoint")
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (out / file).read_bytes() == (folder / file).read_bytes()


def test_config_is_plain_json(exported: tuple[Head, dict[str, Any], Path]) -> None:
    _, record, folder = exported

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert config == {"format": "t2-head", "format_version": 2, **record}
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("trunk.out.bias"), r"got missing \['trunk\.out\.bias'\], unexpected \[\]"),
        (lambda t: t.update(extra=torch.zeros(2)), r"missing \[\], unexpected \['extra'\], of another shape \[\]"),
        (lambda t: t.update({"trunk.out.bias": torch.zeros(9)}), r"of another shape \['trunk\.out\.bias \(9,\)'\]"),
    ],
)
def test_wrong_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    edit_tensors(folder, change)
    with pytest.raises(T2Error, match="Expected exactly the tensors of CurveHead in .*" + message):
        BudgetHead.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 3}, r"Expected t2-head version 2, got \('t2-head', 3\)"),
        (
            {"format_version": 1},
            r"Expected t2-head version 2, got version 1 in .*: t2 export CHECKPOINT --folder FOLDER",
        ),
        ({"format": "other"}, r"Expected t2-head version 2, got \('other', 2\)"),
        ({"head": "Trojan"}, "Expected a head among .*, got 'Trojan'"),
        ({"head": None}, r"Expected a head for Utility\(.*\), got none\. Export the head again"),
        ({"head": 3}, r"Expected a text as `head` in .*config\.json, got 3\. The file is damaged"),
        ({"head_arguments": {"wheels": 4}}, "Expected arguments of head CurveHead, got {'wheels': 4}: .*wheels"),
        ({"shape": {"num_layers": 2}}, r"Expected a value as `shape\.width` in .*, got nothing"),
        ({"features": {**FEATURES, "layers": "all"}}, r"Expected a list as `features\.layers` in .*, got 'all'"),
        ({"features": {**FEATURES, "layers": [4, True]}}, r"a whole number as `features\.layers\.1` in .*, got True"),
        ({"labels": {"eps": "small"}}, r"Expected a number as `labels\.eps` in .*, got 'small'"),
        ({"metrics": {"area": 0.5}}, r"Expected an object as `metrics\.area` in .*, got 0\.5"),
        ({"metrics": {"area": {"value": 0.5, "low": 0}}}, r"a value as `metrics\.area\.high` in .*, got nothing"),
        (
            {"calibration": {"status": "fine"}},
            r"one of \['calibrated', .*\] as `calibration\.status` in .*, got 'fine'",
        ),
        ({"policy": {"name": "Trojan", "arguments": {}}}, r"Expected a policy among .*'FixedN', .*, got 'Trojan'"),
        (
            {"policy": {"name": "Utility", "arguments": {"shift": 1.0}}},
            "Expected arguments of policy Utility, got .*shift",
        ),
        ({"policy": {}}, r"Expected a value as `policy\.name` in .*, got nothing"),
        ({"policy": None}, "Expected a head with a policy, got a record without"),
        ({"policy": ["Utility"]}, r"Expected an object as `policy` in .*, got \['Utility'\]"),
        ({"policy": {"name": ["Utility"], "arguments": {}}}, r"Expected a text as `policy\.name` in .*, got \['Util"),
        ({"policy": {"name": "FixedN"}}, r"Expected a value as `policy\.arguments` in .*, got nothing"),
        ({"policy": {"name": "FixedN", "arguments": [3]}}, r"Expected an object as `policy\.arguments` in .*, got \[3"),
        ({"policy": {"name": "PredictedN", "arguments": {"shift": "x"}}}, "Expected a finite `shift` .*, got 'x'"),
        ({"policy": {"name": "PredictedN", "arguments": {"shift": math.nan}}}, "Expected a finite `shift` .*, got nan"),
        ({"policy": {"name": "Utility", "arguments": {"price": [1]}}}, r"Expected a finite `price` .*, got \[1\]"),
        (
            {"shape": {**vars(SHAPE), "grid": list(SHAPE.grid), "label_grid": list(SHAPE.label_grid), "num_layers": 2}},
            "of another shape",
        ),
    ],
)
def test_wrong_configs(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(T2Error, match=message):
        BudgetHead.from_pretrained(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expected an exported head with config.json, got .*Expecting value"),
        ("{", "Expected an exported head with config.json, got .*Expecting property name"),
        ("[1]", r"Expected a JSON object in .*config\.json, got list"),
        ("3", r"Expected a JSON object in .*config\.json, got int"),
    ],
)
def test_config_that_is_no_object(folder: Path, text: str, message: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(T2Error, match=message):
        BudgetHead.from_pretrained(folder)


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


def test_model_fingerprint(folder: Path) -> None:
    head = BudgetHead.from_pretrained(folder)
    head.check_model(FINGERPRINT)
    with pytest.raises(T2Error, match=r"Expected the model org/model \(f{12}\.\.\.\), got another \(0{12}\.\.\.\)"):
        head.check_model("0" * 64)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected a folder or hub id of an exported head, got 'no/such/folder/here'"):
        BudgetHead.from_pretrained("no/such/folder/here")
    with pytest.raises(T2Error, match=r"Expected an exported head with config\.json"):
        BudgetHead.from_pretrained(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(T2Error, match="Expected the head's weights in"):
        BudgetHead.from_pretrained(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(T2Error, match="Expected the head's weights in"):
        BudgetHead.from_pretrained(folder)


def test_a_foreign_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"t2": Fraction(1, 2), "state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(T2Error, match=r"Expected a checkpoint of primitives and tensors, got .*foreign") as caught:
        export_checkpoint(tmp_path / "foreign.ckpt", tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)  # torch's advice to load it anyway comes in bold
    assert not (tmp_path / "out").exists()


def test_bad_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected a checkpoint, got no file"):
        export_checkpoint(tmp_path / "none.ckpt", tmp_path / "out")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(T2Error, match="Expected a checkpoint of primitives and tensors"):
        export_checkpoint(tmp_path / "text.ckpt", tmp_path / "out")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(T2Error, match=r"Expected a checkpoint of train\.py with the key 't2'"):
        export_checkpoint(tmp_path / "other.ckpt", tmp_path / "out")
    record = record_of(OrdinalHead(SHAPE), HEADS["OrdinalHead"][1])
    torch.save({"t2": record, "state_dict": {"backbone.weight": torch.zeros(1)}}, tmp_path / "headless.ckpt")
    with pytest.raises(T2Error, match=r"Expected exactly the tensors of OrdinalHead in .*missing"):
        export_checkpoint(tmp_path / "headless.ckpt", tmp_path / "out")


@pytest.mark.parametrize("policy", [FixedN(9), PredictedN(-0.5), Utility(2.5)])
def test_policies_are_their_recorded_knobs(policy: FixedN | PredictedN | Utility) -> None:
    again = PolicyRecord.of(policy).policy()
    assert type(again) is type(policy)
    assert vars(again) == vars(policy)


def test_numbers_that_json_has_no_word_for_are_refused_before_anything_is_written(folder: Path) -> None:
    """A shift of NaN was written as bare NaN, which is no JSON; the earlier export must stand."""
    head, before = CurveHead(SHAPE, num_atoms=6), {path.name: path.read_bytes() for path in folder.iterdir()}
    record = record_of(head, {"name": "PredictedN", "arguments": {"shift": math.nan}})
    record["calibration"] = calibration_record(p_values=[0.1, math.inf])
    message = r"got policy\.arguments\.shift nan, calibration\.p_values\.1 inf\. Set"
    with pytest.raises(T2Error, match="Expected finite numbers in what is recorded of the head, " + message):
        save(head, record, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_model_card() -> None:
    head, policy = CurveHead(SHAPE), {"name": "Utility", "arguments": {"price": 3.0}}
    card = card_of(record_of(head, policy))
    assert card.startswith('---\nlibrary_name: t2\nbase_model: "org/model"\n')
    for line in ("# CurveHead for org/model", "Utility(price=3.0)", "| area | 0.0213 | 0.01 to 0.03 |", "1, 3, 5, 7"):
        assert line in card
    assert "(questions, 3, 16)" in card


@pytest.mark.parametrize("name", ["qwen: v2", "1.5", "llama #3", "null", 'a "quoted" one', "modèle", None])
def test_any_name_of_an_llm_is_read_back_from_the_card(name: str | None) -> None:
    record = record_of(CurveHead(SHAPE), {"name": "Utility", "arguments": {"price": 3.0}})
    card = card_of({**record, "base_model": {"id": name, "revision": None, "fingerprint": FINGERPRINT}})
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == name


# Questions that a head has seen


def test_digests_are_the_beginning_of_sha256() -> None:
    """FIPS 180-2, appendix B.1: SHA-256 of "abc"."""
    assert key_digest("abc") == "ba7816bf8f01cfea"


def test_seen_questions_are_a_sorted_file_beside_the_config(tmp_path: Path) -> None:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    record = {**record_of(head, HEADS["CurveHead"][1]), "seen_questions": [key_digest(k) for k in ("b", "abc", "b")]}
    state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save({"t2": record, "state_dict": state}, tmp_path / "best.ckpt")
    folder = export_checkpoint(tmp_path / "best.ckpt", tmp_path / "head")
    lines = (folder / "seen_questions.txt").read_text().splitlines()
    assert lines == sorted({key_digest("b"), key_digest("abc")})
    assert "seen_questions" not in json.loads((folder / "config.json").read_text())
    loaded = BudgetHead.from_pretrained(folder)
    assert loaded.records_seen
    assert loaded.seen == frozenset(lines)
    assert (loaded.has_seen("abc"), loaded.has_seen("b"), loaded.has_seen("c")) == (True, True, False)


def test_an_older_head_knows_nothing_of_questions_and_calibration(folder: Path) -> None:
    loaded = BudgetHead.from_pretrained(folder)
    assert not loaded.records_seen
    assert loaded.seen == frozenset()
    assert not loaded.has_seen("abc")
    assert loaded.calibration is None


def test_an_export_that_dies_over_another_leaves_no_mixture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New weights stood beside the old config, with its policy and its promise, and loaded without complaint."""
    head = BudgetHead.from_pretrained(folder).head

    def dies(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("t2.export.model_card", dies)
    with pytest.raises(KeyboardInterrupt):
        save(head, record_of(head, {"name": "Utility", "arguments": {"price": 2.0}}), folder)
    with pytest.raises(T2Error, match=r"config\.json"):
        BudgetHead.from_pretrained(folder)


def test_an_export_over_another_takes_its_digests_away(folder: Path) -> None:
    """They would be another head's, and questions that this one learned from would pass as unseen."""
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    record = record_of(head, HEADS["CurveHead"][1])
    save(head, {**record, "seen_questions": [key_digest("abc")]}, folder)
    assert BudgetHead.from_pretrained(folder).records_seen
    save(head, record, folder)
    assert not BudgetHead.from_pretrained(folder).records_seen


@pytest.mark.parametrize("text", ["ba7816bf8f01cfe\n", "BA7816BF8F01CFEA\n", "3+4\n", "ba7816bf8f01cfea0\n"])
def test_damaged_digests(folder: Path, text: str) -> None:
    (folder / "seen_questions.txt").write_text(text)
    with pytest.raises(T2Error, match=r"Expected 16 hex digits a line in .* Export the head again"):
        BudgetHead.from_pretrained(folder)


def test_a_download_brings_the_digests_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(name: str, revision: str | None, allow_patterns: list[str], ignore_patterns: None) -> str:
        asked.update(name=name, files=allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    BudgetHead.from_pretrained("org/head")
    files = ["config.json", "model.safetensors", "votes.safetensors", "seen_questions.txt"]
    assert asked == {"name": "org/head", "files": files}


# Calibration in the card


def calibration_record(**changes: Any) -> dict[str, Any]:
    settings = [{"name": "Utility", "arguments": {"price": price}} for price in (1.0, 3.0)]
    record = {"status": "calibrated", "promise": "It keeps.", "settings": settings, "p_values": [0.01, 0.0625]}
    levels = {"alpha": 0.02, "delta": 0.1, "form": "reference", "num_questions": 120, "needed": 114, "n_ref": 5}
    return {**record, **levels, "chosen": 1, "configured_policy": settings[0], **changes}


def test_the_card_says_what_is_promised() -> None:
    record = record_of(CurveHead(SHAPE), HEADS["CurveHead"][1])
    card = card_of({**record, "calibration": calibration_record()})
    assert "## Calibration\n\n**It keeps.**\n" in card
    assert "Tested were 2 settings, safest first; the p-value of the chosen\none is 0.0625." in card
    few = card_of(
        {**record, "calibration": calibration_record(status="too_few_questions", promise="Too few.", chosen=None)}
    )
    assert "## Calibration\n\nToo few.\n\n## Limits" in few
    assert "## Calibration\n\nNone: no accuracy is promised.\n\n## Limits" in card_of(record)
    assert "Calibration" not in card_of({**record, "policy": {"name": "FixedN", "arguments": {"n": 5}}})


# Exports without a head


VOTES = TrainingVotes(
    count_Q3=torch.tensor([[9.0, 2.0, 1.0], [5.0, 4.0, 3.0], [12.0, 0.0, 0.0], [6.0, 5.0, 1.0]], dtype=torch.float64),
    right_Q=torch.tensor([1, 2, 1, 0]),
    tokens_Q=torch.tensor([40.0, 60.0, 20.0, 80.0], dtype=torch.float64),
    greedy_Q=torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
)
NO_HEAD = {"name": "NoHeadThenStop", "arguments": {"cap": 7, "price": 2.0, "round_price": 0.5}}
ASC = {"name": "ASC", "arguments": {"cap": 7, "threshold": 0.9}}


def save_without(policy: dict[str, Any], folder: Path) -> Path:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    return save_head(head, HeadRecord.from_json(record_of(head, policy), "the test"), folder, VOTES)


@pytest.mark.parametrize(("policy", "files"), [(NO_HEAD, ["votes.safetensors"]), (ASC, [])], ids=["votes", "nothing"])
def test_a_folder_without_weights_decides(policy: dict[str, Any], files: list[str], tmp_path: Path) -> None:
    """Over an earlier export with weights, of which nothing may stay."""
    make, own = HEADS["CurveHead"]
    save(head := randomised(make()), record_of(head, own), tmp_path / "export")
    folder = save_without(policy, tmp_path / "export")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["README.md", "config.json", *files])
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


def test_the_card_of_one_n_for_all_asks_for_nothing() -> None:
    card = card_of(record_of(CurveHead(SHAPE), {"name": "FixedN", "arguments": {"n": 5}}))
    assert "# FixedN, no head, for org/model" in card
    assert "One number of samples for every question: 5." in card
    assert "head.activations" not in card


def test_votes_that_are_missing(tmp_path: Path) -> None:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    with pytest.raises(T2Error, match=r"Expected votes of training questions for NoHeadThenStop.*, got none"):
        save(head, record_of(head, NO_HEAD), tmp_path / "head")
    assert not (tmp_path / "head").exists()
    folder = save_without(NO_HEAD, tmp_path / "head")
    (folder / "votes.safetensors").write_bytes(b"no tensors")
    with pytest.raises(T2Error, match=r"Expected the training questions' votes in .*votes\.safetensors, got"):
        BudgetHead.from_pretrained(folder)


def test_the_card_says_why_and_what_it_loses() -> None:
    """A warning, where the interval allows more than the allowance, stands out."""
    better = {"value": 0.55, "low": 0.5, "high": 0.6}
    axes = {"path_ratio": {**better, "value": 1.5}, "memory_ratio": {**better, "value": 0.3}}
    loses = {
        "policy": ASC,
        "difference": {"value": -0.7, "low": -1.4, "high": 0.1},
        "ratio": better,
        "rounds": 1.62,
        **axes,
    }
    decision = {
        "basis": "out_of_fold",
        "why": "It is the cheapest.",
        "allowance": 0.01,
        "max_rounds": 2.0,
        "n_ref": 7,
        "num_questions": 80,
        "loses": {**loses, "within": True},
        "warning": "It may lose up to 1.4 points.",
        "candidates": [{**loses, "within": True}, {**loses, "policy": NO_HEAD, "within": False}],
    }
    record = HeadRecord.from_json({**record_of(CurveHead(SHAPE), ASC), "decision": decision}, "the test")
    assert HeadRecord.from_json(record.as_json(), "the test") == record
    card = model_card(record)
    for line in (
        "## Decision\n\nIt is the cheapest.",
        "On questions that did not choose, choosing in this way changes accuracy by -0.70 [-1.40, 0.10] points ",
        "tokens of FixedN(7), in 1.62 rounds.",
        "**It may lose up to 1.4 points.**",
        "| 0.30 [0.50, 0.60] | yes |",
        "| 0.30 [0.50, 0.60] | no |",
        "| ASC(cap=7, threshold=0.9) | -0.70 [-1.40, 0.10] | 0.55 [0.50, 0.60] | 1.62 | 1.50 [0.50, 0.60] | ",
        "| NoHeadThenStop(cap=7, price=2.0, round_price=0.5) | -0.70 [-1.40, 0.10] | 0.55 [0.50, 0.60] | 1.62 | 1.50 ",
    ):
        assert line in card
