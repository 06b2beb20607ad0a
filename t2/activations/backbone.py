"""The frozen LLM and the extraction of features from all prompts."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from t2.activations.layers import decoder_blocks
from t2.activations.pooling import Pool, last_token, pool_prompts, right_pad, tapped
from t2.errors import T2Error, in_a_line
from t2.hardware import emulates_16_bits, freed_memory_kept

TOKENS_PER_BATCH = 4096
"""Prompt tokens of one forward pass, padding included."""
MIN_SHARED_PREFIX = 32
"""A shared prefix shorter than this is not worth a cache of its own."""


def load_frozen(model_folder: str | Path, device: str | None = None, dtype: torch.dtype | None = None) -> Any:
    """A decoder without its LM head, in eval mode, without gradients; on the GPU where there is one.

    Args:
        model_folder: of the LLM.
        device: to put it on; None: see above.
        dtype: of weights and activations; None: the model's own, but float32 on a CPU that only emulates 16 bits.

    Raises:
        T2Error: transformers cannot load it (says what it said), or weights are missing.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    as_usual = torch.float32 if emulates_16_bits() else "auto"
    verbosity, with_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it would report the LM head, left out on purpose, as unexpected
    logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(model_folder, dtype=dtype or as_usual, output_loading_info=True)
    except Exception as error:  # of many kinds: a package that is missing, weights that do not fit, memory
        raise T2Error(
            f"Expected an LLM that transformers loads, got {model_folder}, which it does not: {in_a_line(error)}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
        if with_bars:
            logging.enable_progress_bar()
    if missing := sorted(set(info["missing_keys"]) & {name for name, _ in model.named_parameters()}):
        raise T2Error(  # transformers draws them at random and goes on
            f"Expected all weights of {type(model).__name__} in {model_folder}, got none for {len(missing)} (first: "
            f"{missing[0]}). Download the model again."
        )
    model.requires_grad_(False)
    return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def drop_blocks_above(model: Any, layer: int) -> None:
    """Remove the blocks that no tapped layer needs. **Changes `model`**: its final output is no longer the LLM's."""
    blocks = decoder_blocks(model)
    del blocks[layer:]
    model.config.get_text_config().num_hidden_layers = layer


def extract(
    model: Any,
    prompts: Sequence[Sequence[int]],
    layers: Sequence[int],
    on_batch: Callable[[int], None] | None = None,
    pool: Pool = last_token,
) -> Tensor:
    """Pooled activations of every prompt, (Q, L, D), on the CPU, in the dtype that the pool gives.

    A prefix that all prompts share (system line, worked examples) is run once and kept in a KV cache, where the last
    token is all that is pooled and the model keeps one of all its layers. `on_batch` is called after each batch with
    the number of prompts done.
    """
    prefix = shared_prefix(prompts) if pool is last_token else []
    # Longest first: rows of a batch pad little, and the first of a batch is its longest, which `_batches` relies on.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    result: Tensor | None = None
    is_on_cpu = next(model.parameters()).device.type == "cpu"
    with torch.inference_mode(), freed_memory_kept() if is_on_cpu else nullcontext():
        cache = _run_prefix(model, prefix) if prefix else None
        prefix = prefix if cache is not None else []
        done = 0
        for rows in _batches(order, prompts, len(prefix)):
            if cache is None:
                pooled_BLD = pool_prompts(model, [prompts[i] for i in rows], layers, pool)
            else:
                pooled_BLD = _pool_after_prefix(model, [prompts[i][len(prefix) :] for i in rows], layers, cache)
            if result is None:
                result = torch.empty(len(prompts), *pooled_BLD.shape[1:], dtype=pooled_BLD.dtype)
            result[rows] = pooled_BLD.cpu()
            done += len(rows)
            if on_batch:
                on_batch(done)
    if result is None:
        raise ValueError("Expected at least one prompt, got none.")
    return result


def shared_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all prompts begin with; empty if too few to be worth it. Each prompt keeps a token of its own."""
    if len(prompts) < 2:
        return []
    columns = zip(*prompts, strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda column: len(set(column)) == 1, columns))
    length = min(common, min(map(len, prompts)) - 1)
    return list(prompts[0][:length]) if length >= MIN_SHARED_PREFIX else []


def _batches(order: list[int], prompts: Sequence[Sequence[int]], prefix_length: int) -> Iterator[list[int]]:
    """Rows of similar length (`order` is by length) with at most `TOKENS_PER_BATCH` padded tokens each."""
    start = 0
    while start < len(order):
        longest = len(prompts[order[start]]) - prefix_length
        size = max(1, TOKENS_PER_BATCH // longest)
        yield order[start : start + size]
        start += size


def _run_prefix(model: Any, prefix: list[int]) -> Any:
    """The KV cache of the shared prefix, batch size 1; None: the model keeps more than keys and values, or elsewhere.

    Convolutions, linear attention and state spaces keep a state that cannot be repeated for the rows of a batch, and
    some models (RWKV, RecurrentGemma) leave a cache that they are given unused without a word.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    def only_attends() -> bool:
        return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)

    cache = DynamicCache(config=model.config)
    if not only_attends():
        return None
    device = next(model.parameters()).device
    model(input_ids=torch.tensor([prefix], device=device), past_key_values=cache, use_cache=True)
    is_full = len(cache.layers) == len(decoder_blocks(model)) and only_attends()
    return cache if is_full and all(layer.get_seq_length() == len(prefix) for layer in cache.layers) else None


def _pool_after_prefix(model: Any, rows: Sequence[Sequence[int]], layers: Sequence[int], prefix: Any) -> Tensor:
    """`pool_prompts` of prefix + row, the last token; `prefix` is a cache that is copied, sliding windows and all."""
    device = next(model.parameters()).device
    ids_BT, mask_BT = (tensor.to(device) for tensor in right_pad(rows))
    # The model appends to the cache it is given, so each batch gets a copy, repeated for its rows.
    cache = copy.deepcopy(prefix)
    cache.batch_repeat_interleave(len(rows))
    prefix_mask_BT = mask_BT.new_ones(len(rows), prefix.get_seq_length())
    with tapped(model, layers, mask_BT) as pooled:
        model(
            input_ids=ids_BT,
            attention_mask=torch.cat([prefix_mask_BT, mask_BT], 1),
            past_key_values=cache,
            use_cache=True,
        )
    return torch.stack([pooled[k] for k in layers], 1)
