"""`PromptRenderer`: a config's `prompt` with the tokenizer of an LLM. Whatever it renders is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from t2.errors import T2Error, quoted
from t2.hashing import digest
from t2.prompts.check import MARK, all_marked, around, says
from t2.prompts.template import CLOCK, DATE, DATE_FORMAT, GIVEN, ChatTemplate, chat_template
from t2.prompts.tokenizer import lost_characters
from t2.spec import PromptSpec, Shot

PROXY_DATE = "2026-01-01"
"""Printed as today where an LLM is read that answers nothing. Its prompts are stored nowhere: any fixed day will do."""


@dataclass(frozen=True)
class PromptRenderer:
    """Renders questions for one LLM. Make it with `of`."""

    tokenizer: Any
    """of transformers"""
    template: ChatTemplate
    spec: PromptSpec
    """as it is rendered: with a date if the template prints one, and with the arguments that it asks for"""

    @classmethod
    def of(cls, tokenizer: Any, spec: PromptSpec, began: str | None = None) -> PromptRenderer:
        """For the LLM that answers. `began` is the day that prompts of this kind have printed so far, if any.

        Raises:
            T2Error: no such template, no Jinja, or an argument or a date that it does not ask for.
        """
        template = chat_template(tokenizer, spec.template)
        template.check_arguments(spec, tokenizer)
        if spec.date is None and template.asks_the_clock:
            spec = replace(spec, date=began or today())
        return cls(tokenizer, template, spec)

    @classmethod
    def of_proxy(cls, tokenizer: Any, spec: PromptSpec) -> PromptRenderer:
        """For an LLM that is only read. What its template does not ask for is meant for the LLM that answers.

        Raises:
            T2Error: no such template, or no Jinja.
        """
        template = chat_template(tokenizer, spec.template)
        known = {name: value for name, value in spec.template_arguments.items() if template.takes(name, tokenizer)}
        day = spec.date if template.prints_a_date else None
        return cls.of(tokenizer, replace(spec, template_arguments=known, date=day), PROXY_DATE)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything but the question that decides the prompt's text."""
        spec = self.spec
        rendered = {
            "template": self.template.source,
            "system": spec.system,
            "shots": [[shot.question, shot.answer] for shot in spec.shots],
        }
        # Keys of their own only where they say something: the fingerprints of all other prompts are older than they.
        further = {"template_arguments": spec.template_arguments, "date": spec.date}
        return digest(rendered | {key: value for key, value in further.items() if value})

    @property
    def recorded(self) -> dict[str, Any]:
        """What pools and heads record of it."""
        return self.spec.as_json() | {"fingerprint": self.fingerprint}

    def text(self, question: str, name: str = "") -> str:
        """The prompt as a text, generation prompt included.

        Args:
            question: its text.
            name: of the question in an error; empty: the text itself.

        Raises:
            T2Error: the template refuses the conversation, or leaves out a part of it.
        """
        prompt = self._rendered(self.spec.system, self.spec.shots, question)
        if not says(prompt, self._without_question, question):
            raise self._missing("the question", question, name or question)
        for part, text in around(self.spec).items():
            if not says(prompt, self._without_anything, text):
                raise self._missing(part, text, name or question)
        return prompt

    def ids(self, question: str, name: str = "") -> list[int]:
        """Token ids of the prompt: its last token is where activations are read. Arguments as those of `text`.

        Raises:
            T2Error: as `text`, or the tokenizer has no token for a character of it.
        """
        prompt = self.text(question, name)
        ids = self._tokens(prompt)
        if lost := lost_characters(prompt, self.tokenizer.decode(ids)):
            raise T2Error(
                f"Expected a tokenizer that can write the prompt of question {quoted(name or question)}, got one "
                f"without a token for {', '.join(map(quoted, lost[:10]))}. Is this the right LLM for these questions?"
            )
        return ids

    def ids_of_conversation(
        self, turns: Sequence[Mapping[str, str]], arguments: Mapping[str, object] | None = None
    ) -> list[int]:
        """Token ids of any conversation ("role", "content"), as a server reads it: nothing of it is checked.

        Args:
            turns: of the conversation.
            arguments: what the template is told besides; None: what `spec` says, date included.

        Raises:
            T2Error: the template refuses it, or an argument that every rendering sets itself.
        """
        if arguments is not None and (own := sorted(GIVEN & arguments.keys())):
            raise T2Error(
                f"Expected arguments of a chat template, got {quoted(own[0])}, which is no argument. Remove it."
            )
        return self._tokens(self._of_turns(turns, arguments))

    @cached_property
    def _without_question(self) -> str:
        return self._rendered(self.spec.system, self.spec.shots, MARK)

    @cached_property
    def _without_anything(self) -> str:
        return self._rendered(*all_marked(self.spec), MARK)

    def _tokens(self, prompt: str) -> list[int]:
        # A template writes the special tokens itself.
        return [int(token) for token in self.tokenizer(prompt, add_special_tokens=False)["input_ids"]]

    def _rendered(self, system: str, shots: list[Shot], question: str) -> str:
        return self._of_turns(messages(system, shots, question))

    def _of_turns(self, turns: Sequence[Mapping[str, str]], arguments: Mapping[str, object] | None = None) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    list(turns),
                    chat_template=self.template.source,
                    add_generation_prompt=True,
                    tokenize=False,
                    **(self._arguments if arguments is None else arguments),
                )
            )
        except TemplateError as error:  # some models' templates refuse a system line
            raise T2Error(
                f"Expected a chat template that takes the configured `prompt`, got its error: {error}. "
                "Change `prompt.system` or `prompt.shots`, or name another `prompt.template`."
            ) from error

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        """What the template is told besides the conversation; whatever it asks of the clock is midnight of the date."""
        spec = self.spec
        if spec.date is None:
            return spec.template_arguments
        strftime: Callable[[str], str] = datetime.fromisoformat(spec.date).strftime
        # A template that has a clock writes the date in a format of its own.
        clock = {CLOCK: strftime} if self.template.asks_the_clock else {DATE: strftime(DATE_FORMAT)}
        return clock | spec.template_arguments

    def _missing(self, part: str, text: str, name: str) -> T2Error:
        return T2Error(
            f"Expected {part} ({quoted(text)}) in the prompt of question {quoted(name)}, got a prompt without it: "
            f"{self.template.label} leaves it out or changes it. Name another `prompt.template`"
            + ("." if part == "the question" else ", or remove this part of `prompt`.")
        )


def today() -> str:
    """Today as `prompt.date` writes it."""
    return date.today().isoformat()


def messages(system: str, shots: list[Shot], question: str) -> list[dict[str, str]]:
    """The conversation: system line, worked examples, question."""
    turns = [{"role": "system", "content": system}] if system else []
    for shot in shots:
        turns += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.answer}]
    return [*turns, {"role": "user", "content": question}]


def render(tokenizer: Any, spec: PromptSpec, question: str) -> list[int]:
    """Token ids of one prompt; for many, keep a `PromptRenderer`."""
    return PromptRenderer.of(tokenizer, spec).ids(question)
