"""`t2 label`, against `LLM.generate` over the same prompts and parameters."""

from __future__ import annotations

import statistics
import tempfile
import time
from typing import Any

from measure import TINY, Figures, in_turn

QUESTIONS, SAMPLES = 250, 32


def rows(repeats: int) -> list[str]:
    """The measured row."""
    pairs = in_turn(ours, bare, repeats)
    rates = [(a["tokens"] / a["seconds"], b["tokens"] / b["seconds"]) for a, b in pairs]
    ratio = statistics.median(a / b for a, b in rates)
    own = statistics.median(a for a, _ in rates)
    return [
        f"| `t2 label`, generated tokens/s | {own:.0f} tokens/s | {ratio:.3f} x bare `LLM.generate` | at least 0.95 x |"
    ]


def ours() -> Figures:
    """`t2 label`'s job from the opened engine to the last flushed shard, greedy answers included."""
    from t2.pools.fill import fill
    from t2.spec import LabelJob
    from t2.splits import SplitFractions
    from t2.tasks import ArithTask

    sampler, clock = _sampler(), []
    close_engine = sampler.close

    def note_time() -> None:
        clock.append(time.perf_counter())

    def timed_close() -> None:  # the last shard is flushed just before
        note_time()
        close_engine()

    sampler.close = timed_close
    with tempfile.TemporaryDirectory() as folder:
        job = LabelJob(folder, TINY, ArithTask(QUESTIONS), sampler, samples_per_question=SAMPLES)
        done = fill(job, SplitFractions(), on_opened=note_time)
    return {"seconds": clock[1] - clock[0], "tokens": done.tokens}


def bare() -> Figures:
    """`LLM.generate` over the same prompts and parameters, greedy answers among them, in one call."""
    sampler = _sampler()
    size = sampler.samples_per_request
    sampler.open(TINY, 1)
    llm = sampler._llm
    prompts, parameters = [], []
    for ids in _prompts():
        prompts += [{"prompt_token_ids": ids}] * (1 + SAMPLES // size)
        parameters.append(sampler.sampling_parameters(1, greedy=True))
        parameters += [sampler.sampling_parameters(size, greedy=False)] * (SAMPLES // size)
    started = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(c.token_ids) for o in outputs for c in o.outputs)}


def _sampler() -> Any:
    from t2.sampling import VLLMSampler

    return VLLMSampler(max_tokens=128, max_num_seqs=128, dtype="float32")


def _prompts() -> list[list[int]]:
    from transformers import AutoTokenizer

    from t2.prompts import render
    from t2.spec import PromptSpec
    from t2.tasks import ArithTask

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    return [render(tokenizer, PromptSpec(), q.text) for q in ArithTask(QUESTIONS).questions()]
