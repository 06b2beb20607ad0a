"""`JsonlTask`: the user's own questions, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from t2.errors import T2Error
from t2.grading.given import GRADERS
from t2.spec import Grader, Question, Task


class JsonlTask(Task):
    """Reads `{"id", "question", "answer"}` a line; `family`, `size` and `dedup_key` are optional."""

    def __init__(self, path: str, grader: Literal["numeric", "exact"] | Grader = "numeric") -> None:
        """Choose file and grader.

        Args:
            path: a UTF-8 file of JSON lines.
            grader: "numeric" (number after `####`), "exact" (text after `####`), or a grader of your own.
        """
        self.path = Path(path)
        self._grader = GRADERS[grader]() if isinstance(grader, str) else grader

    @property
    def grader(self) -> Grader:
        return self._grader

    def questions(self) -> list[Question]:
        """All questions of the file, in its order.

        Raises:
            T2Error: missing, empty or non-UTF-8 file, bad JSON, missing field, duplicate id; names the line.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            raise T2Error(f"Expected a file of questions, got {self.path}: {error.strerror}. Check `path`.") from error
        except UnicodeDecodeError as error:
            raise T2Error(
                f"Expected UTF-8, got byte {error.object[error.start]:#04x} at offset {error.start} of {self.path}. "
                f"Convert it: iconv -f LATIN1 -t UTF-8 {self.path}"
            ) from error
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines:
            raise T2Error(f"Expected at least one question, got an empty file: {self.path}.")
        first_line: dict[str, int] = {}
        questions = []
        for number, line in lines:
            question = _parse(line, f"{self.path}:{number}")
            if question.id in first_line:
                before = first_line[question.id]
                raise T2Error(
                    f"Expected unique ids, got {question.id!r} on lines {before} and {number} of {self.path}."
                )
            first_line[question.id] = number
            questions.append(question)
        return questions


def _parse(line: str, where: str) -> Question:
    """One line as a question; `where` is FILE:LINE for the error."""
    try:
        row: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise T2Error(f"Expected a JSON object, got {line[:60]!r} at {where}: {error.msg}.") from error
    if not isinstance(row, dict):
        raise T2Error(f"Expected a JSON object, got {line[:60]!r} at {where}.")
    for key in ("id", "question", "answer"):
        if not str(row.get(key) if row.get(key) is not None else "").strip():
            raise T2Error(f"Expected the field {key!r}, got {sorted(row)} at {where}. Add it or remove the line.")
    text = str(row["question"])
    try:
        size = int(row.get("size") or 0)
    except (TypeError, ValueError, OverflowError) as error:
        raise T2Error(f"Expected an integer `size`, got {row['size']!r} at {where}.") from error
    return Question(
        id=str(row["id"]),
        text=text,
        answer=str(row["answer"]),
        dedup_key=str(row.get("dedup_key") or " ".join(text.casefold().split())),
        family=str(row.get("family") or ""),
        size=size,
    )
