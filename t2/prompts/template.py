"""The chat template that a config names: its text, and what it asks for besides the conversation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from t2.errors import T2Error, quoted
from t2.spec import PromptSpec

OWN = "chat"
"""`prompt.template` that means the tokenizer's own template; of several the one called `DEFAULT`"""
DEFAULT = "default"
CLOCK, DATE = "strftime_now", "date_string"
"""The function by which templates ask for today's date, and the variable in which some take it as a text."""
DATE_FORMAT = "%d %b %Y"
"""Of `DATE`, as the templates that know it write it: 26 Jul 2024."""
GIVEN = {
    *("messages", "add_generation_prompt", "raise_exception", "namespace", "range", "dict", CLOCK),
    *("conversation", "chat_template", "continue_final_message", "tokenize", "padding", "truncation", "max_length"),
    *("return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs"),
}
"""Names that every rendering has or that mean something to transformers, so that no argument may take their place."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template and where it comes from."""

    label: str
    """for people, as "the chat template of the tokenizer" """
    source: str
    """Jinja text"""

    @cached_property
    def names(self) -> frozenset[str]:
        """What it looks up from outside: the conversation, special tokens, arguments, the clock.

        Raises:
            T2Error: it is no Jinja.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        try:
            return frozenset(meta.find_undeclared_variables(environment.parse(self.source)))
        except TemplateSyntaxError as error:
            raise T2Error(f"Expected a Jinja template, got a mistake in {self.label}: {error}.") from error

    @property
    def asks_the_clock(self) -> bool:
        """Whether it prints another prompt tomorrow."""
        return CLOCK in self.names

    @property
    def prints_a_date(self) -> bool:
        """Whether `prompt.date` means something to it."""
        return bool({CLOCK, DATE} & self.names)

    def takes(self, argument: str, tokenizer: Any) -> bool:
        """Whether it mentions an argument that is not given to it already."""
        return argument in self.names - GIVEN and argument not in tokenizer.special_tokens_map

    def check_arguments(self, spec: PromptSpec, tokenizer: Any) -> None:
        """Refuse what would change nothing: an argument or a date that the template never mentions is a typo.

        Raises:
            T2Error: names it, and the arguments that there are.
        """
        if unknown := [name for name in spec.template_arguments if not self.takes(name, tokenizer)]:
            known = sorted(name for name in self.names if self.takes(name, tokenizer))
            raise T2Error(
                f"Expected `prompt.template_arguments` that {self.label} asks for ({', '.join(known) or 'none'}), got "
                f"{quoted(unknown[0])}. Mend or remove it."
            )
        if spec.date is not None and not self.prints_a_date:
            raise T2Error(
                f"Expected `prompt.date` for a template that prints a date, got {spec.date} for {self.label}, which "
                "prints none. Remove it."
            )


class _Generation(Extension):
    """The tag {% generation %} of transformers, which marks what the model says and changes nothing else."""

    tags = {"generation"}  # noqa: RUF012  # as Jinja declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def named_templates(tokenizer: Any) -> dict[str, str]:
    """The tokenizer's templates by name; one without a name is the default. Empty: it has none."""
    own = tokenizer.chat_template
    if isinstance(own, list | tuple):  # as tokenizer_config.json writes several
        own = {each["name"]: each["template"] for each in own}
    return dict(own) if isinstance(own, dict) else {DEFAULT: str(own)} if own else {}


def chat_template(tokenizer: Any, name: str) -> ChatTemplate:
    """The template that `prompt.template` means: one of the tokenizer's by its name, else the Jinja file of that path.

    Raises:
        T2Error: the tokenizer has no template, none of that name and there is no such file, or it cannot be read.
    """
    own = named_templates(tokenizer)
    if name == OWN and (DEFAULT in own or OWN in own):
        return ChatTemplate("the chat template of the tokenizer", own.get(DEFAULT, own.get(OWN, "")))
    if name in own:
        return ChatTemplate(f"the tokenizer's chat template {quoted(name)}", own[name])
    choices = f"one of the tokenizer's templates ({', '.join(sorted(own))})" if len(own) > 1 else "'chat'"
    if name == OWN:
        if own:
            raise T2Error(f"Expected `prompt.template` to be {choices}, got 'chat', and none of them is the default.")
        raise T2Error(
            "Expected a tokenizer with a chat template, got one without. "
            "Set `data.pool.prompt.template` to the path of a Jinja file."
        )
    try:
        return ChatTemplate(f"the template file {name}", Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise T2Error(
            f"Expected `prompt.template` to be {choices} or a Jinja file, got {quoted(name)}: {reason}. Mend it."
        ) from error
