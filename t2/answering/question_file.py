"""Files of questions that are only asked: no gold answers. Read as strictly as all other files of JSON lines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from t2.json_lines import Unique, read_objects


@dataclass(frozen=True)
class Asked:
    """A line of a file of questions."""

    id: str
    question: str


def questions_of(path: Path) -> list[Asked]:
    """`{"question"}` a line, with an `id` where the file has ids of its own; else the question's hash is one.

    Raises:
        T2Error: missing file, bad JSON, a line without a question, an id twice.
    """
    asked, seen = list[Asked](), Unique(path)
    for row in read_objects(path, "questions"):
        question = row.required("question")
        name = row.text("id") or hashlib.sha256(question.encode()).hexdigest()[:16]
        seen.add(name, row.line)
        asked.append(Asked(name, question))
    return asked
