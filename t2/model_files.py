"""An LLM on disk: from a hub id or folder to files, and a fingerprint of their content (never of where they lie)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2.errors import T2Error
from t2.hashing import digest, sha256_of_file

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "chat_template.jinja")
"""Files that decide tokenisation and template, hashed whole where they exist."""
_VOLATILE_CONFIG_KEYS = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")
_PROBES, _PROBE_BYTES = 16, 4096


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

    def as_json(self) -> dict[str, Any]:
        """What a pool records of its model; never the folder."""
        return {name: value for name, value in vars(self).items() if name != "folder"}


def resolve_model(model: str, revision: str | None = None) -> ModelFiles:
    """Find or download a model.

    Raises:
        T2Error: neither a folder with a config nor a model that the hub can serve.
    """
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise T2Error(f"Expected config.json in the model folder, got {folder} without one. Check `model`.")
        return _described(folder, folder.resolve().name, None)
    snapshot = download(model, revision, "a model folder or hub id", without=["*.pth", "*.gguf", "original/*"])
    return _described(snapshot, model, snapshot.name)


def download(
    name: str, revision: str | None, expected: str, only: list[str] | None = None, without: list[str] | None = None
) -> Path:
    """Folder of a hub repository's files, by their patterns.

    Raises:
        T2Error: the hub does not serve it; `expected` says what it should have been.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=only, ignore_patterns=without))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise T2Error(
            f"Expected {expected}, got {name!r}: no such folder, and the hub did not serve it "
            f"({type(error).__name__}). Check the spelling, your network or HF_TOKEN."
        ) from error


def _described(folder: Path, model_id: str, revision: str | None) -> ModelFiles:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        text = config.get("text_config", config)  # a model that also sees keeps its decoder's sizes a level below
        num_layers, width = int(text["num_hidden_layers"]), int(text["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise T2Error(
            f"Expected num_hidden_layers and hidden_size in {folder / 'config.json'}, got {type(error).__name__}."
        ) from error
    return ModelFiles(folder, model_id, revision, fingerprint(folder), num_layers, width)


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
