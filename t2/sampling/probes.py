"""A question to the head that an engine carries: one greedy token, with the log probabilities of the head's columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ProbeRequest:
    """Read what the head says of a prompt. The samples that follow find the prompt in the prefix cache."""

    question_id: str
    prompt_ids: tuple[int, ...]
    label_ids: tuple[int, ...]
    """columns of the head, `EngineHead.label_ids`"""


@dataclass(frozen=True)
class ProbeResult:
    """An answered probe."""

    request: ProbeRequest
    logprobs: tuple[float, ...]
    """in the order of `request.label_ids`, for `EngineHead.raw`"""


def probe_parameters(label_ids: Sequence[int]) -> Any:
    """`vllm.SamplingParams` of a probe."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        logprob_token_ids=list(label_ids),
        detokenize=False,  # the columns are no tokens: there is nothing to spell
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def label_logprobs(label_ids: Sequence[int], completion: Any) -> tuple[float, ...]:
    """What was read with the first token of a `vllm.CompletionOutput`, which is the only one of a probe."""
    of_first_token = completion.logprobs[0]
    return tuple(float(of_first_token[label].logprob) for label in label_ids)
