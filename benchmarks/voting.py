"""`VotingLLM.answer`, against `LLM.generate` in a stock engine that draws as many samples of each question.

Both begin with the texts of the questions. `generate` is told all numbers of samples beforehand, which nobody is. Of
another LLM: `python benchmarks/voting.py --model M --head H --config C --questions 60 --sequences 96 --repeats 1`, with
questions of the config's pool that the head has not seen.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from measure import ROOT, TINY, Figures, cpu_name, in_turn


@dataclass(frozen=True)
class Setting:
    """What is asked. The embedded LLM's steps take milliseconds, so that everything beside the engine is seen."""

    model: str = TINY
    head: str = str(ROOT / "assets" / "heads" / "tiny-arith")
    config: str = ""
    """of the pool of the questions; empty: sums of the embedded LLM's kind"""
    questions: int = 500
    sequences: int = 128

    @property
    def texts(self) -> list[str]:
        """Of the questions."""
        from t2.budget_head import BudgetHead
        from t2.pools.load import load_pool
        from t2.tasks import ArithTask

        if not self.config:
            return [question.text for question in ArithTask(self.questions, seed=5).questions()]
        head, questions = BudgetHead.from_pretrained(self.head), load_pool(Path(self.config)).questions
        return [each.text for each in questions if not head.has_seen(each.dedup_key)][: self.questions]


def rows(repeats: int, setting: Setting = Setting()) -> list[str]:  # it is frozen
    """The measured row."""
    pairs = in_turn(voting, bare, repeats, arguments=astuple(setting))
    rates = [(a["tokens"] / a["seconds"], b["tokens"] / b["seconds"]) for a, b in pairs]
    rounds = [ours["rounds"] for ours, _ in pairs]
    samples = [statistics.mean(ours["told"]) for ours, _ in pairs]
    ratio, own = statistics.median(a / b for a, b in rates), statistics.median(a for a, _ in rates)
    return [
        f"| `VotingLLM.answer`, {len(pairs[0][0]['told'])} questions of {Path(setting.model).name}, "
        f"{statistics.median(samples):.1f} samples in {statistics.median(rounds):.2f} rounds | {own:.0f} tokens/s | "
        f"{ratio:.3f} x bare `LLM.generate` of the same numbers of samples at once | at least 0.95 x |"
    ]


def voting(*setting: Any) -> Figures:
    """Prompts, probes, rounds, votes and grades; the engine is loaded before the clock starts."""
    import t2
    from t2.ask.voting_llm import EngineSettings

    asked = Setting(*setting)
    questions = asked.texts
    with t2.VotingLLM(asked.head, asked.model, engine=EngineSettings(max_num_seqs=asked.sequences), seed=1) as llm:
        started = time.perf_counter()
        answers = llm.answer(questions, show_progress=False)
        seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "tokens": sum(answer.tokens for answer in answers),
        "told": [answer.samples for answer in answers],
        "rounds": statistics.mean(len(answer.rounds) for answer in answers),
    }


def bare(*given: Any) -> Figures:
    """One call of a stock engine: so many samples of each question, all known beforehand."""
    import t2
    from t2.answering.asking import Asking
    from t2.model_files import resolve_model
    from t2.sampling import VLLMSampler

    fields = len(astuple(Setting()))
    asked, samples = Setting(*given[:fields]), given[fields:]
    head = t2.BudgetHead.from_pretrained(asked.head)
    asking = Asking.of(head)
    sampler = VLLMSampler(
        temperature=asking.settings.temperature,
        max_tokens=asking.settings.max_tokens,
        max_num_seqs=asked.sequences,
        max_model_len=asking.max_model_len,
        dtype=asking.dtype,
    )
    sampler.open(asked.model, 1)
    llm: Any = sampler._llm
    renderer, questions = head.renderer(resolve_model(asked.model)), asked.texts
    started = time.perf_counter()
    prompts = [{"prompt_token_ids": renderer.ids(question)} for question in questions]
    parameters = [sampler.sampling_parameters(n, greedy=False) for n in samples]
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(c.token_ids) for o in outputs for c in o.outputs)}


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in vars(Setting()).items():
        parser.add_argument(f"--{name}", default=value, type=type(value))
    parser.add_argument("--repeats", type=int, default=3)
    args = vars(parser.parse_args())
    repeats = args.pop("repeats")
    print(f"{cpu_name()}, {os.cpu_count()} cores\n")
    print("\n".join(rows(repeats, Setting(**args))))


if __name__ == "__main__":
    main()
