"""Pooled activations: against unpadded runs of the whole model, with and without a shared prefix, and their cache."""

import copy
import re
import subprocess
import sys

import pytest
import torch
from helpers.architectures import ALL, NUM_LAYERS, SIZES, VOCAB, WIDTH
from transformers import LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

import t2.activations.backbone
import t2.activations.cache
from t2.activations.backbone import drop_blocks_above, extract, load_frozen, shared_prefix
from t2.activations.cache import FeatureCache, FeatureSpec, cached_features
from t2.activations.features import computed
from t2.activations.layers import choose_layers, decoder_blocks, hook_index
from t2.activations.learned import Learned
from t2.activations.pooling import AttentionPool, pool_prompts, right_pad, tapped
from t2.errors import T2Error
from t2.model_files import sixteen_bits_of

KINDS = {
    "llama": (LlamaModel, LlamaConfig, {}),
    "qwen2": (Qwen2Model, Qwen2Config, {}),
    # Windows shorter than the prompts, as in Gemma: the first block has one.
    "sliding": (
        Qwen2Model,
        Qwen2Config,
        {
            "use_sliding_window": True,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention"],
        },
    ),
}


def _build(kind):
    torch.manual_seed(0)
    model_class, config_class, extra = KINDS[kind]
    model = model_class(config_class(**SIZES, **extra))
    # A norm that is all ones hides whether it was applied.
    torch.nn.init.uniform_(model.norm.weight, 0.5, 2.0)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Models this small lose time to threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request):
    return _build(request.param)


@pytest.fixture(scope="module", params=list(KINDS))
def any_model(request):
    return _build(request.param)


def prompts_of(lengths, prefix=(), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[*prefix, *torch.randint(1, VOCAB, (n,), generator=generator).tolist()] for n in lengths]


def reference(model, prompt):
    """(L, D): the residual stream after each block at the last token, from one unpadded run."""
    norm_input = []
    handle = model.norm.register_forward_pre_hook(lambda module, args: norm_input.append(args[0]))
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([prompt]), output_hidden_states=True, use_cache=False).hidden_states
    handle.remove()
    return torch.stack([hidden[k][0, -1] for k in range(1, NUM_LAYERS)] + [norm_input[0][0, -1]])


def num_hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


# Pooling


def test_pooling_with_padding_equals_unpadded_runs(any_model):
    prompts = prompts_of([3, 1, 40, 17])
    pooled_BLD = pool_prompts(any_model, prompts, ALL)
    expected_BLD = torch.stack([reference(any_model, prompt) for prompt in prompts])
    torch.testing.assert_close(pooled_BLD, expected_BLD, rtol=0, atol=1e-5)


def test_the_last_layer_is_before_the_final_norm(model):
    prompt = prompts_of([5])[0]
    with torch.no_grad():
        after_norm = model(input_ids=torch.tensor([prompt])).last_hidden_state[0, -1]
    pooled = pool_prompts(model, [prompt], [NUM_LAYERS])[0, 0]
    assert not torch.allclose(pooled, after_norm, atol=1e-2)
    torch.testing.assert_close(model.norm(pooled), after_norm, rtol=0, atol=1e-5)


def test_layers_come_in_the_order_asked(model):
    prompts = prompts_of([4, 6])
    torch.testing.assert_close(
        pool_prompts(model, prompts, [3, 1]), pool_prompts(model, prompts, ALL)[:, [2, 0]], rtol=0, atol=0
    )


def test_only_the_last_tokens_are_kept(model):
    ids_BT, mask_BT = right_pad(prompts_of([9, 30, 4]))
    with tapped(model, [2, 4], mask_BT) as pooled:
        model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    assert {layer: tuple(kept.shape) for layer, kept in pooled.items()} == {2: (3, WIDTH), 4: (3, WIDTH)}
    # Not a view that keeps all positions alive.
    assert all(kept.untyped_storage().nbytes() == 3 * WIDTH * 4 for kept in pooled.values())


def test_hooks_come_off(model):
    with tapped(model, ALL, torch.ones(1, 1)):
        assert num_hooks(model) == NUM_LAYERS
    assert num_hooks(model) == 0
    with pytest.raises(IndexError):
        pool_prompts(model, [[VOCAB + 5]], ALL)
    assert num_hooks(model) == 0
    with pytest.raises(IndexError):
        extract(model, [*prompts_of([2, 3], prefix=range(40)), [*range(40), VOCAB + 5]], ALL)
    assert num_hooks(model) == 0


def test_right_pad():
    ids_BT, mask_BT = right_pad([[5, 6], [7]])
    assert ids_BT.tolist() == [[5, 6], [7, 0]]
    assert mask_BT.tolist() == [[1, 1], [1, 0]]


# Extraction


@pytest.mark.parametrize("prefix_length", [0, 32, 50])
def test_extract_equals_prompt_by_prompt(any_model, prefix_length, monkeypatch):
    monkeypatch.setattr("t2.activations.backbone.TOKENS_PER_BATCH", 60)
    prompts = prompts_of([5, 1, 30, 12, 5, 2], prefix=prompts_of([prefix_length], seed=1)[0])
    assert len(shared_prefix(prompts)) == prefix_length
    done = []
    pooled_QLD = extract(any_model, prompts, ALL, done.append)
    expected_QLD = torch.stack([reference(any_model, prompt) for prompt in prompts])
    torch.testing.assert_close(pooled_QLD, expected_QLD, rtol=0, atol=1e-5)
    assert done == sorted(done)
    assert done[-1] == len(prompts)


def test_a_prompt_that_is_a_prefix_of_the_others(model):
    prefix = prompts_of([40])[0]
    prompts = [prefix, [*prefix, 3], [*prefix, 3, 4], prefix]
    assert shared_prefix(prompts) == prefix[:-1]
    expected_QLD = torch.stack([reference(model, prompt) for prompt in prompts])
    torch.testing.assert_close(extract(model, prompts, ALL), expected_QLD, rtol=0, atol=1e-5)


def test_shared_prefix_cases():
    long = list(range(40))
    assert shared_prefix([long]) == []
    assert shared_prefix([long, long]) == long[:-1]
    assert shared_prefix([long, long[:20]]) == []
    assert shared_prefix([[1, *long], [2, *long]]) == []


def test_extract_wants_a_prompt(model):
    with pytest.raises(ValueError, match="at least one prompt"):
        extract(model, [], ALL)


@pytest.mark.parametrize("prefix_length", [0, 32])
def test_dropping_blocks_changes_no_tapped_layer(any_model, prefix_length):
    short = copy.deepcopy(any_model)
    drop_blocks_above(short, 2)
    assert len(decoder_blocks(short)) == 2
    prompts = prompts_of([5, 9, 2], prefix=prompts_of([prefix_length], seed=1)[0])
    expected_QLD = extract(any_model, prompts, ALL)[:, :2]
    torch.testing.assert_close(extract(short, prompts, [1, 2]), expected_QLD, rtol=0, atol=1e-6)


def test_learned_queries_go_where_the_llm_is(model):
    """They stayed on the CPU, so that an exported head with attention pooling could read nothing on a GPU."""
    elsewhere = copy.deepcopy(model).to("meta")
    _, pool = Learned(query_LD=torch.ones(2, WIDTH)).reading(elsewhere, "attention", (2, 4), WIDTH)
    assert isinstance(pool, AttentionPool)
    assert pool.query_LD.device.type == "meta"


# Layer numbers


@pytest.mark.parametrize(
    ("choice", "num_layers", "layers"),
    [
        ("every-4th", 28, (4, 8, 12, 16, 20, 24, 28)),
        ("every-4th", 18, (4, 8, 12, 16, 18)),
        ("every-4th", 3, (3,)),
        ("every-2nd", 5, (2, 4, 5)),
        ("all", 3, (1, 2, 3)),
        ("last", 7, (7,)),
        ([7, 1, 3], 7, (1, 3, 7)),
    ],
)
def test_choose_layers(choice, num_layers, layers):
    assert choose_layers(choice, num_layers) == layers


@pytest.mark.parametrize("choice", [[0], [8], [-1], [2, 2], []])
def test_impossible_layers_are_refused(choice):
    with pytest.raises(T2Error, match=r"between 1 and 7 .*model\.layers"):
        choose_layers(choice, 7)


def test_layer_numbers_convert():
    assert [hook_index(k) for k in ALL] == [0, 1, 2, 3]


def test_an_unknown_architecture_is_refused(model):
    odd = copy.deepcopy(model)
    odd.more = torch.nn.ModuleList(torch.nn.Identity() for _ in range(NUM_LAYERS))
    with pytest.raises(T2Error, match="one list of 4 decoder blocks"):
        decoder_blocks(odd)


def test_lists_inside_blocks_are_no_blocks(model):
    """A model with as many experts as blocks was refused."""
    mixture = copy.deepcopy(model)
    for block in decoder_blocks(mixture):
        block.experts = torch.nn.ModuleList(torch.nn.Identity() for _ in range(NUM_LAYERS))
    assert decoder_blocks(mixture) is mixture.layers


# Cache

SPEC = FeatureSpec("f" * 64, (1, 3))


def features_of(prompts):
    """Something that depends on each prompt alone and that bf16 cannot hold."""
    return torch.stack([torch.full((2, 8), sum(prompt) + 1 / 3) for prompt in prompts])


def counting(calls):
    def compute(prompts):
        calls.append([tuple(prompt) for prompt in prompts])
        yield from features_of(prompts).split(16)

    return compute


def test_features_come_back_through_bf16(tmp_path):
    prompts = [(1, 2), (3,), (1, 2, 3)]
    cache = FeatureCache(tmp_path, SPEC)
    cache.store(prompts, features_of(prompts))
    loaded_QLD = FeatureCache(tmp_path, SPEC).load([prompts[2], prompts[0], prompts[2]])
    assert loaded_QLD.dtype == torch.float32
    expected_QLD = features_of([prompts[2], prompts[0], prompts[2]])
    assert not loaded_QLD.equal(expected_QLD)
    assert loaded_QLD.equal(expected_QLD.bfloat16().float())


def test_missing_prompts_are_none(tmp_path):
    cache = FeatureCache(tmp_path, SPEC)
    assert cache.load([(1,)]) is None
    cache.store([(1,)], features_of([(1,)]))
    assert cache.load([(1,), (2,)]) is None
    assert cache.load([(1,)]) is not None


def test_only_missing_prompts_are_computed(tmp_path):
    calls = []
    cache = FeatureCache(tmp_path, SPEC)
    first_QLD = cached_features(cache, [(1,), (2,), (1,)], counting(calls))
    again_QLD = cached_features(cache, [(1,), (2,), (1,)], counting(calls))
    more_QLD = cached_features(cache, [(4,), (2,), (3,)], counting(calls))
    assert calls == [[(1,), (2,)], [(4,), (3,)]]
    assert first_QLD.equal(features_of([(1,), (2,), (1,)]).bfloat16().float())
    assert again_QLD.equal(first_QLD)
    assert more_QLD.equal(features_of([(4,), (2,), (3,)]).bfloat16().float())


def test_a_top_up_does_not_read_the_file_for_each_prompt(tmp_path, monkeypatch):
    reads = []
    load_file = t2.activations.cache.load_file
    monkeypatch.setattr(t2.activations.cache, "load_file", lambda path: reads.append(path) or load_file(path))
    cache = FeatureCache(tmp_path, SPEC)
    prompts = [(i,) for i in range(40)]
    cached_features(cache, prompts[:30], counting([]))
    cached_features(cache, prompts, counting([]))
    assert len(reads) < 10


@pytest.mark.parametrize("other", [FeatureSpec("0" * 64, (1, 3)), FeatureSpec("f" * 64, (1, 2))])
def test_another_spec_uses_another_folder(tmp_path, other):
    cache = FeatureCache(tmp_path, SPEC)
    cache.store([(1,)], features_of([(1,)]))
    assert FeatureCache(tmp_path, other).folder != cache.folder
    assert FeatureCache(tmp_path, other).load([(1,)]) is None


def test_features_that_are_done_are_kept_when_the_rest_fails(tmp_path):
    """Hours of extraction were lost: features were kept only when all were there."""

    def dies(prompts):
        yield features_of(prompts[:2])
        raise KeyboardInterrupt

    calls, cache, prompts = [], FeatureCache(tmp_path, SPEC), [(1,), (2,), (3,)]
    with pytest.raises(KeyboardInterrupt):
        cached_features(cache, prompts, dies)
    cached_features(cache, prompts, counting(calls))
    assert calls == [[(3,)]]


def test_a_write_that_died_between_the_files_loses_no_old_feature(tmp_path):
    """It made the whole cache unreadable."""
    cache = FeatureCache(tmp_path, SPEC)
    cache.store([(1,)], features_of([(1,)]))
    old = (cache.folder / "index.json").read_bytes()
    cache.store([(2,)], features_of([(2,)]))
    (cache.folder / "index.json").write_bytes(old)
    assert cache.load([(1,)]).equal(features_of([(1,)]).bfloat16().float())
    assert cache.load([(2,)]) is None
    cache.store([(3,)], features_of([(3,)]))
    assert cache.load([(3,), (1,)]).equal(features_of([(3,), (1,)]).bfloat16().float())


def test_an_index_of_more_features_than_there_are_is_refused(tmp_path):
    cache = FeatureCache(tmp_path, SPEC)
    cache.store([(1,)], features_of([(1,)]))
    old = (cache.folder / "features.safetensors").read_bytes()
    cache.store([(2,)], features_of([(2,)]))
    (cache.folder / "features.safetensors").write_bytes(old)
    with pytest.raises(T2Error, match=r"Expected 2 rows .* got 1"):
        cache.load([(1,)])


def test_two_processes_that_store_lose_nothing_and_mix_nothing_up(tmp_path):
    """Read, merge, write without a lock: one process's features could end under the other's prompts."""
    script = (
        "import sys, torch; from pathlib import Path; from t2.activations.cache import FeatureCache, FeatureSpec\n"
        f"cache = FeatureCache(Path({str(tmp_path)!r}), FeatureSpec({SPEC.model_fingerprint!r}, {SPEC.layers!r}))\n"
        "for n in range(int(sys.argv[1]), 60, 2):\n"
        "    cache.store([(n,)], torch.full((1, 2, 3), float(n)))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(first)]) for first in (0, 1)]
    assert [process.wait(timeout=120) for process in running] == [0, 0]
    found = FeatureCache(tmp_path, SPEC).load([(n,) for n in range(60)])
    assert found[:, 0, 0].tolist() == list(range(60))


@pytest.mark.parametrize("name", ["features.safetensors", "index.json"])
def test_cut_short_files_are_refused(tmp_path, name):
    cache = FeatureCache(tmp_path, SPEC)
    cache.store([(1,), (2,)], features_of([(1,), (2,)]))
    file = cache.folder / name
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(T2Error, match=name):
        cache.load([(1,)])


@pytest.mark.parametrize(("emulated", "expected"), [(True, torch.float32), (False, torch.bfloat16)])
def test_a_16_bit_model_runs_in_float32_where_16_bits_are_emulated(tmp_path, monkeypatch, emulated, expected):
    LlamaModel(LlamaConfig(**SIZES)).bfloat16().save_pretrained(tmp_path)
    monkeypatch.setattr(t2.activations.backbone, "emulates_16_bits", lambda: emulated)
    assert load_frozen(tmp_path, device="cpu").dtype == expected
    for asked in (torch.float32, torch.bfloat16):
        assert load_frozen(tmp_path, device="cpu", dtype=asked).dtype == asked


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (torch.float16, torch.float16),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.bfloat16),  # vLLM's rule
    ],
)
def test_an_engine_runs_16_bits_of_the_models_own_kind(tmp_path, own, expected):
    LlamaModel(LlamaConfig(**SIZES)).to(own).save_pretrained(tmp_path)
    assert sixteen_bits_of(tmp_path) == expected


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path):
    """Transformers only says so, and not even that at the level of its words that is used here."""
    model = LlamaModel(LlamaConfig(**SIZES))
    weights = model.state_dict()
    weights.pop("layers.1.mlp.up_proj.weight")
    model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(T2Error, match=r"all weights of LlamaModel in .*, got none for 1 \(first: layers\.1\.mlp"):
        load_frozen(tmp_path, device="cpu")


def test_an_llm_that_cannot_be_loaded_is_one_line(tmp_path):
    LlamaModel(LlamaConfig(**SIZES)).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(T2Error, match=r"Expected an LLM that transformers loads, got .*: ") as caught:
        load_frozen(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 3.4e38])
def test_a_feature_that_is_no_number_is_refused_before_it_is_stored(tmp_path, value):
    """It was stored and came back with every run; the last one is finite until it is rounded to bf16."""
    cache, prompts = FeatureCache(tmp_path, SPEC), [(1,), (2,), (3,)]

    def compute(missing):
        pooled_QLD = features_of(missing)
        pooled_QLD[1, 1, 5] = value
        yield from pooled_QLD.split(1)

    with pytest.raises(T2Error, match=r"finite features, got .* at layer 3 of question 'q2' .* out of `model\.layers`"):
        cached_features(cache, prompts, compute, ["q1", "q2", "q3"])
    assert cache.load(prompts[:1]) is not None
    assert cache.load(prompts[1:2]) is None


def test_a_cache_that_has_taken_one_says_so(tmp_path):
    cache = FeatureCache(tmp_path, SPEC)
    cache.store([(1,), (2,)], torch.tensor([1.0, float("inf")]).view(2, 1, 1).expand(2, 2, 8))
    assert cache.load([(1,)]) is not None
    with pytest.raises(T2Error, match=r"got inf at layer 1 of question 'q2' .* Delete .* in any case"):
        cached_features(cache, [(1,), (2,)], counting([]), ["q1", "q2"])


def test_features_of_quantised_weights_come_with_a_warning(tmp_path, capsys, monkeypatch):
    """`quantization_config` in the config of weights that transformers loads without a package of its own."""
    model = LlamaModel(LlamaConfig(**SIZES))
    model.config.quantization_config = {"quant_method": "awq"}
    monkeypatch.setattr("t2.activations.features.load_frozen", lambda folder, **_: model)
    computed(tmp_path, prompts_of([3, 4]), FeatureSpec("model", (1,)))
    assert re.search(r"weights of .* are quantised \(awq\): .* activations may differ", capsys.readouterr().err)


def test_what_an_architecture_raises_is_one_line(tmp_path, monkeypatch):
    model = LlamaModel(LlamaConfig(**SIZES))
    model.forward = lambda **_: model.batch_repeat
    monkeypatch.setattr("t2.activations.features.load_frozen", lambda folder, **_: model)
    with pytest.raises(T2Error, match=r"features of LlamaModel at layers \[1\], got AttributeError: .*batch_repeat"):
        computed(tmp_path, prompts_of([3, 4]), FeatureSpec("model", (1,)))
