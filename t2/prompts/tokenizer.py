"""The tokenizer of a model folder, and the characters that it cannot write."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

from t2.errors import T2Error

_WRITTEN = ("L", "N", "P", "S")
"""Unicode categories of characters that must not get lost: letters, digits, punctuation, symbols. White space may be
written otherwise, and marks may be joined with their letters."""


def load_tokenizer(model_folder: Path) -> Any:
    """The fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_folder)
    except (OSError, ValueError) as error:
        raise T2Error(
            f"Expected a fast tokenizer in {model_folder}, got none that transformers can read: "
            f"{' '.join(str(error).split())[:200]} Put the model's tokenizer files there."
        ) from error


def lost_characters(text: str, decoded: str) -> list[str]:
    """Characters of a text that its tokens, decoded, have fewer of: for these the vocabulary has no token.

    Upper and lower case count as the same, and so do the ways in which Unicode can write one character.
    """
    lost = _characters(text) - _characters(decoded)
    return [each for each in lost if unicodedata.category(each)[0] in _WRITTEN]


def _characters(text: str) -> Counter[str]:
    return Counter(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))
