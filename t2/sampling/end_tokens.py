"""Which tokens end an answer: part of a pool's identity, since other ends are other answers."""

from __future__ import annotations

from pathlib import Path

from t2.errors import T2Error
from t2.prompts import load_tokenizer


def end_token_ids(model_folder: str | Path) -> tuple[int, ...]:
    """The tokens at which vLLM ends an answer, in rising order.

    They are the tokenizer's end token and those that `generation_config.json` names; without that file, those of
    `config.json`. A chat model often has two: one for the turn and one for the text.

    Raises:
        T2Error: no tokenizer or config there that transformers can read.
    """
    from transformers import AutoConfig, GenerationConfig

    folder = Path(model_folder)
    try:
        if (folder / "generation_config.json").is_file():
            generation = GenerationConfig.from_pretrained(folder)
        else:
            generation = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError) as error:
        raise T2Error(
            f"Expected generation_config.json or config.json in {folder} with the tokens that end an answer, got: "
            f"{' '.join(str(error).split())[:200]} Restore the model's files."
        ) from error
    named = generation.eos_token_id
    ends = [named] if isinstance(named, int) else list(named or ())
    own = load_tokenizer(folder).eos_token_id
    return tuple(sorted({int(token) for token in (*ends, *([] if own is None else [own]))}))
