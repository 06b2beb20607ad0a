"""Question -> token ids. The one place that renders prompts, for labels, training and serving alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from t2.errors import T2Error
from t2.hashing import digest
from t2.spec import PromptSpec


def load_tokenizer(model_folder: Path) -> Any:
    """The fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_folder)
    except (OSError, ValueError) as error:
        raise T2Error(
            f"Expected a fast tokenizer in {model_folder}, got none that transformers can read: "
            f"{' '.join(str(error).split())[:200]} Put the model's tokenizer files there."
        ) from error


def template_source(tokenizer: Any, spec: PromptSpec) -> str:
    """The Jinja text of the chat template that `spec` names.

    Raises:
        T2Error: the tokenizer has no template, or the file cannot be read.
    """
    if spec.template == "chat":
        if not tokenizer.chat_template:
            raise T2Error(
                "Expected a tokenizer with a chat template, got one without. "
                "Set `data.pool.prompt.template` to the path of a Jinja file."
            )
        return str(tokenizer.chat_template)
    path = Path(spec.template)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise T2Error(f"Expected `prompt.template` to be 'chat' or a Jinja file, got {path}: {error}.") from error


def messages(spec: PromptSpec, question: str) -> list[dict[str, str]]:
    """The conversation: system line, worked examples, question."""
    turns = [{"role": "system", "content": spec.system}] if spec.system else []
    for shot in spec.shots:
        turns += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": shot.answer}]
    return [*turns, {"role": "user", "content": question}]


def render(tokenizer: Any, spec: PromptSpec, question: str) -> list[int]:
    """Token ids of the prompt, generation prompt included: its last token is where activations are read."""
    from jinja2 import TemplateError

    source = template_source(tokenizer, spec)
    try:
        encoded = tokenizer.apply_chat_template(
            messages(spec, question), chat_template=source, add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except TemplateError as error:  # some models' templates refuse a system line
        raise T2Error(
            f"Expected a chat template that takes the configured `prompt`, got its error: {error}. "
            "Change `prompt.system` or `prompt.shots`, or name another `prompt.template`."
        ) from error
    return [int(token) for token in encoded["input_ids"]]


def prompt_fingerprint(tokenizer: Any, spec: PromptSpec) -> str:
    """Hash of everything but the question that decides the prompt's text."""
    shots = [[shot.question, shot.answer] for shot in spec.shots]
    return digest({"template": template_source(tokenizer, spec), "system": spec.system, "shots": shots})
