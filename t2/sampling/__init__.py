"""Samplers: where answers come from. vLLM is imported in `vllm_sampler.py` alone, and only when it is opened."""

from t2.sampling.scripted import ScriptedSampler
from t2.sampling.vllm_sampler import VLLMSampler

__all__ = ["ScriptedSampler", "VLLMSampler"]
