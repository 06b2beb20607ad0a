"""A fault of vLLM's first model runner, mended: probes must not take away what other requests of a batch ask for.

Its sampler gives a whole batch either the log probabilities of chosen tokens, where one request asks for some (a probe
does), or those of the likeliest tokens. A client that wants `top_logprobs` then got token 0 and minus infinity. The
second model runner does it by request.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def mend_label_reads() -> None:
    """In this process, once: rows that have chosen no tokens get the likeliest ones beside those that have."""
    from vllm.v1.outputs import LogprobsTensors
    from vllm.v1.sample.sampler import Sampler

    if getattr(Sampler.gather_specific_token_logprobs, "is_mended", False):
        return
    own_forward, own_gather = Sampler.forward, Sampler.gather_specific_token_logprobs

    def forward(self: Any, logits: Tensor, sampling_metadata: Any, *others: Any, **named: Any) -> Any:
        self.t2_num_logprobs = sampling_metadata.max_num_logprobs or 0
        return own_forward(self, logits, sampling_metadata, *others, **named)

    def gather(self: Any, logprobs: Tensor, logprob_token_ids: dict[int, list[int]], sampled: Tensor) -> Any:
        read = own_gather(self, logprobs, logprob_token_ids, sampled)
        if read is None or len(logprob_token_ids) == len(logprobs):
            return read
        ids, values = with_likeliest(
            read.logprob_token_ids, read.logprobs, logprobs, set(logprob_token_ids), self.t2_num_logprobs
        )
        return LogprobsTensors(ids, values, read.selected_token_ranks)

    gather.is_mended = True  # type: ignore[attr-defined]
    Sampler.forward, Sampler.gather_specific_token_logprobs = forward, gather


def with_likeliest(
    ids_BK: Tensor, value_BK: Tensor, logprob_BV: Tensor, chosen: set[int], most: int
) -> tuple[Tensor, Tensor]:
    """Token ids and log probabilities, with the likeliest tokens in the rows that have chosen none.

    Args:
        ids_BK: the sampled token of each row first, then those that it has chosen, then padding.
        value_BK: their log probabilities; of padding minus infinity.
        logprob_BV: of all tokens.
        chosen: rows that have chosen tokens.
        most: tokens that a row may ask for; all rows get as many columns.
    """
    width = max(ids_BK.shape[1] - 1, min(most, logprob_BV.shape[1]))
    missing = width + 1 - ids_BK.shape[1]
    ids_BK = torch.nn.functional.pad(ids_BK, (0, missing))
    value_BK = torch.nn.functional.pad(value_BK, (0, missing), value=float("-inf"))
    others = torch.tensor([row for row in range(len(ids_BK)) if row not in chosen], device=ids_BK.device)
    top = logprob_BV[others].topk(min(width, logprob_BV.shape[1]))
    ids_BK[others, 1 : 1 + top.values.shape[1]] = top.indices.to(ids_BK.dtype)
    value_BK[others, 1 : 1 + top.values.shape[1]] = top.values
    return ids_BK, value_BK
