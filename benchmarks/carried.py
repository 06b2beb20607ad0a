"""Tokens per second of an engine that carries a head, against the stock engine over the same requests."""

from __future__ import annotations

import statistics
import time

from measure import ROOT, TINY, Figures, in_turn

HEAD = str(ROOT / "assets" / "heads" / "tiny-arith")
QUESTIONS, SAMPLES, SEQUENCES = 250, 16, 128


def rows(repeats: int) -> list[str]:
    """The measured row."""
    pairs = in_turn(carrying, stock, repeats)
    rates = [(a["tokens"] / a["seconds"], b["tokens"] / b["seconds"]) for a, b in pairs]
    ratio, own = statistics.median(a / b for a, b in rates), statistics.median(a for a, _ in rates)
    return [
        f"| An engine that carries a head, {SEQUENCES} sequences of the embedded LLM | {own:.0f} tokens/s | "
        f"{ratio:.3f} x the stock engine, which draws the same tokens | at least 0.97 x |"
    ]


def carrying() -> Figures:
    """With a head, which nobody asks."""
    return _drawn(True)


def stock() -> Figures:
    """Without."""
    return _drawn(False)


def _drawn(with_head: bool) -> Figures:
    from pathlib import Path

    import t2
    from t2.engine.engine_head import EngineHead
    from t2.model_files import resolve_model
    from t2.sampling import VLLMSampler
    from t2.spec import SampleRequest
    from t2.tasks import ArithTask

    head, files = t2.BudgetHead.from_pretrained(HEAD), resolve_model(TINY)
    sampler = VLLMSampler(max_tokens=128, max_num_seqs=SEQUENCES, dtype="float32")
    if with_head:
        engine_head = EngineHead.of(head, Path(HEAD), files)
        assert engine_head is not None
        sampler.carry(engine_head.hf_overrides)
    sampler.open(TINY, 1)
    renderer = head.renderer(files)
    requests = [
        SampleRequest(question.id, tuple(renderer.ids(question.text)), tuple(range(SAMPLES)))
        for question in ArithTask(QUESTIONS).questions()
    ]
    started = time.perf_counter()
    tokens = sum(len(sample.token_ids) for result in sampler.stream(requests) for sample in result.samples)
    seconds = time.perf_counter() - started
    sampler.close()
    return {"seconds": seconds, "tokens": tokens}
