"""A sampler travels to the labeller's process, which is spawned: it must be picklable, with all that it holds."""

from __future__ import annotations

import pickle

import pytest

from t2.sampling import ScriptedSampler, VLLMSampler
from t2.spec import NoSampler, Sampler


@pytest.mark.parametrize(
    "sampler",
    [VLLMSampler(max_tokens=7), ScriptedSampler({"q": {"1": 1.0}}), NoSampler()],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_sampler_is_the_same_in_another_process(sampler: Sampler) -> None:
    """A function made in the sampler's constructor ended every `fit` that had samples to draw."""
    there = pickle.loads(pickle.dumps(sampler))
    assert type(there) is type(sampler)
    assert vars(there).keys() == vars(sampler).keys()
    if not isinstance(sampler, NoSampler):
        assert there.settings == sampler.settings
