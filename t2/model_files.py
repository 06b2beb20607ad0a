"""An LLM on disk: from a hub id or folder to files, and a fingerprint of their content (never of where they lie)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2.errors import T2Error, quoted
from t2.hashing import digest, sha256_of_file
from t2.hub import download

if TYPE_CHECKING:
    import torch

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja")
"""Files that decide tokenisation and template, hashed whole where they exist."""
_VOLATILE_CONFIG_KEYS = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
_PROBES, _PROBE_BYTES = 16, 4096
_FROM_GGUF = " A GGUF file becomes one by transformers' `from_pretrained(folder, gguf_file=...)` and `save_pretrained`."


@dataclass(frozen=True)
class ModelFiles:
    """A model that is present on this machine."""

    folder: Path
    id: str
    """hub id, or the folder's name"""
    revision: str | None
    """hub commit; None for a folder"""
    fingerprint: str
    """hash of config, tokenizer, template and weights' layout"""
    num_layers: int
    """decoder blocks"""
    width: int
    """hidden width"""
    quantization: str | None = None
    """how the weights are quantised, as "gptq"; None: they are not"""

    def as_json(self) -> dict[str, Any]:
        """What a pool records of its model; never the folder, and no quantisation where there is none."""
        known = {name: value for name, value in vars(self).items() if name != "folder"}
        return known if self.quantization else {name: value for name, value in known.items() if name != "quantization"}


def resolve_model(model: str, revision: str | None = None) -> ModelFiles:
    """Find or download a model.

    Raises:
        T2Error: neither a folder with a config nor a model that the hub can serve, or one that is no decoder-only LLM.
    """
    folder = Path(model)
    if _is_there(folder) and not folder.is_dir():
        raise T2Error(
            f"Expected a model folder or hub id, got the file {folder}. Name the folder with its config.json and "
            f"safetensors.{_FROM_GGUF if folder.suffix == '.gguf' else ''}"
        )
    if _is_there(folder):
        if not (folder / "config.json").is_file():
            gguf = any(folder.glob("*.gguf"))
            raise T2Error(
                f"Expected config.json in the model folder, got {folder} without one. Check `model`."
                f"{_FROM_GGUF if gguf else ''}"
            )
        return _described(folder, folder.resolve().name, None)
    snapshot = download(model, revision, "a model folder or hub id", without=["*.pth", "*.gguf", "original/*"])
    return _described(snapshot, model, snapshot.name)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _described(folder: Path, model_id: str, revision: str | None) -> ModelFiles:
    config = _decoder_config(folder)
    sizes: dict[str, Any] = {name: getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size")}
    if missing := [name for name, value in sizes.items() if not isinstance(value, int)]:
        raise T2Error(
            f"Expected {' and '.join(missing)} in {folder / 'config.json'}, got none: transformers knows none of "
            f"a model of type {quoted(config.model_type)}. This architecture is not supported yet."
        )
    num_layers, width = sizes.values()
    return ModelFiles(folder, model_id, revision, fingerprint(folder), num_layers, width, quantization_of(config))


def sixteen_bits_of(folder: Path) -> torch.dtype:
    """The type in which an engine runs an LLM by default: the LLM's own, or bf16 if it was saved in float32.

    Raises:
        T2Error: transformers does not know it, or it is another kind of model.
    """
    import torch

    own = _decoder_config(folder).dtype
    return own if own in (torch.float16, torch.bfloat16) else torch.bfloat16


def quantization_of(config: Any) -> str | None:
    """How the weights of a model with this config of transformers are quantised; None: they are not."""
    settings = getattr(config, "quantization_config", None)
    if not settings:
        return None
    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    return str(getattr(method, "value", method) or "in a way that its config does not name")


def quantization_note(model: str, method: str) -> str:
    """What a reader of numbers must know of quantised weights."""
    return (
        f"The weights of {model} are quantised ({method}): transformers, which features come from, and vLLM, which "
        "draws samples and serves, compute with them in ways of their own, so their activations may differ."
    )


def _decoder_config(folder: Path) -> Any:
    """The config of a decoder-only LLM as transformers reads it, which knows what each architecture calls its sizes.

    Raises:
        T2Error: transformers does not know it, or it is another kind of model.
    """
    from transformers import AutoConfig, __version__

    place = folder / "config.json"
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a class of its own for each kind of bad value
        reason = ". ".join(" ".join(str(error).split()).split(". ")[:2])  # what follows is about other programs
        raise T2Error(
            f"Expected {place} of an LLM that transformers {__version__} knows, got: {reason[:300].rstrip('.')}. Check "
            "`model`; code that comes with a model is not run."
        ) from error
    kind = quoted(config.model_type)
    if config.is_encoder_decoder:
        raise T2Error(f"Expected a decoder-only LLM in {place}, got {kind}, an encoder with a decoder. Take another.")
    if config.get_text_config() is not config:
        parts = ", ".join(sorted(name for name in config.sub_configs if name != "text_config"))
        raise T2Error(
            f"Expected a text-only LLM in {place}, got {kind}, which wraps one for other input"
            f"{f' ({parts})' if parts else ''}. Save its text decoder to a folder of its own, or take another model."
        )
    return config


def fingerprint(folder: Path) -> str:
    """Hash of config, tokenizer, template and weights' layout, with samples of the weights themselves.

    A weight index only lists names, so two fine-tunes of one model would share it: 16 probes of 4 KiB in each
    safetensors file tell them apart without reading gigabytes.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for key in _VOLATILE_CONFIG_KEYS:
        config.pop(key, None)
    tokenizer = {name: sha256_of_file(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    settings = folder / "tokenizer_config.json"
    # Older models keep the chat template in there, newer ones in a file of its own.
    if settings.is_file() and (template := json.loads(settings.read_text("utf-8")).get("chat_template")) is not None:
        tokenizer["chat_template"] = digest(template)
    weights = {path.name: _probe(path) for path in sorted(folder.glob("*.safetensors"))}
    return digest({"config": config, "tokenizer": tokenizer, "weights": weights})


def _probe(path: Path) -> str:
    size = path.stat().st_size
    probes = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if header_bytes > size - 8:
            raise T2Error(
                f"Expected a whole safetensors file, got {path} with {size} bytes and a header of {header_bytes}: cut "
                "short, or a Git LFS pointer. Download the weights again."
            )
        probes.update(file.read(header_bytes))
        for index in range(_PROBES):
            file.seek(8 + header_bytes + (size - 8 - header_bytes) * index // _PROBES)
            probes.update(file.read(_PROBE_BYTES))
    return probes.hexdigest()
