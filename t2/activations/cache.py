"""Pooled features on disk, keyed by what decides them: model, layers, pooling, and each prompt's token ids."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2.activations.pooling import Pooling
from t2.errors import T2Error, quoted
from t2.hashing import digest
from t2.store.files import write_atomically, write_text_atomically

FEATURES_FORMAT_VERSION = 1
STORED_DTYPE = torch.bfloat16


@dataclass(frozen=True)
class FeatureSpec:
    """What features are of; two specs that differ never share a cache."""

    model_fingerprint: str
    layers: tuple[int, ...]
    pooling: Pooling = "last-token"
    learned: str = ""
    """fingerprint of an adapter or of learned queries (`Learned.fingerprint`); empty: the frozen LLM alone"""

    def as_json(self) -> dict[str, object]:
        """As it stands in the cache's index; what most caches lack is left out, and so is no part of their names."""
        return {name: value for name, value in asdict(self).items() if name != "learned" or value}

    @property
    def fingerprint(self) -> str:
        """Hash of the spec; the name of the cache's folder."""
        return digest({**self.as_json(), "version": FEATURES_FORMAT_VERSION})[:16]


def as_stored(pooled_BLD: Tensor) -> Tensor:
    """Rounded to what a cache gives back, float32 by way of bf16: training, labels and serving see the same numbers."""
    return pooled_BLD.to(STORED_DTYPE).float()


def check_finite(pooled_QLD: Tensor, layers: Sequence[int], names: Sequence[str]) -> None:
    """Make sure that every feature is a number that can be stored.

    Args:
        pooled_QLD: features.
        layers: L layer numbers.
        names: Q, of the prompts.

    Raises:
        T2Error: names the first prompt and layer whose features are infinite or NaN, and says how many are.
    """
    bad_QL = ~pooled_QLD.to(STORED_DTYPE).isfinite().all(-1)
    if not bool(bad_QL.any()):
        return
    row, column = bad_QL.nonzero()[0].tolist()
    values_D = pooled_QLD[row, column]
    value = float(values_D[~values_D.to(STORED_DTYPE).isfinite()][0])
    raise T2Error(
        f"Expected finite features, got {value} at layer {layers[column]} of question {quoted(names[row])} "
        f"({int(bad_QL.any(1).sum())} of {len(names)} questions have such). Leave layer {layers[column]} out of "
        "`model.layers`, or the question out of the task."
    )


def prompt_key(prompt: Sequence[int]) -> str:
    """Identity of a prompt: the hash of its token ids."""
    return digest(list(prompt))[:24]


class FeatureCache:
    """`root/<fingerprint>/`: features.safetensors (pooled_QLD, bf16) and index.json (spec, prompt keys in order)."""

    def __init__(self, root: Path, spec: FeatureSpec) -> None:
        self.folder, self.spec = root / spec.fingerprint, spec

    def load(self, prompts: Sequence[Sequence[int]], names: Sequence[str] | None = None) -> Tensor | None:
        """Features of `prompts` as float32, (Q, L, D); None if any is missing.

        Raises:
            T2Error: the files do not fit each other, or a feature is not finite; `names` are of the prompts.
        """
        stored = self._read()
        if stored is None:
            return None
        keys, pooled_QLD = stored
        row = {key: index for index, key in enumerate(keys)}
        rows = [row.get(prompt_key(prompt)) for prompt in prompts]
        if None in rows:
            return None
        loaded_QLD = pooled_QLD[rows].float()
        try:
            check_finite(loaded_QLD, self.spec.layers, names or numbered(prompts))
        except T2Error as error:  # older caches took whatever came
            raise T2Error(f"{error} Delete {self.folder} in any case.") from error
        return loaded_QLD

    def store(self, prompts: Sequence[Sequence[int]], pooled_QLD: Tensor) -> None:
        """Add features (bf16 on disk); prompts that are there already are replaced. Processes wait for each other."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            self._merge(dict(zip(map(prompt_key, prompts), pooled_QLD.to(STORED_DTYPE), strict=True)))

    def _merge(self, new: dict[str, Tensor]) -> None:
        """What is there keeps its rows, so that an older index reads newer features rightly."""
        stored = self._read()
        merged = {**dict(zip(*stored, strict=True)), **new} if stored is not None else new
        tensors = {"pooled_QLD": torch.stack(list(merged.values())).contiguous()}
        index = {"format_version": FEATURES_FORMAT_VERSION, **self.spec.as_json(), "prompt_keys": list(merged)}
        # Features go first: rows that no index names yet are no harm, names without rows would be.
        write_atomically(self.folder / "features.safetensors", lambda path: save_file(tensors, path))
        write_text_atomically(self.folder / "index.json", json.dumps(index) + "\n")

    def keys(self) -> set[str]:
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
                f"({type(error).__name__}). Delete the folder; features are computed again."
            ) from error
        if len(keys) > len(pooled_QLD):
            raise T2Error(
                f"Expected {len(keys)} rows in {tensor_path}, got {len(pooled_QLD)}: the two files are of different "
                "caches. Delete the folder; features are computed again."
            )
        return keys, pooled_QLD[: len(keys)]


def cached_features(
    cache: FeatureCache,
    prompts: Sequence[Sequence[int]],
    compute: Callable[[list[Sequence[int]]], Iterable[Tensor]],
    names: Sequence[str] | None = None,
) -> Tensor:
    """Features of `prompts` (token ids), (Q, L, D) float32.

    Features always come back through bf16, so that a first run and a later one see the same numbers. `compute` is
    called once, with the missing prompts, if there are any, and gives their features in parts, in order. Each part is
    kept as soon as it is there.

    Raises:
        T2Error: a feature is not finite; nothing of its part is kept. `names` are of the prompts: question ids.
    """
    names = names or numbered(prompts)
    pooled_QLD = cache.load(prompts, names)
    if pooled_QLD is None:
        held = cache.keys()
        # By key, so that a prompt which occurs twice is computed once.
        row_of = {key: row for row, prompt in enumerate(prompts) if (key := prompt_key(prompt)) not in held}
        rows, done = list(row_of.values()), 0
        for part_BLD in compute([prompts[row] for row in rows]):
            of_part = rows[done : done + len(part_BLD)]
            check_finite(part_BLD, cache.spec.layers, [names[row] for row in of_part])
            cache.store([prompts[row] for row in of_part], part_BLD)
            done += len(part_BLD)
        pooled_QLD = cache.load(prompts, names)
        assert pooled_QLD is not None
    return pooled_QLD


def numbered(prompts: Sequence[Sequence[int]]) -> list[str]:
    """Names of prompts that have none."""
    return [f"number {row + 1}" for row in range(len(prompts))]
