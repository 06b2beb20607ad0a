"""`Learned`: what is trained besides the head: an adapter on the LLM that it reads, or queries of attention pooling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2.activations.lora import LoraSettings, adapter_weights, put_weights, with_adapter
from t2.activations.pooling import AttentionPool, Pool, Pooling, pool_named
from t2.errors import T2Error

ADAPTER_PREFIX = "adapter."
QUERY = "query_LD"


@dataclass(frozen=True, eq=False)
class Learned:
    """Weights on the CPU. A head that reads the frozen LLM's last tokens or their mean has none of them."""

    lora: LoraSettings | None = None
    adapter: Mapping[str, Tensor] | None = None
    """under peft's names; None: no adapter"""
    query_LD: Tensor | None = None
    """of `AttentionPool`; None: another pooling"""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by name, for a checkpoint."""
        named = {f"{ADAPTER_PREFIX}{name}": value for name, value in (self.adapter or {}).items()}
        return named | ({} if self.query_LD is None else {QUERY: self.query_LD})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], lora: LoraSettings | None) -> Learned:
        """Back from `tensors`; `lora` are the adapter's settings, None: there is none."""
        adapter = {
            name.removeprefix(ADAPTER_PREFIX): value
            for name, value in tensors.items()
            if name.startswith(ADAPTER_PREFIX)
        }
        return cls(lora, adapter if lora else None, tensors.get(QUERY))

    @property
    def fingerprint(self) -> str:
        """Hash of the weights: features that were read with others never share a cache. Empty: there are none."""
        if not (tensors := self.tensors):
            return ""
        whole = hashlib.sha256()
        for name, value in sorted(tensors.items()):
            whole.update(f"{name} {list(value.shape)} ".encode())
            whole.update(value.float().numpy().tobytes())
        return whole.hexdigest()[:16]

    def reading(self, model: Any, pooling: Pooling, layers: tuple[int, ...], width: int) -> tuple[Any, Pool]:
        """The LLM with its adapter, and the pool, with these weights and where the LLM is; `model` is changed.

        Raises:
            T2Error: weights of another LLM, or other layers.
        """
        if self.lora is not None:
            model = with_adapter(model, self.lora, layers[-1])
            put_weights(model, self.adapter or {}, "the export")
            model.requires_grad_(False)
            model.eval()
        pool = pool_named(pooling, layers, width)
        if isinstance(pool, AttentionPool):
            pool.to(next(model.parameters()).device)
            set_query(pool, self.query_LD)
            pool.requires_grad_(False)
        return model, pool


NOTHING_LEARNED = Learned()
"""Of a head that reads the frozen LLM as it is."""


def set_query(pool: AttentionPool, query_LD: Tensor | None) -> None:
    """Give attention pooling its queries.

    Raises:
        T2Error: there are none, or they are of other layers.
    """
    expected = tuple(pool.query_LD.shape)
    if query_LD is None or tuple(query_LD.shape) != expected:
        came = "none" if query_LD is None else f"shape {tuple(query_LD.shape)}"
        raise T2Error(f"Expected queries of shape {expected} for attention pooling, got {came}. Export the head again.")
    with torch.no_grad():
        pool.query_LD.copy_(query_LD)


def learned_of(model: Any, pool: Pool, lora: LoraSettings | None) -> Learned:
    """What has been trained of a model, which has an adapter if it has settings for one, and of a pool."""
    query_LD = pool.query_LD.detach().cpu().clone() if isinstance(pool, AttentionPool) else None
    return Learned(lora, adapter_weights(model) if lora else None, query_LD)
