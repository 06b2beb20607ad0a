"""What imported samples cost: tokens as the file gives them, counted where it does not, else samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2.errors import T2Error
from t2.importing.sample_file import GivenQuestion, GivenSample
from t2.spec import FINISHED


class TokenCounter:
    """Tokens as the file gives them, counted where it does not, or one "token" a sample where nobody can."""

    def __init__(self, tokenizer: str | None) -> None:
        self.counted = 0
        self._tokenizer = None if tokenizer is None else _load_tokenizer(tokenizer)
        self._given: dict[bool, str] = {}

    @property
    def unit(self) -> str:
        return "samples" if self._tokenizer is None and False in self._given else "tokens"

    def of(self, samples: Sequence[GivenSample], where: str) -> list[int]:
        """Generated tokens of each sample, the end token included.

        Raises:
            T2Error: some samples of the file have tokens, others do not, and there is no tokenizer.
        """
        for sample in samples:
            self._given.setdefault(sample.tokens is not None, where)
        if self._tokenizer is None:
            if len(self._given) == 2:
                raise T2Error(
                    f"Expected `tokens` in every sample or in none, got some with ({self._given[True]}) and some "
                    f"without ({self._given[False]}). Name a tokenizer that counts them: --tokenizer ID"
                )
            return [1 if sample.tokens is None else sample.tokens for sample in samples]
        missing = [sample for sample in samples if sample.tokens is None]
        self.counted += len(missing)
        # An answer that ended by itself paid for its end token, which its text does not show.
        ends = [sample.finish_reason == FINISHED for sample in missing]
        lengths = iter(n + end for n, end in zip(self._lengths([s.text for s in missing]), ends, strict=True))
        return [next(lengths) if sample.tokens is None else sample.tokens for sample in samples]

    def of_prompt(self, given: GivenQuestion) -> int:
        """Prompt tokens; 0 where unknown, and where cost is in samples, since these are another unit."""
        if self.unit == "samples":
            return 0
        if given.prompt_tokens is None and self._tokenizer is not None:
            return self._lengths([given.question.text])[0]
        return given.prompt_tokens or 0

    def _lengths(self, texts: list[str]) -> list[int]:
        if not texts or self._tokenizer is None:
            return []
        return [len(ids) for ids in self._tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]]


def _load_tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise T2Error(
            f"Expected a tokenizer folder or hub id, got {name!r} ({type(error).__name__}). "
            "Check `--tokenizer`, your network or HF_TOKEN."
        ) from error
