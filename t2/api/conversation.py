"""What stands around a question in the prompt that a head reads, and whether a request has it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from t2.answering.asking import PromptForm
from t2.api.upstream import Json
from t2.errors import T2Error, quoted
from t2.prompts.renderer import PromptRenderer
from t2.prompts.renderer import messages as conversation_of
from t2.prompts.template import DATE, DATE_FORMAT
from t2.spec import PromptSpec

_QUESTION = "\ue001"
"""Stands for a question where a prompt is rendered to see what is around it; not the mark that the renderer uses."""
TEMPLATE_ARGUMENTS = "chat_template_kwargs"
"""Field of a chat request with what the chat template is told besides the messages."""
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_OTHER_PROMPTS = ("chat_template", "documents", "tools", "continue_final_message", "echo")
"""Fields of a chat request that change what its messages become, and that no head was trained with."""


@dataclass(frozen=True)
class HeadPrompt:
    """The head's prompt as requests are compared with it."""

    spec: PromptSpec
    frame: tuple[str, str] | None = None
    """the rendered text before and after a question; None: no tokenizer is at hand"""

    def completed(self, body: Json) -> tuple[Json, PromptForm]:
        """A chat request with the head's system line and worked examples, where it has only one user turn.

        What the head's chat template was told besides goes along. A request that tells it anything else has another
        prompt, since arguments may change every word of it.

        Raises:
            T2Error: there is more than text in it.
        """
        own, asked = self._template_arguments, body.get(TEMPLATE_ARGUMENTS) or {}
        whole = self._whole(body)
        if whole is None or any(name not in own or own[name] != value for name, value in asked.items()):
            return body, "other"
        told = {TEMPLATE_ARGUMENTS: own} if own else {}
        if _turns(body["messages"]) == _turns(whole):
            return {**body, **told}, "as sent"
        if len(body["messages"]) == 1:
            return {**body, **told, "messages": [*whole[:-1], body["messages"][-1]]}, "completed"
        return body, "other"

    def form_as_sent(self, body: Json) -> PromptForm:
        """Of a chat request to which nothing is added: "as sent" or "other".

        Raises:
            T2Error: there is more than text in it.
        """
        whole, asked = self._whole(body), body.get(TEMPLATE_ARGUMENTS) or {}
        is_own = whole is not None and _turns(body["messages"]) == _turns(whole) and asked == self._template_arguments
        return "as sent" if is_own else "other"

    def form_of_text(self, prompt: object) -> PromptForm:
        """Of a prompt that is rendered already."""
        if self.frame is None or not isinstance(prompt, str):
            return "other"
        before, after = self.frame
        fits = len(prompt) > len(before) + len(after) and prompt.startswith(before) and prompt.endswith(after)
        return "as sent" if fits else "other"

    def _whole(self, body: Json) -> list[Json] | None:
        """The head's conversation about the last turn of a chat request; None: it cannot be the head's.

        Raises:
            T2Error: there is more than text in the request.
        """
        turns = _turns(body["messages"])
        if any(body.get(field) for field in _OTHER_PROMPTS) or body.get("add_generation_prompt") is False:
            return None
        if not turns or turns[-1][0] != "user" or None in (text for _, text in turns):
            return None
        return [dict(message) for message in conversation_of(self.spec.system, self.spec.shots, turns[-1][1] or "")]

    @property
    def _template_arguments(self) -> dict[str, Any]:
        """What the chat template is told besides the messages."""
        if self.spec.date is None:
            return dict(self.spec.template_arguments)
        return {DATE: date.fromisoformat(self.spec.date).strftime(DATE_FORMAT), **self.spec.template_arguments}


def frame_of(renderer: PromptRenderer) -> tuple[str, str] | None:
    """What stands around a question in a head's prompt; None: it cannot be rendered here."""
    try:
        before, _, after = renderer.text(_QUESTION).partition(_QUESTION)
    except T2Error:
        return None
    return before, after


def _turns(messages: Sequence[Json]) -> list[tuple[object, str | None]]:
    """Role and text of each."""
    return [(message.get("role"), text_of(message)) for message in messages]


def text_of(message: Json) -> str | None:
    """Of a turn; None: it is in several parts, or there is none.

    Raises:
        T2Error: a part is no text.
    """
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(part, str) and kind not in _TEXT_PARTS:
            raise T2Error(
                f"Expected text alone in a request with `t2_budget`, got a part of type {quoted(str(kind))}. A head "
                "reads the activations of texts: send the request without `t2_budget`."
            )
    if len(parts) != 1:
        return None
    return parts[0] if isinstance(parts[0], str) else parts[0].get("text")
