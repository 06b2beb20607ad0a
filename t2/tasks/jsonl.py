"""`JsonlTask`: the user's own questions, one JSON object a line."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from t2.grading.given import GRADERS
from t2.json_lines import read_objects
from t2.spec import Grader, Question, Task
from t2.tasks.checked_rows import RowRules, UnusableRows, checked_questions, dropped_notes
from t2.tasks.fields import AnswerField, Fields, question_of
from t2.tasks.keys import Dedup

__all__ = ["AnswerField", "Fields", "JsonlTask"]


class JsonlTask(Task):
    """Reads `{"id", "question", "answer"}` a line; `family`, `size` and `dedup_key` are optional."""

    def __init__(
        self,
        path: str,
        grader: Literal["numeric", "exact", "math", "choice"] | Grader = "numeric",
        fields: Fields | None = None,
        dedup: Dedup = "exact",
        unusable_rows: UnusableRows = "refuse",
    ) -> None:
        """Choose file, grader and names of fields.

        Args:
            path: a UTF-8 file of JSON lines.
            grader: "numeric" (number after `####`), "exact" (text), "math" (LaTeX), "choice" (a letter), or your own.
            fields: names of the fields of a line, where they are others than id, question and answer.
            dedup: "exact": questions of the same text share a split; "numbers": of the same text but for its numbers.
            unusable_rows: "refuse": an error names lines without a question and its answer; "drop": such lines, and
                those that ask what an earlier one asks, are left out and counted.
        """
        self.path, self.fields, self.dedup = Path(path), fields or Fields(), dedup
        self._rules = RowRules(path, unusable_rows, keeps_repeats=self.fields.id is not None)
        self._grader = GRADERS[grader]() if isinstance(grader, str) else grader
        self._dropped = list[str]()

    @property
    def grader(self) -> Grader:
        return self._grader

    def questions(self) -> list[Question]:
        """All questions of the file, in its order.

        Raises:
            T2Error: missing, empty or non-UTF-8 file, bad JSON, a field that is missing or of another type, an id
                twice, or one question with two answers; names the line.
        """
        rows = read_objects(self.path, "questions")
        checked = checked_questions(
            rows, lambda row: question_of(row, self.fields, self.dedup), lambda: self.grader, self._rules
        )
        self._dropped = checked.dropped
        return checked.questions

    def notes(self) -> list[str]:
        return dropped_notes(self._dropped)
