"""`VotingLLM.answer`, against `LLM.generate` in a stock engine that draws as many samples of each question."""

from __future__ import annotations

import statistics
import time
from typing import Any

from measure import ROOT, TINY, Figures, in_turn

HEAD = str(ROOT / "assets" / "heads" / "tiny-arith")
QUESTIONS, SEQUENCES = 500, 128


def rows(repeats: int) -> list[str]:
    """The measured row."""
    pairs = in_turn(voting, bare, repeats)
    rates = [(a["tokens"] / a["seconds"], b["tokens"] / b["seconds"]) for a, b in pairs]
    rounds = [ours["rounds"] for ours, _ in pairs]
    samples = [statistics.mean(ours["told"]) for ours, _ in pairs]
    ratio, own = statistics.median(a / b for a, b in rates), statistics.median(a for a, _ in rates)
    return [
        f"| `VotingLLM.answer`, {QUESTIONS} questions of the embedded LLM, {statistics.median(samples):.1f} samples in "
        f"{statistics.median(rounds):.2f} rounds | {own:.0f} tokens/s | {ratio:.3f} x bare `LLM.generate` of the same "
        "numbers of samples at once | at least 0.95 x |"
    ]


def voting() -> Figures:
    """Probes, rounds, votes and grades; the engine is loaded before the clock starts."""
    import t2
    from t2.ask.voting_llm import EngineSettings

    with t2.VotingLLM(HEAD, TINY, engine=EngineSettings(max_num_seqs=SEQUENCES), seed=1) as llm:
        started = time.perf_counter()
        answers = llm.answer(_questions(), show_progress=False)
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "tokens": sum(answer.tokens for answer in answers),
        "told": [answer.samples for answer in answers],
        "rounds": statistics.mean(len(answer.rounds) for answer in answers),
    }


def bare(*samples: int) -> Figures:
    """One call of a stock engine: so many samples of each question, all known beforehand."""
    import t2
    from t2.answering.asking import Asking
    from t2.model_files import resolve_model
    from t2.sampling import VLLMSampler

    head = t2.BudgetHead.from_pretrained(HEAD)
    settings = Asking.of(head).settings
    sampler = VLLMSampler(max_tokens=settings.max_tokens, max_num_seqs=SEQUENCES, dtype="float32")
    sampler.open(TINY, 1)
    llm: Any = sampler._llm
    renderer = head.renderer(resolve_model(TINY))
    prompts = [{"prompt_token_ids": renderer.ids(question)} for question in _questions()]
    parameters = [sampler.sampling_parameters(n, greedy=False) for n in samples]
    started = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(c.token_ids) for o in outputs for c in o.outputs)}


def _questions() -> list[str]:
    from t2.tasks import ArithTask

    return [question.text for question in ArithTask(QUESTIONS, seed=5).questions()]
