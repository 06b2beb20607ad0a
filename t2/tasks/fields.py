"""What the fields of a row are called and where its answer stands: from a row of any file or data set to a question.

Pure: one vocabulary, and one piece of code, for `JsonlTask` and `HubTask`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from t2.errors import T2Error, quoted
from t2.grading.extraction import BOX, final_answer
from t2.hashing import digest, unit_interval
from t2.json_lines import JsonObject, short
from t2.spec import Question
from t2.tasks.keys import Dedup, dedup_key

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Names of choices, in order."""


@dataclass(frozen=True, kw_only=True)
class Extract:
    """What of an answer's field is the gold answer; by default all of it. At most one of those below `after`."""

    after: str = ""
    """the answer is what follows the last of these in the field, as "####" in a worked solution; empty: all of it"""
    boxed: bool = False
    """it is the content of the last \\boxed{...}, as of a worked solution in LaTeX"""
    pattern: str = ""
    """it is the last match of this regular expression: its first group, or all of it where it has none"""
    index_from: int | None = None
    """the field counts the choices from this number (mostly 0); the answer is the choice's letter"""
    by_text: bool = False
    """the field repeats the text of the right choice; the answer is its letter"""

    def __post_init__(self) -> None:
        """Reject what says two things at once, and no regular expression."""
        chosen = [self.boxed, bool(self.pattern), self.index_from is not None, self.by_text]
        if sum(chosen) > 1:
            raise T2Error(
                "Expected at most one of `boxed`, `pattern`, `index_from` and `by_text`, got several. Keep the one "
                "that says where the answer stands."
            )
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise T2Error(f"Expected a regular expression as `pattern`, got {self.pattern!r}: {error}.") from error

    def answer_in(self, whole: str) -> str | None:
        """The answer in a field's text; None if it is not there. Numbers of choices are left as they are."""
        _, marker, text = whole.rpartition(self.after) if self.after else ("", "all", whole)
        answer: str | None = text if marker else None
        if answer is not None and self.boxed:
            answer = final_answer(answer, BOX).answer  # as a model's answer is read: 20% behind a box is no 20
        elif answer is not None and self.pattern:
            found = list(re.finditer(self.pattern, answer))
            answer = found[-1][1 if found[-1].re.groups else 0] if found else None
        if self.after or self.boxed or self.pattern:
            return answer.strip() or None if answer is not None else None
        return answer


@dataclass(frozen=True)
class AnswerField(Extract):
    """Where the gold answer stands."""

    name: str = "answer"


@dataclass(frozen=True)
class Fields:
    """What the fields of a row are called."""

    id: str | None = "id"
    """None: there are no ids; each is made from its question's text, so that rows may move"""
    question: str | list[str] = "question"
    """several are joined by a blank, as a story and what is asked of it"""
    answer: AnswerField = field(default_factory=AnswerField)
    choices: str | list[str] | None = None
    """a field with a list, or several fields with a choice each. They follow the question as "A. ...", and the answer
    is a letter. Where the answer's field is one of several, as in GPQA, they are put into an order of their own"""
    dedup_key: str | None = "dedup_key"
    family: str | None = "family"
    size: str | None = "size"

    def __post_init__(self) -> None:
        """Reject what needs choices where there are none."""
        if self.choices is None and (self.answer.index_from is not None or self.answer.by_text):
            raise T2Error("Expected `choices` beside `index_from` or `by_text`, got none. Name their field.")

    @property
    def questions(self) -> list[str]:
        """The fields that make the question."""
        return [self.question] if isinstance(self.question, str) else self.question

    @property
    def columns(self) -> list[str]:
        """Every field that a row must have."""
        choices = [self.choices] if isinstance(self.choices, str) else self.choices or []
        names = [self.id, *self.questions, self.answer.name, *choices]
        return list(dict.fromkeys(name for name in names if name is not None))


def question_of(row: JsonObject, fields: Fields, dedup: Dedup = "exact") -> Question:
    """The question that a row holds.

    Raises:
        T2Error: a field is missing, empty or of another type, the answer does not stand where it should, or it is none
            of the choices; names the row.
    """
    asked = " ".join(row.required(name) for name in fields.questions)
    if fields.choices is None:
        text, answer, key = asked, _answer(row, fields.answer), asked
    else:
        choices, answer = _choices_and_letter(row, fields, asked)
        text = "\n".join(
            [asked.rstrip(), *(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))]
        )
        key = "\n".join([asked, *sorted(choices)])  # the same choices in another order ask the same
    return Question(
        id=row.required(fields.id) if fields.id is not None else digest([text])[:16],
        text=text,
        answer=answer,
        dedup_key=(row.text(fields.dedup_key) if fields.dedup_key else None) or dedup_key(key, dedup),
        family=(row.text(fields.family) if fields.family else None) or "",
        size=(row.count(fields.size) if fields.size else None) or 0,
    )


def _answer(row: JsonObject, where: AnswerField) -> str:
    whole = row.required(where.name)
    answer = where.answer_in(whole)
    if answer is None:
        sought = [
            *([f"after the last {where.after!r}"] if where.after else []),
            *([r"in a \boxed{...}"] if where.boxed else []),
            *([f"that matches {quoted(where.pattern)}"] if where.pattern else []),
        ]
        raise T2Error(
            f"Expected an answer {' '.join(sought)} of the field {where.name!r}, got {short(whole)} at {row.where}. "
            "Mend the row, or what the config says of the answer (`after`, `boxed`, `pattern`)."
        )
    return answer


def _choices_and_letter(row: JsonObject, fields: Fields, asked: str) -> tuple[list[str], str]:
    """The choices in the order in which they are shown, and the letter of the right one.

    Raises:
        T2Error: fewer than two or more than 26 choices, an answer that is none of them, or is two of them.
    """
    where, names = fields.answer, fields.choices
    choices = row.texts(names) if isinstance(names, str) else [row.required(name) for name in names or []]
    choices = [choice.strip() for choice in choices]
    if not 2 <= len(choices) <= len(LETTERS):
        raise T2Error(f"Expected 2 to {len(LETTERS)} choices, got {len(choices)} at {row.where}.")
    if isinstance(names, list) and where.name in names:
        right = choices[names.index(where.name)]
        # By a hash of each choice: the order does not depend on the fields, in whose first the right one stands.
        choices.sort(key=lambda choice: (unit_interval("t2-choices", asked, choice), choice))
    else:
        right = _right_choice(row, where, choices)
    if choices.count(right) > 1:
        raise T2Error(f"Expected one right choice, got {short(right)} more than once at {row.where}.")
    return choices, LETTERS[choices.index(right)]


def _right_choice(row: JsonObject, where: AnswerField, choices: list[str]) -> str:
    answer = _answer(row, where).strip()
    if where.by_text:
        if answer in choices:
            return answer
        found = f"{short(answer)}, which is none of them,"
    elif where.index_from is not None:
        number = _whole_number(answer)
        if number is not None and 0 <= number - where.index_from < len(choices):
            return choices[number - where.index_from]
        found = f"the number {short(answer)} (counted from {where.index_from})"
    else:
        if len(answer) == 1 and answer.upper() in LETTERS[: len(choices)]:
            return choices[LETTERS.index(answer.upper())]
        found = f"{short(answer)}, which is no letter up to {LETTERS[len(choices) - 1]},"
    raise T2Error(
        f"Expected one of {len(choices)} choices as {where.name!r}, got {found} at {row.where}. Mend the row, or say "
        "how it is named: `index_from`, `by_text`, or a letter."
    )


def _whole_number(text: str) -> int | None:
    """2 and 2.0, as a column of numbers with gaps is stored; None for anything else."""
    number = re.fullmatch(r"(\d{1,9})(?:\.0)?", text)
    return int(number[1]) if number else None
