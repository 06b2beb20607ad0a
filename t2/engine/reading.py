"""What the head inside an engine reads of prompts and says of them: for comparing it with transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from t2.engine.engine_head import EngineHead
from t2.errors import T2Error
from t2.sampling import VLLMSampler
from t2.sampling.probes import ProbeRequest, ProbeResult


@dataclass(frozen=True)
class EngineReading:
    """Of Q prompts."""

    raw_QO: Tensor
    """the head's raw outputs, all prompts at once, in batches as they serve"""
    pooled_QLD: Tensor
    """features that the head has read, one prompt after the other"""
    alone_QO: Tensor
    """raw outputs of these; the prompts were in the prefix cache then"""

    @property
    def batch_difference(self) -> float:
        """Largest difference of a raw output between a prompt in a batch and the same prompt alone."""
        return float((self.raw_QO - self.alone_QO).abs().max())


def read_in_engine(sampler: VLLMSampler, engine_head: EngineHead, prompts: Sequence[Sequence[int]]) -> EngineReading:
    """Probe prompts (token ids) of an open sampler that carries the head.

    Raises:
        T2Error: features of a prompt that are not finite.
    """
    probes = [ProbeRequest(str(row), tuple(prompt), engine_head.label_ids) for row, prompt in enumerate(prompts)]
    raw = _probed(sampler, engine_head, probes)
    # The head sees rows of a batch without their names, so its features are read while there is one row alone.
    sampler.on_model(start_recording)
    alone, pooled = [], []
    for probe in probes:
        alone.append(_probed(sampler, engine_head, [probe])[0])
        pooled.append(sampler.on_model(take_recorded))
    return EngineReading(torch.stack(raw), torch.stack(pooled), torch.stack(alone))


def _probed(sampler: VLLMSampler, engine_head: EngineHead, probes: list[ProbeRequest]) -> list[Tensor]:
    raw = {}
    for results in sampler.steps(probes):
        for result in results:
            assert isinstance(result, ProbeResult)  # nothing else was asked
            raw[result.request.question_id] = engine_head.raw(result.logprobs)
    return [raw[probe.question_id] for probe in probes]


def start_recording(model: Any) -> None:
    """Inside the engine: keep what the head reads from now on."""
    model.t2_columns.record = []


def take_recorded(model: Any) -> Tensor:
    """Inside the engine: what the head has read of the last prompt, (L, D).

    A long prompt runs in chunks, and the head sees the last token of each; the last one is the prompt's.
    """
    record: list[Tensor] = model.t2_columns.record
    if not record:
        raise T2Error("Expected features of a prompt in the engine, got none. Is the head in another process of it?")
    last_LD = record[-1][-1]
    record.clear()
    return last_LD
