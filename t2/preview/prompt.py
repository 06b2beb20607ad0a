"""A prompt as the model sees it: what is one token of the vocabulary, and no text, is marked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

OPEN, CLOSE = "⟦", "⟧"


def marked(tokenizer: Any, ids: Sequence[int]) -> str:
    """The prompt with every special token in brackets.

    Where a template writes the name of one that the tokenizer does not know, it stays text, and stands without them.
    """
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    parts: list[str] = []
    for is_special, run in groupby(ids, special.__contains__):
        tokens = list(run)
        if is_special:
            parts += [f"{OPEN}{tokenizer.decode([token])}{CLOSE}" for token in tokens]
        else:  # together, since a character may take several tokens
            parts.append(str(tokenizer.decode(tokens)))
    return "".join(parts)
