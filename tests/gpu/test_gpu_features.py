"""Features that a GPU reads, against those that a CPU reads of the same models and prompts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.architectures import ALL, IGNORES_THE_MASK, KINDS, PREFIX, PROMPTS, WIDTH, built, pooled_left_padded
from helpers.trained_head import CONFIG, MODEL, POOL
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from t2.activations.backbone import extract, load_frozen, shared_prefix
from t2.activations.cache import FeatureCache, FeatureSpec
from t2.activations.features import HeldReader, in_parts, pooled_features
from t2.activations.pooling import AttentionPool, mean_of_tokens, pool_prompts
from t2.errors import T2Error
from t2.pools.load import load_pool
from t2.store.pool_spec import read_spec
from t2.store.schema import PoolPaths

pytestmark = pytest.mark.gpu

OWN = [prompt[len(PREFIX) :] for prompt in PROMPTS]
"""Without the shared prefix."""
IN_16_BITS = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi", "phi3", "gpt2")
"""Of each family a dense one: where experts are chosen, rounding chooses others."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def on_gpu(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    return copy.deepcopy(built(kind)).to("cuda", dtype)


def assert_near(found_QLD: Tensor, expected_QLD: Tensor, relative: float = 1e-4) -> None:
    """Each question's activations at each layer, by the length of their difference."""
    assert found_QLD.shape == expected_QLD.shape
    error_QL = (found_QLD.cpu().double() - expected_QLD.double()).norm(dim=2) / expected_QLD.double().norm(dim=2)
    assert float(error_QL.max()) < relative


@pytest.mark.parametrize("prompts", [PROMPTS, OWN], ids=["shared prefix", "none shared"])
def test_features_are_those_of_the_cpu(kind: str, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """In several batches, with and without a prefix that is run once."""
    monkeypatch.setattr("t2.activations.backbone.TOKENS_PER_BATCH", 60)
    assert bool(shared_prefix(prompts)) == (prompts is PROMPTS)
    expected_QLD = extract(built(kind), prompts, ALL)
    done: list[int] = []
    found_QLD = extract(on_gpu(kind), prompts, ALL, done.append)
    assert found_QLD.device.type == "cpu"
    assert len(done) > 1
    assert_near(found_QLD, expected_QLD)


def test_padding_changes_nothing(kind: str) -> None:
    """On the right, as T2 pads, and on the left, as others may."""
    model, expected_QLD = on_gpu(kind), extract(built(kind), PROMPTS, ALL)
    with torch.no_grad():
        right_BLD = pool_prompts(model, PROMPTS, ALL)
    assert right_BLD.device.type == "cuda"
    assert_near(right_BLD, expected_QLD)
    if kind not in IGNORES_THE_MASK:
        assert_near(pooled_left_padded(model, PROMPTS), expected_QLD)


@pytest.mark.parametrize("kind", IN_16_BITS)
@pytest.mark.parametrize("prompts", [PROMPTS, OWN], ids=["shared prefix", "none shared"])
def test_features_in_bf16_point_where_those_in_float32_do(kind: str, prompts: list[list[int]]) -> None:
    expected_QLD = extract(built(kind), prompts, ALL)
    found_QLD = extract(on_gpu(kind, torch.bfloat16), prompts, ALL)
    assert found_QLD.dtype == torch.bfloat16
    cosine_QL = torch.cosine_similarity(found_QLD.double(), expected_QLD.double(), dim=2)
    assert float(cosine_QL.min()) > 0.999


@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2"])
def test_mean_and_attention_are_pooled_on_the_gpu(kind: str) -> None:
    torch.manual_seed(0)
    attention = AttentionPool(ALL, WIDTH).requires_grad_(False)
    attention.query_LD.normal_()
    model = on_gpu(kind)
    for pool in (mean_of_tokens, attention):
        expected_QLD = extract(built(kind), PROMPTS, ALL, pool=pool)
        on_its_device = copy.deepcopy(pool).to("cuda") if isinstance(pool, AttentionPool) else pool
        assert_near(extract(model, PROMPTS, ALL, pool=on_its_device), expected_QLD)


def test_the_committed_features_of_the_embedded_llm_are_read_again(tmp_path: Path) -> None:
    """They were read on a CPU, and are kept in bf16: rounding goes up here and down there."""
    spec = FeatureSpec(read_spec(PoolPaths(POOL)).model["fingerprint"], (1, 2, 3, 4))
    prompts = load_pool(CONFIG).prompts
    committed_QLD = FeatureCache(POOL / "features", spec).load(prompts)
    assert committed_QLD is not None
    assert_near(pooled_features(tmp_path, spec, prompts, lambda: MODEL), committed_QLD, relative=5e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_frozen_llm_is_on_the_gpu_in_its_own_type(tmp_path: Path, dtype: torch.dtype) -> None:
    _small_llama().to(dtype).save_pretrained(tmp_path)
    parameter = next(load_frozen(tmp_path).parameters())
    assert (parameter.device.type, parameter.dtype) == ("cuda", dtype)
    assert next(load_frozen(tmp_path, device="cpu").parameters()).device.type == "cpu"


def test_the_llm_is_freed_when_its_features_are_read(tmp_path: Path) -> None:
    """An engine that comes next wants the memory."""
    _small_llama().save_pretrained(tmp_path)
    before = torch.cuda.memory_allocated()
    list(in_parts(tmp_path, [[1, 2, 3], [4, 5]], FeatureSpec("f" * 64, (1, 2))))
    assert torch.cuda.memory_allocated() == before


def test_memory_that_runs_out_is_one_line(tmp_path: Path) -> None:
    _small_llama().save_pretrained(tmp_path)
    reader = HeldReader.of(tmp_path, FeatureSpec("f" * 64, (1, 2)))
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        with pytest.raises(T2Error, match=r"Expected features of LlamaModel at layers \[1, 2\], got .*out of memory"):
            reader.read([[token % 90 + 1 for token in range(4000)]] * 4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def _small_llama() -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaModel(LlamaConfig(vocab_size=100, max_position_embeddings=4096, **sizes))
