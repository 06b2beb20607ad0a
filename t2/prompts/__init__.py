"""Question -> token ids. The one place that renders prompts, for labels, training and serving alike."""

from t2.prompts.renderer import PromptRenderer, render
from t2.prompts.tokenizer import load_tokenizer

__all__ = ["PromptRenderer", "load_tokenizer", "render"]
