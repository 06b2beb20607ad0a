"""Which questions ask the same: the dedup keys that keep them in one split. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from t2.spec import Question
from t2.splits import SplitFractions, split_of

Dedup = Literal["exact", "numbers"]
"""Whose question's split is shared: "exact": the same text but for case and white space; "numbers": but for numbers too
(3 apples and 12 apples)."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def folded(text: str) -> str:
    """Lower case, white space to single blanks: the key of equal questions."""
    return " ".join(text.casefold().split())


def near_key(text: str) -> str:
    """`folded` with a # for each number (1, 1,200, 0.5): the key of near-equal questions, as templates make them."""
    return _NUMBER.sub("#", folded(text))


def dedup_key(text: str, dedup: Dedup) -> str:
    """The key of a question by what a user wants kept together."""
    return near_key(text) if dedup == "numbers" else folded(text)


def unordered_key(family: str, text: str) -> str:
    """Equal for questions that ask the same: the sorted words and signs, so that 12 * 34 and 34 * 12 stay together."""
    return f"{family}:{' '.join(sorted(re.findall(r'[a-zA-Z0-9_]+|[^a-zA-Z0-9_ ]', text)))}"


def near_across_splits(questions: Sequence[Question], fractions: SplitFractions) -> int:
    """How many questions have a near-equal one, numbers aside, in another split.

    >>> near_across_splits([], SplitFractions())
    0
    """
    splits_of_key = dict[str, set[str]]()
    keyed = [(near_key(question.text), split_of(question.dedup_key, fractions)) for question in questions]
    for key, split in keyed:
        splits_of_key.setdefault(key, set()).add(split)
    return sum(len(splits_of_key[key]) > 1 for key, _ in keyed)
