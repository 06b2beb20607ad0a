"""Folders that somebody has tampered with: nothing is allocated, read or run on their word."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.engine_heads import HEADS, taught
from helpers.exports import SHAPE, edit_config, features, record_of, save, save_without
from safetensors.torch import load_file, save_file

from t2 import BudgetHead, T2Error
from t2.export import EXPORT_FILES
from t2.heads import HeadShape

HUGE = 10**12


@pytest.fixture(params=HEADS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    make, policy = HEADS[request.param]
    head = taught(make(SHAPE), features())
    return save(head, record_of(head, policy), tmp_path / "head")


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def test_sizes_that_no_memory_holds(folder: Path) -> None:
    """It allocated what config.json asked for before it looked at the weights."""
    shape = config_of(folder)["shape"]
    edit_config(folder, shape={**shape, "width": HUGE})
    with pytest.raises(T2Error, match=r"Expected (exactly the tensors of|arguments of head)"):
        BudgetHead.from_pretrained(folder)


@pytest.mark.parametrize("value", [HUGE, 10**30, -1, "many", None, [3]])
def test_arguments_of_any_size_or_kind(folder: Path, value: object) -> None:
    arguments = config_of(folder)["head_arguments"]
    sizes = [name for name in arguments if name in ("hidden", "num_atoms", "components", "members")]
    for name in sizes or ["dropout"]:
        edit_config(folder, head_arguments={**arguments, name: value})
        with pytest.raises(T2Error, match=r"Expected (exactly the tensors of|arguments of head|`|at most)"):
            BudgetHead.from_pretrained(folder)


def test_a_record_asks_for_millions_of_networks(tmp_path: Path) -> None:
    make, policy = HEADS["PriorHead"]
    head = taught(make(SHAPE), features())
    folder = save(head, record_of(head, policy), tmp_path / "head")
    edit_config(folder, head_arguments={**config_of(folder)["head_arguments"], "members": HUGE})
    with pytest.raises(T2Error, match="Expected `members` of at most 64, got 1000000000000"):
        BudgetHead.from_pretrained(folder)


def test_tensors_that_nobody_asked_for(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "../../evil": torch.zeros(3)}, folder / "model.safetensors")
    with pytest.raises(T2Error, match=r"got missing \[\], unexpected \['\.\./\.\./evil'\]"):
        BudgetHead.from_pretrained(folder)


def test_votes_of_more_questions_than_the_other_tensors_have(tmp_path: Path) -> None:
    make, policy = HEADS["PriorHead"]
    head = taught(make(SHAPE), features())
    folder = save(head, record_of(head, policy), tmp_path / "head")
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "right_Q": torch.zeros(9, dtype=torch.long)}, folder / "model.safetensors")
    with pytest.raises(
        T2Error, match=r"of another shape \['count_Q3 \(20, 3\)', 'curve_QK \(20, 4\)', 'greedy_right_Q"
    ):
        BudgetHead.from_pretrained(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "votes.safetensors"])
def test_a_file_that_promises_more_than_it_holds(tmp_path: Path, name: str) -> None:
    if name == "votes.safetensors":
        folder = save_without(
            {"name": "NoHeadThenStop", "arguments": {"cap": 7, "price": 2.0, "round_price": 0.5}}, tmp_path
        )
    else:
        make, policy = HEADS["CurveHead"]
        head = taught(make(SHAPE), features())
        folder = save(head, record_of(head, policy), tmp_path / "head")
    header = json.dumps({"big": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}}).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    with pytest.raises(T2Error, match=f"Expected the .* in .*{name}, got "):
        BudgetHead.from_pretrained(folder)


def test_a_header_as_long_as_the_memory(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", HUGE) + b"{}")
    with pytest.raises(T2Error, match="Expected the head's weights in"):
        BudgetHead.from_pretrained(folder)


def test_only_files_of_a_fixed_list_are_named() -> None:
    """No name inside an export becomes a path."""
    for name in EXPORT_FILES:
        assert not Path(name).is_absolute()
        assert ".." not in Path(name).parts


def test_reading_draws_nothing_at_random(folder: Path) -> None:
    """An engine that carries the head samples from the same generator."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    BudgetHead.from_pretrained(folder)
    assert torch.equal(torch.rand(3), expected)


def test_no_type_of_the_engine_gets_into_the_weights(folder: Path) -> None:
    """vLLM builds models with the LLM's type as the default one."""
    state = BudgetHead.from_pretrained(folder).head.state_dict()
    torch.set_default_dtype(torch.bfloat16)
    try:
        again = BudgetHead.from_pretrained(folder).head.state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(state[name].nan_to_num(), again[name].nan_to_num()) for name in state)
    assert all(state[name].dtype == again[name].dtype for name in state)


def test_shapes_that_a_head_cannot_have(tmp_path: Path) -> None:
    make, policy = HEADS["CurveHead"]
    head = taught(make(HeadShape(3, 16, (1, 3, 5, 7), (1, 3))), features())
    folder = save(head, record_of(head, policy), tmp_path / "head")
    for changes in ({"num_layers": -3}, {"num_layers": 0}, {"grid": []}):
        edit_config(folder, shape={**config_of(folder)["shape"], **changes})
        with pytest.raises(T2Error):
            BudgetHead.from_pretrained(folder)
