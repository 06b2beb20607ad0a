"""Features of many architectures: tiny random models against one unpadded run without any cache, prompt by prompt."""

import copy
import inspect
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from t2.activations.backbone import _run_prefix, drop_blocks_above, extract, shared_prefix
from t2.activations.layers import decoder_blocks
from t2.activations.pooling import pool_prompts, tapped
from t2.errors import T2Error

NUM_LAYERS, WIDTH, VOCAB, WINDOW = 4, 32, 100, 16
ALL = (1, 2, 3, 4)
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": NUM_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCAB,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,  # large enough for attention to matter
    "pad_token_id": 0,
}
GPT_SIZES: dict[str, Any] = {"n_layer": NUM_LAYERS, "n_head": 4, "vocab_size": VOCAB, "initializer_range": 0.1}
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": WIDTH}
SLIDING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
STATE_SPACE = {
    "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16,
}  # fmt: skip
LINEAR: dict[str, Any] = {
    "layer_types": ["linear_attention", "full_attention"] * 2,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}

ATTENTION: dict[str, dict[str, Any]] = {
    "llama": SIZES,
    "qwen2": SIZES,
    "qwen3": SIZES | HEADS,
    "qwen3_moe": SIZES | HEADS | EXPERTS,
    "gemma3_text": SIZES | HEADS | SLIDING | {"query_pre_attn_scalar": 8},
    "mistral": SIZES | HEADS | {"sliding_window": WINDOW},
    "phi": SIZES,
    "phi3": SIZES,
    "gpt2": GPT_SIZES | {"n_embd": WIDTH, "n_positions": 256},
    "bloom": GPT_SIZES | {"hidden_size": WIDTH},
    "falcon": SIZES,
    "gpt_oss": SIZES | HEADS | SLIDING | {"num_local_experts": 4, "num_experts_per_tok": 2},
}
HYBRIDS: dict[str, dict[str, Any]] = {
    "lfm2": SIZES | {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
    "qwen3_next": SIZES | HEADS | EXPERTS | LINEAR | {"shared_expert_intermediate_size": WIDTH},
    "qwen3_5_text": SIZES | HEADS | LINEAR,
    "mamba": {**SIZES, "state_size": 8},
    "mamba2": {**SIZES, "state_size": 8, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 16},
    "bamba": SIZES | STATE_SPACE | {"attn_layer_indices": [1, 3]},
    "falcon_h1": SIZES | HEADS | STATE_SPACE | {"mamba_d_ssm": 64},
    # Its config has no layer types, and it leaves the cache that it is given half used.
    "recurrent_gemma": SIZES
    | HEADS
    | {"lru_width": WIDTH, "attention_window_size": WINDOW, "block_types": ["recurrent", "attention"]},
    # Takes a cache as it takes any argument, and does not use it.
    "rwkv": {**SIZES, "attention_hidden_size": WIDTH},
}
KINDS = ATTENTION | HYBRIDS
FIRST_IS_A_BLOCK = {"mamba", "mamba2", "rwkv"}
"""Models whose `hidden_states` begin with the first block's output; those of all others begin with the embeddings."""
IGNORES_THE_MASK = {"rwkv"}
FINAL_NORMS = ("norm", "ln_f", "norm_f", "final_layernorm", "embedding_norm", "ln_out", "final_norm")


@cache
def built(kind):
    """Shared by all tests here, which must not change it."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **KINDS[kind]), dtype=torch.float32)
    # A norm that is all ones hides whether it was applied.
    torch.nn.init.uniform_(final_norm(model).weight, 0.5, 2.0)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def model(kind):
    return built(kind)


def final_norm(model):
    return next(getattr(model, name) for name in FINAL_NORMS if hasattr(model, name))


def prompts_of(lengths, prefix=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[*prefix, *torch.randint(1, VOCAB, (n,), generator=generator).tolist()] for n in lengths]


PREFIX = prompts_of([40], seed=1)[0]
"""More than two windows."""
PROMPTS = prompts_of([5, 1, 30, 12, 5, 2], PREFIX)


def reference(kind, prompt):
    """(L, D): the residual stream after each block at the last token, from one unpadded run without a cache."""
    model, before_norm = built(kind), []
    handle = final_norm(model).register_forward_pre_hook(lambda module, args: before_norm.append(args[0]))
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([prompt]), output_hidden_states=True, use_cache=False).hidden_states
    handle.remove()
    first = 0 if kind in FIRST_IS_A_BLOCK else 1
    return torch.stack([*(hidden[first + k][0, -1] for k in range(NUM_LAYERS - 1)), before_norm[0][0, -1]])


@cache
def expected_of(kind):
    return torch.stack([reference(kind, prompt) for prompt in PROMPTS])


def assert_as_expected(pooled_QLD, kind, layers=ALL):
    torch.testing.assert_close(pooled_QLD, expected_of(kind)[:, : len(layers)], rtol=1e-5, atol=1e-5)


def test_features_equal_those_of_one_unpadded_run(kind, model):
    """With a prefix that is run once where the model can keep it: hybrids crashed there, after labels had been drawn.

    RWKV and RecurrentGemma leave the cache that they are given unused, so they gave features of other prompts.
    """
    assert len(shared_prefix(PROMPTS)) == len(PREFIX)
    assert_as_expected(extract(model, PROMPTS, ALL), kind)


@pytest.mark.parametrize("kind", ATTENTION)
def test_what_only_attends_runs_the_prefix_once(kind):
    with torch.no_grad():
        cache_of_prefix = _run_prefix(built(kind), PREFIX)
    assert cache_of_prefix.get_seq_length() == len(PREFIX)


@pytest.mark.parametrize("kind", HYBRIDS)
def test_what_keeps_more_than_keys_and_values_runs_each_prompt_whole(kind):
    with torch.no_grad():
        assert _run_prefix(built(kind), PREFIX) is None


def test_no_feature_sees_the_padding_to_its_right(kind, model):
    """State spaces and convolutions too: they are causal, and the rows of a batch need not be equally long."""
    with torch.no_grad():
        assert_as_expected(pool_prompts(model, PROMPTS, ALL), kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in IGNORES_THE_MASK])
def test_activations_are_tapped_wherever_the_padding_is(kind):
    """T2 pads on the right; who pads on the left gives the positions, where the model takes them."""
    model, longest = built(kind), max(map(len, PROMPTS))
    ids_BT = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in PROMPTS])
    mask_BT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS])
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    positions = {"position_ids": (mask_BT.cumsum(1) - 1).clamp(min=0)} if takes_positions else {}
    everywhere_BT = torch.ones_like(mask_BT)  # the last token of each row stands in the last place
    with torch.no_grad(), tapped(model, ALL, everywhere_BT) as pooled:
        model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False, **positions)
    assert_as_expected(torch.stack([pooled[layer] for layer in ALL], 1), kind)


def test_dropping_blocks_changes_no_tapped_layer(kind, model):
    short = copy.deepcopy(model)
    drop_blocks_above(short, 2)
    assert len(decoder_blocks(short)) == 2
    assert_as_expected(extract(short, PROMPTS, (1, 2)), kind, (1, 2))


def test_features_depend_on_the_prefix(kind):
    """By ten times what the tests above tolerate: else all runs would agree whatever became of it."""
    other = [*PROMPTS[1]]
    other[30] = VOCAB - other[30]
    assert float((expected_of(kind)[1, -1] - reference(kind, other)[-1]).abs().amax()) > 1e-4


def test_an_architecture_with_several_streams_is_refused():
    """Gemma 3n keeps four residual streams: the hook indexed them as if they were prompts."""
    model = copy.deepcopy(built("llama"))
    decoder_blocks(model)[1].register_forward_hook(lambda module, args, output: output.expand(4, *output.shape))
    with pytest.raises(T2Error, match=r"after block 2 of LlamaModel, got activations of shape \(4, "):
        pool_prompts(model, PROMPTS, (2,))
