r"""Grader for multiple choice: (A), **A**, A: copper and \boxed{A} are one answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2.errors import T2Error
from t2.grading.exact import normalise
from t2.grading.extraction import LONGEST_ANSWER, TEXT_IN_LATEX, bare, final_answer, visible
from t2.spec import Grade, Grader

LETTERS = "ABCDEFGHIJ"
"""Of choices: MMLU-Pro has ten."""
_JOINS = r"(?:or|and|is|are|was|because|since|as|not|but)\b"
"""What follows A where it is a letter; before any other word it is an article."""
_NAME = r"(?:(?:the\s+)?(?:correct\s+)?(?:option|choice|answer|letter)\s*(?:is\b)?\s*:?\s*)?"


class ChoiceGrader(Grader):
    """Reads the letter after the marker, in the last box, or after "the answer is"; else the whole text as a letter.

    It abstains where two letters are named and none is final.
    """

    def __init__(self, choices: Sequence[str] | int = len(LETTERS), marker: str = "####") -> None:
        """Set the choices.

        Args:
            choices: how many there are, 2 to 10; or their texts, in order, where all questions have the same (yes, no,
                maybe): then a text counts as its letter.
            marker: text before the final answer.

        Raises:
            T2Error: fewer than 2 or more than 10 choices, or two that read the same.
        """
        texts = [] if isinstance(choices, int) else [normalise(choice) for choice in choices]
        count = choices if isinstance(choices, int) else len(texts)
        if not 2 <= count <= len(LETTERS):
            raise T2Error(f"Expected 2 to {len(LETTERS)} choices, got {count}. Mend `choices` of the grader.")
        if len(set(texts)) < len(texts):
            raise T2Error(f"Expected choices that differ, got {list(texts)}. Mend `choices` of the grader.")
        self.choices = choices if isinstance(choices, int) else list(choices)
        self.marker, self.letters = marker, LETTERS[:count]
        self._letter_of = dict(zip(texts, self.letters, strict=False))
        letter = f"[{self.letters}]"
        self._alone = re.compile(rf"{_NAME}[(\[]?({letter}|{letter.lower()})[)\]]?[.:]?", re.IGNORECASE)
        self._leading = re.compile(
            rf"{_NAME}(?:[(\[]({letter})[)\]]\s*[:.,–-]?|({letter})\s*(?:[):]|[.,]\s|[–-]\s))\s*(.+)"
        )
        self._named = re.compile(rf"(?<![\w'-])({letter})(?![\w'-])(?!(?<=[AI])\s+(?!{_JOINS})[a-z])")
        self._as_option = re.compile(
            rf"[(\[]({letter})[)\]]|(?<![\w'])({letter})\)|\b(?:or|and|option|choice|not)\s+({letter})\b"
        )

    @property
    def version(self) -> str:
        texts = "/".join(self._letter_of)
        return f"choice-1-{self.marker}-{self.letters[-1]}{f'-{texts}' if texts else ''}"

    def answer_class(self, text: str) -> str | None:
        return self.grade(text).answer_class

    def grade(self, text: str) -> Grade:
        found = final_answer(text, self.marker, phrase=True)
        if found.answer is not None:
            answer_class, how = self._read(found.answer)
            return Grade(answer_class, f"{found.how}, {how}" if answer_class else f"{found.how}: {how}")
        if found.how == "no marker" and (letter := self._whole(bare(found.shown[: LONGEST_ANSWER + 1]))):
            return Grade(letter, "whole text")
        return Grade(None, found.how)

    def gold_class(self, answer: str) -> str | None:
        return self._read(answer)[0]

    def _whole(self, answer: str) -> str | None:
        """The letter, if an answer is one choice and nothing else."""
        alone = self._alone.fullmatch(answer)
        return alone.group(1).upper() if alone else self._letter_of.get(normalise(answer))

    def _read(self, answer: str) -> tuple[str | None, str]:
        """The letter that a bare answer names, and how it was read or why not."""
        if len(answer) > LONGEST_ANSWER:
            return None, "too long"
        answer = bare(TEXT_IN_LATEX.sub(r"\1", " ".join(visible(answer).split()))).strip("{} ")
        answer = bare(answer)
        if letter := self._whole(answer):
            return letter, "letter" if self._alone.fullmatch(answer) else "text"
        if leading := self._leading.fullmatch(answer):
            rest = leading.group(3)
            letter = leading.group(1) or leading.group(2)
            others = {"".join(groups) for groups in self._as_option.findall(rest)} - {letter}
            return (None, "several letters") if others or self._named.fullmatch(rest) else (letter, "letter")
        return self._named_letter(answer)

    def _named_letter(self, answer: str) -> tuple[str | None, str]:
        """The only letter that an answer in words names; A and I may be words themselves."""
        letters = set(self._named.findall(answer)) | {"".join(groups) for groups in self._as_option.findall(answer)}
        if len(letters) > 1:
            return None, "several letters"
        if not letters or re.search(r"\b(?:not|neither|except|none)\b", answer, re.IGNORECASE):
            return None, "no letter"
        return letters.pop(), "letter in words"
