"""What an engine is told of a head, and heads that no engine of this LLM can carry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.engine_heads import HEADS, export_for
from helpers.exports import ASC, edit_config, save_without
from helpers.tiny_models import TINY_ARITH, VOCAB, tiny_model

from t2 import BudgetHead, T2Error
from t2.engine.engine_head import EngineHead
from t2.model_files import ModelFiles, resolve_model


@pytest.fixture(scope="module")
def model() -> ModelFiles:
    return resolve_model(str(TINY_ARITH))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_for(TINY_ARITH, tmp_path_factory.mktemp("export") / "head", "CurveHead")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    import shutil

    return Path(shutil.copytree(original, tmp_path / "head"))


def change(folder: Path, part: str, **changes: Any) -> BudgetHead:
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, **{part: {**config[part], **changes}})
    return BudgetHead.from_pretrained(folder)


def carried(folder: Path, model: ModelFiles) -> EngineHead:
    engine_head = EngineHead.of(BudgetHead.from_pretrained(folder), folder, model)
    assert engine_head is not None
    return engine_head


def test_what_the_engine_is_told(original: Path, model: ModelFiles) -> None:
    engine_head = carried(original, model)
    assert engine_head.hf_overrides == {
        "architectures": ["T2LlamaForCausalLM"],
        "vocab_size": 64 + 7 + 1,
        "t2_vocab_size": 64,
        "t2_architectures": ["LlamaForCausalLM"],
        "t2_layers": [2, 4],
        "t2_head": str(original),
    }
    assert json.loads(json.dumps(engine_head.hf_overrides)) == engine_head.hf_overrides
    assert engine_head.label_ids == tuple(range(64, 72))


def test_the_difference_to_the_constant_column_is_read(original: Path, model: ModelFiles) -> None:
    raw = torch.tensor([1.5, -2.0, 0.0, 3.0, -1.0, 0.5, 0.25])
    logprobs = [float(value) - 1012.0 for value in raw] + [-1012.0]
    assert torch.allclose(carried(original, model).raw(logprobs), raw)
    with pytest.raises(T2Error, match=r"Expected 8 log probabilities of a probe, got 7. Does the engine carry this"):
        carried(original, model).raw(logprobs[:-1])


@pytest.mark.parametrize(
    ("name", "engine_class"),
    [
        *(("qwen2", "Qwen2ForCausalLM"), ("qwen3", "Qwen3ForCausalLM"), ("gemma3", "TransformersForCausalLM")),
        *(("mistral", "MistralForCausalLM"), ("qwen3-moe", "Qwen3MoeForCausalLM")),
    ],
)
def test_the_class_follows_the_architecture(tmp_path: Path, name: str, engine_class: str) -> None:
    folder = tiny_model(name, tmp_path / "model")
    engine_head = carried(export_for(folder, tmp_path / "head", "OrdinalHead"), resolve_model(str(folder)))
    assert engine_head.engine_class == engine_class
    assert engine_head.hf_overrides["architectures"] == [f"T2{engine_class}"]
    assert engine_head.label_ids[0] == VOCAB


def test_a_decision_without_activations_needs_none_of_this(tmp_path: Path, model: ModelFiles) -> None:
    folder = save_without(ASC, tmp_path / "head")
    assert EngineHead.of(BudgetHead.from_pretrained(folder), folder, model) is None


def test_another_llm(original: Path, tmp_path: Path) -> None:
    other = resolve_model(str(tiny_model("qwen2", tmp_path / "other")))
    with pytest.raises(T2Error, match=r"Expected the LLM that the head was trained on, '.*tiny-arith'.* got 'other'"):
        carried(original, other)


def test_a_head_that_reads_a_proxy(folder: Path, model: ModelFiles) -> None:
    head = change(folder, "features", model_id="org/proxy", model_fingerprint="0" * 64)
    with pytest.raises(T2Error, match="which answers, 'tiny-arith', got one that reads a proxy, 'org/proxy'"):
        EngineHead.of(head, folder, model)


@pytest.mark.parametrize(
    "layers", [[2], [2, 5], [4, 2], [2, 2], [0, 2], []], ids=["fewer", "above", "falling", "twice", "zero", "none"]
)
def test_other_layers(folder: Path, model: ModelFiles, layers: list[int]) -> None:
    head = change(folder, "features", layers=layers)
    with pytest.raises(T2Error, match=r"a head of rising layers among the 4 of 'tiny-arith', of width 128, got one of"):
        EngineHead.of(head, folder, model)


def test_another_number_of_layers_or_width(original: Path, model: ModelFiles) -> None:
    head = BudgetHead.from_pretrained(original)
    with pytest.raises(T2Error, match="rising layers among the 3 of"):
        EngineHead.of(head, original, replace(model, num_layers=3))
    with pytest.raises(T2Error, match=r"of width 256, got one of 2 layers, .* of width 128"):
        EngineHead.of(head, original, replace(model, width=256))


def test_another_template(folder: Path, model: ModelFiles) -> None:
    head = change(folder, "prompt", fingerprint="0" * 64)
    with pytest.raises(
        T2Error, match=r"Expected the chat template that the head was trained with \(0{12}\.\.\.\), got"
    ):
        EngineHead.of(head, folder, model)


def test_what_would_cost_a_second_pass(folder: Path, model: ModelFiles) -> None:
    head = change(folder, "features", pooling="mean")
    with pytest.raises(T2Error, match=r"reads the last token of the frozen LLM.* got one with mean pooling"):
        EngineHead.of(head, folder, model)


def test_every_class_of_head_fits_into_a_request(tmp_path: Path, model: ModelFiles) -> None:
    for name in HEADS:
        assert len(carried(export_for(TINY_ARITH, tmp_path / name, name), model).label_ids) <= 128
