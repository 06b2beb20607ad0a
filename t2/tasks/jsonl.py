"""`JsonlTask`: the user's own questions, one JSON object a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from t2.errors import T2Error
from t2.grading.given import GRADERS
from t2.hashing import digest
from t2.json_lines import JsonObject, Unique, read_objects, short
from t2.spec import Grader, Question, Task


@dataclass(frozen=True)
class AnswerField:
    """Where the gold answer stands."""

    name: str = "answer"
    after: str = ""
    """the answer is what follows the last of these in the field, as "####" in a worked solution; empty: all of it"""


@dataclass(frozen=True)
class Fields:
    """What the fields of a line are called."""

    id: str | None = "id"
    """None: the file has no ids; each is made from its question's text, so that lines may move"""
    question: str | list[str] = "question"
    """several are joined by a blank, as a story and what is asked of it"""
    answer: AnswerField = field(default_factory=AnswerField)
    dedup_key: str = "dedup_key"
    family: str = "family"
    size: str = "size"


class JsonlTask(Task):
    """Reads `{"id", "question", "answer"}` a line; `family`, `size` and `dedup_key` are optional."""

    def __init__(
        self,
        path: str,
        grader: Literal["numeric", "exact", "math", "choice"] | Grader = "numeric",
        fields: Fields | None = None,
    ) -> None:
        """Choose file, grader and names of fields.

        Args:
            path: a UTF-8 file of JSON lines.
            grader: "numeric" (number after `####`), "exact" (text), "math" (LaTeX), "choice" (a letter), or your own.
            fields: names of the fields of a line, where they are others than id, question and answer.
        """
        self.path, self.fields = Path(path), fields or Fields()
        self._grader = GRADERS[grader]() if isinstance(grader, str) else grader

    @property
    def grader(self) -> Grader:
        return self._grader

    def questions(self) -> list[Question]:
        """All questions of the file, in its order.

        Raises:
            T2Error: missing, empty or non-UTF-8 file, bad JSON, a field that is missing or of another type, or an id
                twice; names the line.
        """
        made = self.fields.id is None
        unique = Unique(self.path, "questions where ids are made from them (`fields.id`)" if made else "ids")
        questions = list[Question]()
        for line in read_objects(self.path, "questions"):
            question = self._question(line)
            unique.add(question.text if made else question.id, line.line)
            questions.append(question)
        return questions

    def _question(self, line: JsonObject) -> Question:
        fields = self.fields
        names = [fields.question] if isinstance(fields.question, str) else fields.question
        text = " ".join(line.required(name) for name in names)
        return Question(
            id=line.required(fields.id) if fields.id is not None else digest([text])[:16],
            text=text,
            answer=self._answer(line),
            dedup_key=line.text(fields.dedup_key) or " ".join(text.casefold().split()),
            family=line.text(fields.family) or "",
            size=line.count(fields.size) or 0,
        )

    def _answer(self, line: JsonObject) -> str:
        where = self.fields.answer
        whole = line.required(where.name)
        if not where.after:
            return whole
        _, marker, answer = whole.rpartition(where.after)
        if not marker or not answer.strip():
            raise T2Error(
                f"Expected an answer after the last {where.after!r} of the field {where.name!r}, got {short(whole)} at "
                f"{line.where}. Mend the line, or `fields.answer.after`."
            )
        return answer.strip()
