"""Grader for texts: answers are equal when their normalised strings are."""

from __future__ import annotations

import unicodedata

from t2.spec import Grader


def normalise(text: str) -> str:
    """NFKC, lower case, inner white space to one space, no white space or final full stop at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(" .")


class ExactGrader(Grader):
    """Reads the line after the last marker (the whole text if `marker` is empty) and compares normalised strings."""

    def __init__(self, marker: str = "####") -> None:
        """Set what precedes the final answer; empty: the whole output is the answer."""
        self.marker = marker

    @property
    def version(self) -> str:
        return f"exact-1-{self.marker}"

    def answer_class(self, text: str) -> str | None:
        if not self.marker:
            return self.gold_class(text)
        _, marker, after = text.rpartition(self.marker)
        return self.gold_class(after.strip().split("\n")[0]) if marker else None

    def gold_class(self, answer: str) -> str | None:
        return normalise(answer) or None
