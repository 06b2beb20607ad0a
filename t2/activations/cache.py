"""Pooled features on disk, keyed by what decides them: model, layers, pooling, and each prompt's token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2.errors import T2Error
from t2.hashing import digest
from t2.store.files import write_atomically, write_text_atomically

FEATURES_FORMAT_VERSION = 1
STORED_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class FeatureSpec:
    """What features are of; two specs that differ never share a cache."""

    model_fingerprint: str
    layers: tuple[int, ...]
    pooling: str = "last-token"

    @property
    def fingerprint(self) -> str:
        """Hash of the spec; the name of the cache's folder."""
        return digest({**asdict(self), "layers": list(self.layers), "version": FEATURES_FORMAT_VERSION})[:16]


def prompt_key(prompt: Sequence[int]) -> str:
    """Identity of a prompt: the hash of its token ids."""
    return digest(list(prompt))[:24]


class FeatureCache:
    """`root/<fingerprint>/`: features.safetensors (pooled_QLD, bf16) and index.json (spec, prompt keys in order)."""

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        """Open; nothing need be there yet."""
        self.folder, self.spec = root / spec.fingerprint, spec

    def load(self, prompts: Sequence[Sequence[int]]) -> Tensor | None:
        """Features of `prompts` as float32, (Q, L, D); None if any is missing.

        Raises:
            T2Error: the files do not fit each other.
        """
        stored = self._read()
        if stored is None:
            return None
        keys, pooled_QLD = stored
        row = {key: index for index, key in enumerate(keys)}
        rows = [row.get(prompt_key(prompt)) for prompt in prompts]
        return None if None in rows else pooled_QLD[rows].float()

    def store(self, prompts: Sequence[Sequence[int]], pooled_QLD: Tensor) -> None:
        """Add features (bf16 on disk); prompts that are there already are replaced."""
        keys = [prompt_key(prompt) for prompt in prompts]
        merged = dict(zip(keys, pooled_QLD.to(STORED_DTYPE), strict=True))
        if (stored := self._read()) is not None:
            merged = dict(zip(stored[0], stored[1], strict=True)) | merged
        tensors = {"pooled_QLD": torch.stack(list(merged.values())).contiguous()}
        index = {
            "format_version": FEATURES_FORMAT_VERSION,
            "model_fingerprint": self.spec.model_fingerprint,
            "layers": list(self.spec.layers),
            "pooling": self.spec.pooling,
            "prompt_keys": list(merged),
        }
        # The index goes first: features without a matching index would be unreadable, an index too long is detected.
        write_text_atomically(self.folder / "index.json", json.dumps(index) + "\n")
        write_atomically(self.folder / "features.safetensors", lambda path: save_file(tensors, path))

    def keys(self) -> set[str]:
        """Keys of the prompts that are there."""
        stored = self._read()
        return set(stored[0]) if stored else set()

    def _read(self) -> tuple[list[str], Tensor] | None:
        index_path, tensor_path = self.folder / "index.json", self.folder / "features.safetensors"
        if not (index_path.exists() and tensor_path.exists()):
            return None
        try:
            keys = json.loads(index_path.read_text(encoding="utf-8"))["prompt_keys"]
            pooled_QLD = load_file(tensor_path)["pooled_QLD"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise T2Error(
                f"Expected {index_path.name} and {tensor_path.name} in {self.folder}, got a damaged file "
                f"({type(error).__name__}). "
                "Delete the folder; features are computed again."
            ) from error
        if len(keys) != len(pooled_QLD):
            raise T2Error(
                f"Expected {len(keys)} rows in {tensor_path}, got {len(pooled_QLD)}: a write was cut short. "
                "Delete the folder; features are computed again."
            )
        return keys, pooled_QLD


def cached_features(
    cache: FeatureCache, prompts: Sequence[Sequence[int]], compute: Callable[[list[Sequence[int]]], Tensor]
) -> Tensor:
    """Features of `prompts`, (Q, L, D) float32; `compute` is called once, with the missing ones, and its result kept.

    Features always come back through bf16, so that a first run and a later one see the same numbers.
    """
    pooled_QLD = cache.load(prompts)
    if pooled_QLD is None:
        held = cache.keys()
        missing = list({key: p for p in prompts if (key := prompt_key(p)) not in held}.values())
        cache.store(missing, compute(missing))
        pooled_QLD = cache.load(prompts)
        assert pooled_QLD is not None
    return pooled_QLD
