"""Exports on disk: exact round trips, clear errors for damaged files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exports import (
    FEATURES,
    HEADS,
    NO_HEAD,
    SHAPE,
    calibration_record,
    edit_config,
    features,
    randomised,
    record_of,
    save,
    save_without,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2 import BudgetHead, T2Error
from t2.export import key_digest
from t2.heads import CurveHead, Head


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


def test_config_is_plain_json(exported: tuple[Head, dict[str, Any], Path]) -> None:
    _, record, folder = exported

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert config == {"format": "t2-head", "format_version": 2, **record}
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


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


def test_numbers_that_json_has_no_word_for_are_refused_before_anything_is_written(folder: Path) -> None:
    """A shift of NaN was written as bare NaN, which is no JSON; the earlier export must stand."""
    head, before = CurveHead(SHAPE, num_atoms=6), {path.name: path.read_bytes() for path in folder.iterdir()}
    record = record_of(head, {"name": "PredictedN", "arguments": {"shift": math.nan}})
    record["calibration"] = calibration_record(p_values=[0.1, math.inf])
    message = r"got policy\.arguments\.shift nan, calibration\.p_values\.1 inf\. Set"
    with pytest.raises(T2Error, match="Expected finite numbers in what is recorded of the head, " + message):
        save(head, record, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_digests_are_the_beginning_of_sha256() -> None:
    """FIPS 180-2, appendix B.1: SHA-256 of "abc"."""
    assert key_digest("abc") == "ba7816bf8f01cfea"


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
    tensors = ["model.safetensors", "votes.safetensors", "pooling.safetensors"]
    adapter = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]
    files = ["config.json", *tensors, "seen_questions.txt", *adapter]
    assert asked == {"name": "org/head", "files": files}


def test_votes_that_are_missing(tmp_path: Path) -> None:
    head = randomised(CurveHead(SHAPE, num_atoms=6))
    with pytest.raises(T2Error, match=r"Expected votes of training questions for NoHeadThenStop.*, got none"):
        save(head, record_of(head, NO_HEAD), tmp_path / "head")
    assert not (tmp_path / "head").exists()
    folder = save_without(NO_HEAD, tmp_path / "head")
    (folder / "votes.safetensors").write_bytes(b"no tensors")
    with pytest.raises(T2Error, match=r"Expected the training questions' votes in .*votes\.safetensors, got"):
        BudgetHead.from_pretrained(folder)
