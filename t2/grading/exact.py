"""Grader for texts: answers are equal when their normalised strings are."""

from __future__ import annotations

import re
import unicodedata

from t2.grading.extraction import bare, final_answer, visible
from t2.grading.spelling import folded
from t2.spec import Grade, Grader

_WORD = re.compile(r"[^\W\d_]+")
_TWO_LETTER_WORDS = frozenset(("no", "of", "to", "is", "in", "on", "or", "at", "by", "an", "it", "as"))


def normalise(text: str) -> str:
    """Wide forms, inner white space and the case of words do not count, nor white space or a full stop at the ends.

    What could be a unit or a symbol keeps its case (mW is not MW, Co not CO), and ⁶ is not 6.
    """
    shown = unicodedata.normalize("NFC", _WORD.sub(_folded_word, folded(text)))
    return " ".join(shown.split()).rstrip(" .")


def _folded_word(match: re.Match[str]) -> str:
    """A word in lower case: three letters or more that are large or small alike, the first aside."""
    word = match.group()
    alike = word[1:].islower() or word[1:].isupper()
    is_word = (len(word) > 2 and alike) or word.lower() in _TWO_LETTER_WORDS or not word.isascii()
    return word.casefold() if is_word else word


def normalise_by_nfkc(text: str) -> str:
    """The form that imports of format version 2 compared: NFKC and lower case, for which 10⁶ is 106 and mW is MW."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .")


class ExactGrader(Grader):
    r"""Compares normalised texts: after the last marker or in the last `\boxed{}`; without a marker, whole ones."""

    def __init__(self, marker: str = "####") -> None:
        """Set what precedes the final answer; empty: the whole output is the answer."""
        self.marker = marker

    @property
    def version(self) -> str:
        return f"exact-2-{self.marker}"

    def answer_class(self, text: str) -> str | None:
        return self.grade(text).answer_class

    def grade(self, text: str) -> Grade:
        if not self.marker:
            return _grade(self.gold_class(text), "whole text")
        found = final_answer(text, self.marker)
        return Grade(None, found.how) if found.answer is None else _grade(self.gold_class(found.answer), found.how)

    def gold_class(self, answer: str) -> str | None:
        return normalise(bare(visible(answer)) if self.marker else answer) or None


def _grade(answer_class: str | None, how: str) -> Grade:
    return Grade(answer_class, f"{how}: empty" if answer_class is None else how)
