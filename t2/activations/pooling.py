"""From the states of a prompt's tokens to one vector a layer: hooks keep `[B, D]` for each, never `[B, T, D]`.

last-token   the state of the last prompt token: the only one that a serving engine gives for free (default)
mean         the mean over the prompt's tokens
attention    a mean weighted by softmax(q . x / sqrt(D)) with a learned query q for each layer

The last two are over states that are divided by their root mean square: in many LLMs the first token's is a hundred
times as long as all others, and a plain mean would be that token. They need a pass over the prompt of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm
from torch.nn.utils.rnn import pad_sequence

from t2.activations.layers import decoder_blocks, hook_index
from t2.errors import T2Error

Pooling = Literal["last-token", "mean", "attention"]


class Padded(NamedTuple):
    """Prompts of a batch, padded to the right: causal models see no padding there."""

    ids_BT: Tensor
    mask_BT: Tensor
    """1 for tokens of the prompt, 0 for padding"""

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each prompt, without padding."""
        lengths = self.mask_BT.sum(1).tolist()
        return [row[:length] for row, length in zip(self.ids_BT.tolist(), lengths, strict=True)]


class Pool(Protocol):
    """How a layer's states (B, T, D), right-padded as the mask (B, T) says, become one vector a prompt, (B, D)."""

    def __call__(self, layer: int, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor: ...


def last_token(layer: int, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The state of each prompt's last token."""
    return hidden_BTD[torch.arange(len(mask_BT), device=hidden_BTD.device), mask_BT.sum(1) - 1]


def mean_of_tokens(layer: int, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """The mean of the normalised states of each prompt's tokens, float32."""
    return _weighted(hidden_BTD, mask_BT / mask_BT.sum(1, keepdim=True))


class AttentionPool(nn.Module):
    """A mean of the normalised states of each prompt's tokens, weighted by how well they fit a learned query."""

    def __init__(self, layers: Sequence[int], width: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        # All weights are equal at first, so training begins with the mean.
        self.query_LD = nn.Parameter(torch.zeros(len(self.layers), width))

    def forward(self, layer: int, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """As `Pool`."""
        x_BTD, query_D = _normalised(hidden_BTD), self.query_LD[self.layers.index(layer)]
        score_BT = (x_BTD @ query_D) / x_BTD.shape[2] ** 0.5
        return _weighted(hidden_BTD, score_BT.masked_fill(mask_BT == 0, float("-inf")).softmax(1))


def pool_named(pooling: Pooling, layers: Sequence[int], width: int) -> Pool:
    """The pool of a name; attention with a query of zeros."""
    if pooling == "attention":
        return AttentionPool(layers, width)
    return mean_of_tokens if pooling == "mean" else last_token


@contextmanager
def tapped(model: Any, layers: Sequence[int], mask_BT: Tensor, pool: Pool = last_token) -> Iterator[dict[int, Tensor]]:
    """Within the context, each forward pass fills the dict with layer -> pooled activations, (B, D).

    `layers` are numbered as in `t2.activations.layers`; `mask_BT` is of the tokens of the batch that will be run.
    """
    pooled: dict[int, Tensor] = {}
    blocks = decoder_blocks(model)

    def keep(layer: int, module: nn.Module, args: Any, output: Any) -> None:
        hidden_BTD = output[0] if isinstance(output, tuple) else output
        if hidden_BTD.dim() != 3 or len(hidden_BTD) != len(mask_BT):  # as in Gemma 3n, which keeps several streams
            raise T2Error(
                f"Expected (prompts, tokens, width) after block {layer} of {type(model).__name__}, got activations of "
                f"shape {tuple(hidden_BTD.shape)}. This architecture is not supported yet."
            )
        pooled[layer] = pool(layer, hidden_BTD, mask_BT)

    handles = [blocks[hook_index(k)].register_forward_hook(partial(keep, k)) for k in layers]
    try:
        yield pooled
    finally:
        for handle in handles:
            handle.remove()


def right_pad(rows: Sequence[Sequence[int]]) -> Padded:
    """Prompts of a batch as tensors, (B, T)."""
    ids = [torch.tensor(row) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return Padded(pad_sequence(ids, batch_first=True), pad_sequence(mask, batch_first=True))


def pool_prompts(model: Any, rows: Sequence[Sequence[int]], layers: Sequence[int], pool: Pool = last_token) -> Tensor:
    """Pooled activations of prompts, (B, L, D), in the dtype that the pool gives; gradients follow the context."""
    device = next(model.parameters()).device
    ids_BT, mask_BT = (tensor.to(device) for tensor in right_pad(rows))
    with tapped(model, layers, mask_BT, pool) as pooled:
        model(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
    return torch.stack([pooled[k] for k in layers], 1)


def _normalised(hidden_BTD: Tensor) -> Tensor:
    return rms_norm(hidden_BTD.float(), hidden_BTD.shape[2:], eps=1e-6)


def _weighted(hidden_BTD: Tensor, weight_BT: Tensor) -> Tensor:
    return torch.einsum("btd,bt->bd", _normalised(hidden_BTD), weight_BT.float())
