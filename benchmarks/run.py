"""Benchmarks as ratios within one run: `python benchmarks/run.py [curves|features|label ...]`.

Prints a Markdown table. Figures with the CPU they were measured on are in benchmarks/README.md. Each comparison runs in
processes of its own, in turn (A B A B ...), and reports the median ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TINY = str(ROOT / "assets" / "tiny-arith")
LABEL_QUESTIONS, LABEL_SAMPLES = 400, 32
FEATURE_PROMPTS, FEATURE_TOKENS = 256, 96


def plain_accuracy(counts: list[int], right: int, abstained: int) -> list[float]:
    """A(N) of one question in plain Python: the formula of t2.curves.majority, term by term."""
    pool = sum(counts) + abstained
    ways = [0.0] * (pool + 1)
    others = [c for i, c in enumerate(counts) if i != right]
    for votes in range(1, counts[right] + 1):
        poly = {(0, 0): 1.0}  # (samples drawn, classes tied) -> ways
        for count in others:
            new: dict[tuple[int, int], float] = {}
            for (drawn, tied), value in poly.items():
                for taken in range(min(votes, count) + 1):
                    key = (drawn + taken, tied + (taken == votes))
                    new[key] = new.get(key, 0.0) + value * comb(count, taken)
            poly = new
        for (drawn, tied), value in poly.items():
            for empty in range(abstained + 1):
                total = votes + drawn + empty
                ways[total] += comb(counts[right], votes) * value * comb(abstained, empty) / (1 + tied)
    return [ways[n] / comb(pool, n) for n in range(1, pool + 1)]


def run_curves() -> dict[str, Any]:
    """Exact A(N), all N, 100,000 questions x 64 samples, against the same formula in plain Python."""
    import numpy as np
    import torch

    from t2.curves.majority import majority_accuracy

    rng = np.random.default_rng(0)
    questions, classes, samples = 100_000, 24, 64
    shares = rng.dirichlet(np.full(classes, 0.25), size=questions)
    counts = np.stack([rng.multinomial(samples - 4, row) for row in shares])
    correct = torch.nn.functional.one_hot(torch.zeros(questions, dtype=torch.long), classes).bool()
    abstained = torch.full((questions,), 4)
    started = time.perf_counter()
    acc_QM = majority_accuracy(torch.tensor(counts), correct, abstained)
    seconds = time.perf_counter() - started
    few = 300
    started = time.perf_counter()
    plain = [plain_accuracy(row.tolist(), 0, 4) for row in counts[:few]]
    plain_seconds = (time.perf_counter() - started) * questions / few
    worst = float((acc_QM[:few] - torch.tensor(plain, dtype=torch.float64)).abs().max())
    return {"seconds": seconds, "plain_seconds_extrapolated": plain_seconds, "largest_difference": worst}


def _feature_inputs() -> tuple[Any, list[list[int]]]:
    """A random Llama large enough that the forward pass dominates, and prompts without a shared prefix."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2000, hidden_size=512, intermediate_size=1536, num_hidden_layers=8, num_attention_heads=8
    )
    generator = torch.Generator().manual_seed(1)
    prompts = [torch.randint(2000, (FEATURE_TOKENS,), generator=generator).tolist() for _ in range(FEATURE_PROMPTS)]
    return LlamaModel(config).eval().requires_grad_(False), prompts


def run_features_ours() -> dict[str, Any]:
    """`extract` with four tapped layers."""
    from t2.activations.backbone import extract

    model, prompts = _feature_inputs()
    extract(model, prompts[:8], (2, 4, 6, 8))
    started = time.perf_counter()
    extract(model, prompts, (2, 4, 6, 8))
    return {"seconds": time.perf_counter() - started, "peak_mib": _peak_mib()}


def run_features_bare() -> dict[str, Any]:
    """The bare forward pass on the same batches, nothing kept."""
    import torch

    from t2.activations.backbone import TOKENS_PER_BATCH

    model, prompts = _feature_inputs()
    size = TOKENS_PER_BATCH // FEATURE_TOKENS
    with torch.inference_mode():
        model(input_ids=torch.tensor(prompts[:8]), use_cache=False)
        started = time.perf_counter()
        for start in range(0, len(prompts), size):
            ids = torch.tensor(prompts[start : start + size])
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    return {"seconds": time.perf_counter() - started, "peak_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _label_sampler() -> Any:
    from t2.sampling import VLLMSampler

    return VLLMSampler(max_tokens=128, max_num_seqs=128)


def _label_prompts() -> list[list[int]]:
    from transformers import AutoTokenizer

    from t2.prompts import render
    from t2.spec import PromptSpec
    from t2.tasks import ArithTask

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    return [render(tokenizer, PromptSpec(), q.text) for q in ArithTask(LABEL_QUESTIONS).questions()]


def run_label_ours() -> dict[str, Any]:
    """`t2 label`'s job from the opened engine to the last flushed shard, greedy answers included."""
    from t2.labelling.job import run
    from t2.spec import LabelJob
    from t2.splits import SplitFractions
    from t2.tasks import ArithTask

    sampler, clock = _label_sampler(), []
    open_engine, close_engine = sampler.open, sampler.close

    def timed_open(folder: str, seed: int) -> None:
        open_engine(folder, seed)
        clock.append(time.perf_counter())

    def timed_close() -> None:
        clock.append(time.perf_counter())
        close_engine()

    sampler.open, sampler.close = timed_open, timed_close
    with tempfile.TemporaryDirectory() as folder:
        job = LabelJob(folder, TINY, ArithTask(LABEL_QUESTIONS), sampler, samples_per_question=LABEL_SAMPLES)
        done = run(job, SplitFractions())
    return {"seconds": clock[1] - clock[0], "tokens": done.tokens}


def run_label_bare() -> dict[str, Any]:
    """`LLM.generate` over the same prompts and parameters: samples in one call, then the greedy answers in the same."""
    sampler = _label_sampler()
    sampler.open(TINY, 1)
    llm = sampler._llm
    prompts, parameters = [], []
    for ids in _label_prompts():
        prompts += [{"prompt_token_ids": ids}] * (1 + LABEL_SAMPLES // sampler.samples_per_request)
        parameters.append(sampler.sampling_parameters(1, greedy=True))
        parameters += [sampler.sampling_parameters(8, greedy=False)] * (LABEL_SAMPLES // sampler.samples_per_request)
    started = time.perf_counter()
    outputs = llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "tokens": sum(len(c.token_ids) for o in outputs for c in o.outputs)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    name.removeprefix("run_"): part for name, part in list(globals().items()) if name.startswith("run_")
}


def in_process(part: str) -> dict[str, Any]:
    """Run one part in a fresh process and return its figures."""
    done = subprocess.run(
        [sys.executable, __file__, "--part", part], capture_output=True, text=True, check=True, env=os.environ
    )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def cpu_name() -> str:
    """CPU model as the kernel names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown CPU"


def rows(which: list[str], repeats: int) -> list[str]:
    """Measured table rows."""
    found = []
    if "curves" in which:
        r = in_process("curves")
        ratio = r["plain_seconds_extrapolated"] / r["seconds"]
        found.append(
            f"| exact A(N), all N, 100,000 questions x 64 samples | {r['seconds']:.1f} s | {ratio:.0f} x faster than "
            f"plain Python (largest difference {r['largest_difference']:.0e}) | at most 20 s |"
        )
    if "features" in which:
        pairs = [(in_process("features_ours"), in_process("features_bare")) for _ in range(repeats)]
        speed = statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
        memory = statistics.median(a["peak_mib"] / b["peak_mib"] for a, b in pairs)
        found.append(f"| feature extraction, speed | | {speed:.3f} x the bare forward | at least 0.95 x |")
        found.append(f"| feature extraction, peak memory | | {memory:.3f} x the bare forward | at most 1.05 x |")
    if "label" in which:
        pairs = [(in_process("label_ours"), in_process("label_bare")) for _ in range(repeats)]
        rates = [(a["tokens"] / a["seconds"], b["tokens"] / b["seconds"]) for a, b in pairs]
        ratio = statistics.median(a / b for a, b in rates)
        own = statistics.median(a for a, _ in rates)
        found.append(
            f"| `t2 label`, generated tokens/s | {own:.0f} tokens/s | {ratio:.3f} x bare `LLM.generate` "
            "| at least 0.95 x |"
        )
    return found


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=["curves", "features", "label"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        print(json.dumps(PARTS[args.part]()))
        return
    print(f"{cpu_name()}, {os.cpu_count()} cores\n")
    print("| what | figure | ratio | target |\n|---|---|---|---|")
    print("\n".join(rows(args.which, args.repeats)))


if __name__ == "__main__":
    main()
