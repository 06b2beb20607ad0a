"""Features of many architectures: tiny random models against one unpadded run without any cache, prompt by prompt."""

import copy
from functools import cache

import pytest
import torch
from helpers.architectures import (
    ALL,
    ATTENTION,
    FIRST_IS_A_BLOCK,
    HYBRIDS,
    IGNORES_THE_MASK,
    KINDS,
    NUM_LAYERS,
    PREFIX,
    PROMPTS,
    VOCAB,
    built,
    final_norm,
    pooled_left_padded,
)

from t2.activations.backbone import _run_prefix, drop_blocks_above, extract, shared_prefix
from t2.activations.layers import decoder_blocks
from t2.activations.pooling import pool_prompts
from t2.errors import T2Error


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def model(kind):
    return built(kind)


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
    assert_as_expected(pooled_left_padded(built(kind), PROMPTS), kind)


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
