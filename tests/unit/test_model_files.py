"""The fingerprint of a model follows its content, never its place or name."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from t2.errors import T2Error
from t2.model_files import fingerprint, resolve_model

TINY = Path(__file__).parents[2] / "assets" / "tiny-arith"


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(TINY, tmp_path / "copy"))


@pytest.fixture
def original():
    return fingerprint(TINY)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_embedded_model_is_described():
    model = resolve_model(str(TINY))
    assert (model.id, model.revision, model.num_layers, model.width) == ("tiny-arith", None, 4, 128)
    assert model.as_json() == {
        "id": "tiny-arith", "revision": None, "fingerprint": fingerprint(TINY), "num_layers": 4, "width": 128,
    }  # fmt: skip


def test_a_copy_is_the_same_model(copy, original):
    assert resolve_model(str(copy)).fingerprint == original


def test_what_a_library_writes_about_itself_does_not_count(copy, original):
    edit_json(copy / "config.json", transformers_version="9.9", torch_dtype="bfloat16", _name_or_path="/else/where")
    (copy / "README.md").write_text("A model card.")
    assert fingerprint(copy) == original


def test_other_weights_differ(copy, original):
    torch.manual_seed(0)
    weights = load_file(copy / "model.safetensors")
    save_file(
        {n: w + 1e-3 * torch.randn_like(w) for n, w in weights.items()}, copy / "model.safetensors", {"format": "pt"}
    )
    changed = fingerprint(copy)
    assert (copy / "model.safetensors").stat().st_size == (TINY / "model.safetensors").stat().st_size
    assert changed != original


def test_another_number_of_weight_files_differs(copy, original):
    shutil.copy(copy / "model.safetensors", copy / "model-00002-of-00002.safetensors")
    assert fingerprint(copy) != original


def test_another_config_differs(copy, original):
    edit_json(copy / "config.json", rms_norm_eps=1e-5)
    assert fingerprint(copy) != original


def test_another_template_differs(copy, original):
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert fingerprint(copy) != original


def test_another_template_in_the_tokenizer_config_differs(copy, original):
    """Where models saved before transformers 4.52 keep it."""
    (copy / "chat_template.jinja").unlink()
    edit_json(copy / "tokenizer_config.json", chat_template="{{ messages[0]['content'] }}=")
    one = fingerprint(copy)
    edit_json(copy / "tokenizer_config.json", chat_template="{{ messages[0]['content'] }}?")
    assert len({original, one, fingerprint(copy)}) == 3


def test_another_tokenizer_differs(copy, original):
    raw = (copy / "tokenizer.json").read_text()
    assert "<unused0>" in raw
    (copy / "tokenizer.json").write_text(raw.replace("<unused0>", "<other0>"))
    assert fingerprint(copy) != original


def test_a_small_weight_file_is_read_whole(tmp_path, copy):
    """Probes overlap where a file is smaller than all of them together."""
    seen = set()
    for value in range(3):
        save_file({"w": torch.tensor([0.0, float(value)])}, copy / "model.safetensors")
        seen.add(fingerprint(copy))
    assert len(seen) == 3


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(T2Error, match=r"config\.json") as caught:
        resolve_model(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not a valid JSON file"),
        ("[]", "Should have a `model_type` key"),
        ('{"n_layer": 12, "n_embd": 768}', "Should have a `model_type` key"),
        ('{"model_type": "no-such-type"}', "does not recognize this architecture"),
        ('{"model_type": "x", "auto_map": {"AutoConfig": "a.B"}}', "contains custom code .* is not run"),
        ('{"model_type": "llama", "hidden_size": null}', "'hidden_size' expected int, got NoneType"),
        ('{"model_type": "blt"}', "got none: transformers knows none of a model of type 'blt'"),
    ],
)
def test_an_unreadable_config_is_refused(copy, content, words):
    """The message said "KeyError" where a number had another name."""
    (copy / "config.json").write_text(content)
    with pytest.raises(T2Error, match=rf"config\.json.*{words}") as caught:
        resolve_model(str(copy))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"model_type": "gpt2", "n_layer": 3, "n_embd": 48},
        {"model_type": "bloom", "n_layer": 3, "n_embed": 48},
        {"model_type": "mpt", "n_layers": 3, "d_model": 48},
        {"model_type": "gemma3_text", "num_hidden_layers": 3, "hidden_size": 48},
    ],
)
def test_sizes_go_by_the_names_of_each_architecture(copy, content):
    (copy / "config.json").write_text(json.dumps(content))
    model = resolve_model(str(copy))
    assert (model.num_layers, model.width, model.quantization) == (3, 48, None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model_type": "gemma3"}, r"text-only LLM in .*, got 'gemma3', .*\(vision_config\)\. Save its text decoder"),
        ({"model_type": "llava"}, "text-only LLM in .*, got 'llava'"),
        ({"model_type": "qwen2_5_vl"}, "text-only LLM in .*, got 'qwen2_5_vl'"),
        ({"model_type": "t5"}, "decoder-only LLM in .*, got 't5', an encoder with a decoder"),
        ({"model_type": "whisper"}, "decoder-only LLM in .*, got 'whisper'"),
    ],
)
def test_what_is_no_text_decoder_is_refused_by_name(copy, content, words):
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(T2Error, match=words):
        resolve_model(str(copy))


def test_quantised_weights_are_recorded(copy):
    edit_json(copy / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    model = resolve_model(str(copy))
    assert model.quantization == "gptq"
    assert model.as_json()["quantization"] == "gptq"


def test_a_gguf_file_is_told_what_to_become(tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    for model in (file, tmp_path):
        with pytest.raises(T2Error, match=r"config\.json.*gguf_file=\.\.\..*save_pretrained"):
            resolve_model(str(model))


@pytest.mark.parametrize("name", ["nobody/has-this-model", "no-such-model"])
def test_an_unknown_id_is_refused_offline(name):
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    with pytest.raises(T2Error, match="model folder or hub id") as caught:
        resolve_model(name)
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", b"\xff" * 64])
def test_weights_that_are_not_there_are_named(copy, content):
    """A Git LFS pointer was read as a header of 10^18 bytes."""
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(T2Error, match=r"Expected a whole safetensors file, got .*Git LFS pointer"):
        resolve_model(str(copy))
