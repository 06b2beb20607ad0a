"""What becomes of a checkpoint, and which files are none."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exports import HEADS, SHAPE, randomised, record_of

from t2 import BudgetHead, T2Error
from t2.checkpoint import export_checkpoint
from t2.export import key_digest
from t2.heads import CurveHead, Head, OrdinalHead


def test_a_checkpoint_exports_to_the_same_head(exported: tuple[Head, dict[str, Any], Path], tmp_path: Path) -> None:
    head, record, folder = exported
    state = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save({"t2": record, "state_dict": {**state, "metric.total": torch.zeros(1)}}, tmp_path / "last.ckpt")
    out = export_checkpoint(tmp_path / "last.ckpt", tmp_path / "from checkpoint")
    for file in ("config.json", "model.safetensors", "README.md"):
        assert (out / file).read_bytes() == (folder / file).read_bytes()


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
