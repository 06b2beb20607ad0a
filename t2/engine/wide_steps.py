"""Which steps of an engine need the head's columns: vLLM's own way to tell a batch's requests, a logits processor.

Rows with the tapped layers beside them, the head, and a sampler over more columns cost a tenth of an LLM's speed where
a step takes ten milliseconds. Only steps with a probe need them. A request that counts columns in any other way keeps
its steps wide too, since vLLM takes the head's columns for tokens: it would index beyond the logits.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, process_dict_updates

from t2.engine.vllm_models import WIDE_STEPS

_PLAIN: dict[str, Any] = {
    "logprob_token_ids": None,  # a probe, above all
    "logprobs": None,
    "prompt_logprobs": None,
    "top_k": 0,  # where some of a batch have none, theirs is the number of columns
    "min_tokens": 0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,  # prompts of unequal lengths are filled up with the number of columns
    "logit_bias": None,
    "allowed_token_ids": None,
    "bad_words": [],
    "structured_outputs": None,
    "thinking_token_budget": None,
}
"""Parameters at which a request does not care how many columns its logits have."""


class WideSteps(LogitsProcessor):  # type: ignore[misc]  # of vLLM
    """Follows the requests of a batch and changes no logits; the model beside it asks `is_wide`."""

    def __init__(self, vllm_config: Any, device: Any, is_pin_memory: bool) -> None:
        """Leave itself where the model, which is made later in this process from the same config, finds it."""
        self._wide: dict[int, bool] = {}
        self._has_begun = False
        setattr(vllm_config, WIDE_STEPS, self)

    @property
    def is_wide(self) -> bool:
        """Whether the step that is about to run needs the head's columns; so does what runs before any request."""
        return bool(self._wide) or not self._has_begun

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """By vLLM before each step, with what has changed in its batch."""
        self._has_begun = True
        process_dict_updates(self._wide, batch_update, _wide)

    def apply(self, logits: Tensor) -> Tensor:
        """Nothing."""
        return logits

    def is_argmax_invariant(self) -> bool:
        """Certainly."""
        return True


def _wide(parameters: SamplingParams, *_: object) -> bool | None:
    """True for a request that needs wide steps, as an entry of a sparse processor: None is none."""
    return None if all(getattr(parameters, name) == plain for name, plain in _PLAIN.items()) else True
