"""Last-token pooling with forward hooks: `[B, D]` per tapped layer, never `[B, T, D]` for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from t2.activations.layers import decoder_blocks, hook_index
from t2.errors import T2Error


@contextmanager
def tapped(model: Any, layers: Sequence[int], last_B: Tensor) -> Iterator[dict[int, Tensor]]:
    """Within the context, each forward pass fills the dict with layer -> activations at positions `last_B`, (B, D).

    `layers` are numbered as in `t2.activations.layers`; `last_B` is the index of the last real token of each row of the
    batch that will be run.
    """
    pooled: dict[int, Tensor] = {}
    blocks = decoder_blocks(model)

    def keep(layer: int, module: nn.Module, args: Any, output: Any) -> None:
        hidden_BTD = output[0] if isinstance(output, tuple) else output
        if hidden_BTD.dim() != 3 or len(hidden_BTD) != len(last_B):  # as in Gemma 3n, which keeps several streams
            raise T2Error(
                f"Expected (prompts, tokens, width) after block {layer} of {type(model).__name__}, got activations of "
                f"shape {tuple(hidden_BTD.shape)}. This architecture is not supported yet."
            )
        pooled[layer] = hidden_BTD[torch.arange(len(last_B), device=hidden_BTD.device), last_B]

    handles = [blocks[hook_index(k)].register_forward_hook(partial(keep, k)) for k in layers]
    try:
        yield pooled
    finally:
        for handle in handles:
            handle.remove()


def right_pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both (B, T); causal models see no padding to their right."""
    ids = [torch.tensor(row) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return pad_sequence(ids, batch_first=True), pad_sequence(mask, batch_first=True)


def pool_last_token(model: Any, rows: Sequence[Sequence[int]], layers: Sequence[int]) -> Tensor:
    """Activations at the last token of each prompt, (B, L, D), in the model's dtype; gradients follow the context."""
    device = next(model.parameters()).device
    ids_BT, mask_BT = (tensor.to(device) for tensor in right_pad(rows))
    with tapped(model, layers, mask_BT.sum(1) - 1) as pooled:
        model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    return torch.stack([pooled[k] for k in layers], 1)
