"""What a head says of requests where no engine carries it: its LLM, or proxy, reads the prompts in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from t2.activations.cache import as_stored, check_finite, numbered
from t2.activations.features import HeldReader
from t2.api.served_together import ServedTogether
from t2.budget_head import BudgetHead
from t2.errors import T2Error, in_a_line
from t2.model_files import ModelFiles, resolve_model
from t2.prompts import PromptRenderer, load_tokenizer

MOST_AT_ONCE = 64
"""Prompts of one pass; what comes while it runs waits for the next."""


@dataclass(frozen=True, eq=False)
class PromptReader:
    """A head with the LLM that it reads, loaded once and kept."""

    head: BudgetHead
    files: ModelFiles
    renderer: PromptRenderer
    is_proxy: bool
    """the LLM that is read is not the one that answers"""
    held: HeldReader
    longest: int | None
    """tokens of a prompt that the LLM was made for"""

    @staticmethod
    def of(head: BudgetHead, model: str | Path | None = None) -> PromptReader:
        """Load the LLM.

        Args:
            head: that reads it.
            model: folder or hub id of the LLM; None: where the head says that it comes from.

        Raises:
            T2Error: no such LLM, another one, or one with another chat template.
        """
        files = resolve_model(str(model)) if model is not None else resolve_model(*head.reads)
        head.check_model(files.fingerprint)
        tokenizer, prompt = load_tokenizer(files.folder), head.record.prompt
        is_proxy = head.record.base_model.fingerprint not in (None, files.fingerprint)
        renderer = (PromptRenderer.of_proxy if is_proxy else PromptRenderer.of)(tokenizer, head.prompt)
        if not is_proxy and prompt is not None and renderer.fingerprint != prompt.fingerprint:
            raise T2Error(
                f"Expected the chat template that the head was trained with ({prompt.fingerprint[:12]}...), got "
                f"another ({renderer.fingerprint[:12]}...) in {files.id}. Use the revision of the LLM that the head "
                "names."
            )
        held = HeldReader.of(files.folder, head.feature_spec, head.learned)
        longest = getattr(held.model.config.get_text_config(), "max_position_embeddings", None)
        return PromptReader(head, files, renderer, is_proxy, held, longest)

    def chat_prompt(
        self, turns: Sequence[Mapping[str, str]], arguments: Mapping[str, object] | None = None
    ) -> list[int]:
        """Token ids of a conversation, as a server with this LLM's chat template reads it.

        Args:
            turns: "role" and "content" of each.
            arguments: what the template is told besides; None: what it was told for the head. A proxy's own template
                may know none of them, and is told them all the same.

        Raises:
            T2Error: the template refuses it, or it is too long.
        """
        return self._checked(self.renderer.ids_of_conversation(turns, arguments))

    def text_prompt(self, prompt: str | Sequence[int]) -> list[int]:
        """Token ids of a prompt that is rendered already, for the LLM that answers.

        Raises:
            T2Error: the head reads another LLM, whose tokens are others, or the prompt is too long.
        """
        if self.is_proxy:
            raise T2Error(
                f"Expected a chat request, got a prompt that is rendered for another LLM than {self.files.id}, which "
                "the head reads. Send messages."
            )
        ids = self.renderer.tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else prompt
        return self._checked([int(token) for token in ids])

    def raw(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """The head's raw outputs on prompts (token ids), (B, O). Takes a pass through the LLM.

        Raises:
            T2Error: the LLM cannot be run, or gives numbers that are not finite.
        """
        pooled_BLD = self.held.read(prompts)
        check_finite(pooled_BLD, self.held.spec.layers, numbered(prompts))
        with torch.no_grad():
            # Rounded as the features were that the head learned from.
            raw_BO: Tensor = self.head.head(as_stored(pooled_BLD))
        return raw_BO

    def _checked(self, ids: list[int]) -> list[int]:
        if not ids or (self.longest is not None and len(ids) > self.longest):
            raise T2Error(f"Expected a prompt of 1 to {self.longest} tokens for {self.files.id}, got {len(ids)}.")
        return ids


class Reads(Protocol):
    """What `WaitingPrompts` asks of a reader."""

    def raw(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """As `PromptReader.raw`."""


class WaitingPrompts:
    """Prompts that wait for one reader: while it is busy they gather, and are then read together."""

    def __init__(self, reader: Reads) -> None:
        def raws(prompts: Sequence[Sequence[int]]) -> list[Tensor]:
            return list(reader.raw(prompts))

        thread = ThreadPoolExecutor(1, "t2-prompt-reader")
        self._served = ServedTogether[Sequence[int], Tensor](raws, thread, MOST_AT_ONCE)

    async def raw(self, prompt: Sequence[int]) -> Tensor:
        """The head's raw outputs, (O,). Whoever stops waiting is left out of the next pass.

        Raises:
            T2Error: the prompt cannot be read.
        """
        try:
            return await self._served.ask(prompt)
        except T2Error:
            raise
        except Exception as error:
            raise T2Error(f"Expected activations, got {in_a_line(error)}.") from error

    def close(self) -> None:
        """Let the running pass end, and nobody else begin one."""
        self._served.close()
