"""Features of prompts: from a pool's cache where they are, else from the LLM, which is loaded once and freed again."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2.activations.backbone import drop_blocks_above, extract, load_frozen
from t2.activations.cache import (
    FeatureCache,
    FeatureSpec,
    as_stored,
    cached_features,
    check_finite,
    numbered,
)
from t2.activations.learned import NOTHING_LEARNED, Learned
from t2.activations.pooling import Pool
from t2.errors import T2Error, in_a_line
from t2.model_files import quantization_note, quantization_of
from t2.progress import progress

PROMPTS_A_PART = 256
"""Prompts whose features are kept together: about a minute of a 1.5B LLM on two cores."""


def pooled_features(
    root: Path,
    spec: FeatureSpec,
    prompts: Sequence[Sequence[int]],
    find_model: Callable[[], Path],
    names: Sequence[str] | None = None,
    learned: Learned = NOTHING_LEARNED,
) -> Tensor:
    """Features of `prompts` (token ids), (Q, L, D) float32, by way of the caches in the folder `root`.

    Args:
        root: of the caches.
        spec: of the features.
        prompts: token ids.
        find_model: called if features are missing: the LLM's folder, which it has checked to be that of `spec`.
        names: of the prompts, for errors: question ids.
        learned: weights whose fingerprint is that of `spec`.
    """
    for wider in wider_caches(root, spec):
        if (pooled_QLD := wider.load(prompts, names)) is not None:
            return pooled_QLD[:, [wider.spec.layers.index(layer) for layer in spec.layers]]
    cache = FeatureCache(root, spec)
    return cached_features(cache, prompts, lambda missing: in_parts(find_model(), missing, spec, learned), names)


def wider_caches(root: Path, spec: FeatureSpec) -> Iterator[FeatureCache]:
    """Caches of the same model and pooling that have more layers than `spec` asks for."""
    for path in sorted(root.glob("*/index.json")):
        try:
            index: Any = json.loads(path.read_text(encoding="utf-8"))
            layers = tuple(index["layers"])
        except (OSError, ValueError, KeyError, TypeError):
            continue  # whoever asks for exactly this cache is told that it is damaged
        wider = replace(spec, layers=layers)
        same = all(index.get(name) == value for name, value in spec.as_json().items() if name != "layers")
        if same and set(spec.layers) < set(layers) and path.parent.name == wider.fingerprint:
            yield FeatureCache(root, wider)


@dataclass(frozen=True, eq=False)
class HeldReader:
    """A frozen LLM that is held in memory to read prompts: cut above the last layer that is asked for."""

    model: Any
    pool: Pool
    spec: FeatureSpec

    @staticmethod
    def of(
        model_folder: Path,
        spec: FeatureSpec,
        learned: Learned = NOTHING_LEARNED,
        dtype: torch.dtype | None = None,
    ) -> HeldReader:
        """Load it. **Whoever asks has checked** that it is the LLM of `spec`. `dtype` as in `load_frozen`.

        Raises:
            T2Error: transformers cannot load it, weights are missing, or learned ones are those of another LLM.
        """
        model = load_frozen(model_folder, dtype=dtype)
        if method := quantization_of(model.config):
            print(quantization_note(model_folder.name, method), file=sys.stderr, flush=True)
        drop_blocks_above(model, spec.layers[-1])
        width = model.config.get_text_config().hidden_size
        model, pool = learned.reading(model, spec.pooling, spec.layers, width)
        return HeldReader(model, pool, spec)

    def read(self, prompts: Sequence[Sequence[int]], on_batch: Callable[[int], None] | None = None) -> Tensor:
        """Features of prompts (token ids), (B, L, D) in the LLM's dtype; `on_batch` as in `extract`.

        Raises:
            T2Error: the LLM cannot be run, or memory has run out.
        """
        try:
            return extract(self.model, prompts, self.spec.layers, on_batch, self.pool)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            kind = type(self.model).__name__  # whose own code has raised it, or memory has run out
            raise T2Error(
                f"Expected features of {kind} at layers {list(self.spec.layers)}, got {in_a_line(error)}. Another LLM "
                "may give them in its place: `data.allow_proxy`."
            ) from error


def in_parts(
    model_folder: Path,
    prompts: Sequence[Sequence[int]],
    spec: FeatureSpec,
    learned: Learned = NOTHING_LEARNED,
    dtype: torch.dtype | None = None,
) -> Iterator[Tensor]:
    """Features from the LLM in `model_folder`, (B, L, D) in its dtype, in order; it is freed at the end."""
    reader = HeldReader.of(model_folder, spec, learned, dtype)
    with progress("features", len(prompts) if len(prompts) > PROMPTS_A_PART else 0, unit="prompts") as advance:
        advance(0)
        for start in range(0, len(prompts), PROMPTS_A_PART):

            def on_batch(done: int, before: int = start) -> None:
                advance(before + done)

            yield reader.read(prompts[start : start + PROMPTS_A_PART], on_batch)
    del reader
    gc.collect()
    torch.cuda.empty_cache()


def computed(
    model_folder: Path, prompts: Sequence[Sequence[int]], spec: FeatureSpec, learned: Learned = NOTHING_LEARNED
) -> Tensor:
    """What a cache would give back, (Q, L, D) float32; nothing is kept."""
    pooled_QLD = torch.cat(list(in_parts(model_folder, prompts, spec, learned)))
    check_finite(pooled_QLD, spec.layers, numbered(prompts))
    return as_stored(pooled_QLD)
