"""`Backbone`: the LLM as a part of the LightningModule, frozen or with a LoRA adapter that the head trains with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from t2.activations.backbone import drop_blocks_above, extract, load_frozen
from t2.activations.cache import as_stored, check_finite, prompt_key
from t2.activations.learned import Learned, learned_of, set_query
from t2.activations.lora import LoraSettings, put_weights, with_adapter
from t2.activations.pooling import AttentionPool, Padded, Pooling, last_token, pool_named, right_pad, tapped


class Backbone(nn.Module):
    """Token ids in, pooled activations out, (B, L, D) float32, rounded as cached features are.

    The LLM's own weights get no gradient and are in no checkpoint: `learned` is what is.
    """

    def __init__(
        self,
        model: Any,
        layers: Sequence[int],
        pooling: Pooling = "last-token",
        lora: LoraSettings | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        """Take over a decoder, which is changed.

        Args:
            model: as `load_frozen` gives it.
            layers: tapped blocks, rising.
            pooling: see `t2.activations.pooling`.
            lora: of the adapter; None: the LLM stays frozen.
            gradient_checkpointing: run each block again in the backward pass instead of keeping what it computed.

        Raises:
            T2Error: settings of an adapter that do not fit the LLM.
        """
        super().__init__()
        self.layers, self.lora = tuple(layers), lora
        drop_blocks_above(model, self.layers[-1])
        width = model.config.get_text_config().hidden_size
        self.pool = pool_named(pooling, self.layers, width)  # registered where it has parameters
        if lora is not None:
            if gradient_checkpointing:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            model = with_adapter(model, lora, self.layers[-1])
        self.model = model
        # A block that is run again in the backward pass must find the hooks of its first run.
        self._taps = ExitStack()
        self._read: dict[str, Tensor] = {}
        """what `features` has read by the weights as they are, by prompt"""

    @classmethod
    def load(cls, model_folder: Path, layers: Sequence[int], **options: Any) -> Backbone:
        """From a model folder, on the CPU: Lightning moves it to its device."""
        return cls(load_frozen(model_folder, device="cpu"), layers, **options)

    @property
    def is_trained(self) -> bool:
        """Whether anything of how the LLM is read changes in training."""
        return any(parameter.requires_grad for parameter in self.parameters())

    def train(self, mode: bool = True) -> Backbone:
        """A frozen LLM is never in training mode: dropout would be noise on its features."""
        super().train(mode)
        if self.lora is None:
            self.model.eval()
        return self

    def forward(self, prompts: Padded) -> Tensor:
        """Pooled activations; gradients reach the adapter and the pool."""
        if self.lora is None and self.pool is last_token:
            # Nothing is trained here, so a prefix that the batch shares is run once.
            device = prompts.ids_BT.device
            with torch.autocast(device.type, enabled=False):
                return self._finite(extract(self.model, prompts.rows, self.layers).to(device))
        self._taps.close()
        pooled = self._taps.enter_context(tapped(self.model, self.layers, prompts.mask_BT, self.pool))
        # In its own type whatever the trainer's precision is: what is read in steps and between them is the same.
        with torch.autocast(prompts.ids_BT.device.type, enabled=False):
            self.model(input_ids=prompts.ids_BT, attention_mask=prompts.mask_BT, use_cache=False)
        pooled_BLD = torch.stack([pooled[layer] for layer in self.layers], 1)
        pooled.clear()
        return self._finite(pooled_BLD)

    def features(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Features of many prompts, (Q, L, D), on the CPU, without gradient; each is read once by the same weights."""
        keys = [prompt_key(prompt) for prompt in prompts]
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._read}
        if missing:
            self._taps.close()
            was_training = self.training
            self.eval()
            pooled_QLD = self._finite(extract(self.model, list(missing.values()), self.layers, pool=self.pool))
            self.train(was_training)
            self._read.update(zip(missing, pooled_QLD, strict=True))
        return torch.stack([self._read[key] for key in keys])

    def _finite(self, pooled_BLD: Tensor) -> Tensor:
        """Rounded as cached features are; one that is infinite would be a loss of NaN, without a word."""
        check_finite(pooled_BLD.detach(), self.layers, [f"{row + 1} of a batch" for row in range(len(pooled_BLD))])
        return as_stored(pooled_BLD)

    def weights_changed(self) -> None:
        """What has been read is no longer what would be read."""
        if self.is_trained:
            self._read.clear()

    @property
    def learned(self) -> Learned:
        """What has been trained so far."""
        return learned_of(self.model, self.pool, self.lora)

    def load_learned(self, tensors: Mapping[str, Tensor], where: str) -> None:
        """Take up what was trained before, as `Learned.tensors` gave it.

        Raises:
            T2Error: it is of another LLM, or of other settings.
        """
        given = Learned.from_tensors(tensors, self.lora)
        if self.lora is not None:
            put_weights(self.model, given.adapter or {}, where)
        if isinstance(self.pool, AttentionPool):
            set_query(self.pool, given.query_LD)
        self.weights_changed()


def padded(prompts: Sequence[Sequence[int]], device: torch.device) -> Padded:
    """Prompts as a batch on a device."""
    return Padded(*(tensor.to(device) for tensor in right_pad(prompts)))
