"""Whether a prompt says what it should: question, system line and worked examples, each in its own turn. Pure.

A text counts as said if it stands in the prompt character by character. White space at its ends may be missing, since
most templates trim it, and it may be escaped as a whole: as JSON (`tojson`, with or without ASCII alone) or as HTML
(`escape`). Nothing else may differ: a template that changes a question asks another one.

To stand somewhere is not enough, since "3" stands in every date and a question may be part of a worked example. So a
text must stand in the prompt once more than in the same prompt with a mark in its place.
"""

from __future__ import annotations

import json

from markupsafe import escape

from t2.spec import PromptSpec, Shot

MARK = "\ue000"
"""Takes the place of a text: a private character, which no question has."""


def says(prompt: str, marked: str, text: str) -> bool:
    """Whether a prompt says a text; `marked` is the prompt with `MARK` in its place. A blank text is always said."""
    bare = text.strip()
    written = {bare, json.dumps(bare, ensure_ascii=False)[1:-1], json.dumps(bare)[1:-1], str(escape(bare))}
    return not bare or any(prompt.count(each) > marked.count(each) for each in written)


def around(spec: PromptSpec) -> dict[str, str]:
    """What a prompt must say besides its question: name -> text."""
    texts = {"the system line": spec.system}
    for number, shot in enumerate(spec.shots, 1):
        texts |= {f"the question of worked example {number}": shot.question, f"its answer {number}": shot.answer}
    return {name: text for name, text in texts.items() if text}


def all_marked(spec: PromptSpec) -> tuple[str, list[Shot]]:
    """System line and worked examples with a mark in the place of each text."""
    return MARK if spec.system else "", [Shot(MARK, MARK) for _ in spec.shots]
