"""Benchmarks as ratios within one run: `python benchmarks/run.py [WHICH ...]`, all by default.

Prints a Markdown table. Figures with the CPU they were measured on are in benchmarks/README.md. Each comparison runs in
processes of its own, in turn (A B A B ...), and reports the median ratio.
"""

from __future__ import annotations

import argparse
import heapq
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
LABEL_QUESTIONS, LABEL_SAMPLES = 250, 32
FEATURE_PROMPTS, FEATURE_TOKENS = 256, 96
BATCH_QUESTIONS, PLAIN_BATCH_QUESTIONS = 1_000_000, 20_000
BOOTSTRAP_QUESTIONS, BOOTSTRAP_POLICIES, BOOTSTRAP_RESAMPLES, PLAIN_RESAMPLES = 10_000, 20, 10_000, 100
CURSE_QUESTIONS, CURSE_SAMPLES, CURSE_RUNS = 10_000, 64, 3
WHICH = ["curves", "features", "label", "batch_budget", "bootstrap", "curse"]


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

    return VLLMSampler(max_tokens=128, max_num_seqs=128, dtype="float32")


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


def plain_greedy(accuracy: list[list[float]], tokens: list[list[float]], total: float) -> list[int]:
    """`BatchBudget` in plain Python: gift wrapping for each hull, a heap of next steps."""
    hulls = []
    for a, t in zip(accuracy, tokens, strict=True):
        hull = [0]
        while lines := [((a[j] - a[i]) / (t[j] - t[i]), -j) for i in hull[-1:] for j in range(i + 1, len(a))]:
            slope, end = max(lines)
            if slope <= 0:
                break
            hull.append(-end)
        hulls.append(hull)

    def step(b: int, at: int) -> tuple[float, int, int, float]:
        i, j = hulls[b][at : at + 2]
        cost = tokens[b][j] - tokens[b][i]
        return -(accuracy[b][j] - accuracy[b][i]) / cost, b, at + 1, cost

    chosen, left = [0] * len(hulls), total - sum(t[0] for t in tokens)
    heap = [step(b, 0) for b, hull in enumerate(hulls) if len(hull) > 1]
    heapq.heapify(heap)
    while heap:
        _, b, at, cost = heapq.heappop(heap)
        if cost > left:
            break
        left, chosen[b] = left - cost, hulls[b][at]
        if at + 1 < len(hulls[b]):
            heapq.heappush(heap, step(b, at))
    return chosen


def run_batch_budget() -> dict[str, Any]:
    """`allocate` over 1,000,000 questions x 9 budgets on one core, against the heap in plain Python on 20,000.

    Smooth concave curves, all eight steps of most on the hull: the longest list of steps there can be.
    """
    import torch

    from t2.policies.batch_budget import allocate
    from t2.spec import DEFAULT_GRID

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    def uniform() -> torch.Tensor:
        return torch.rand(BATCH_QUESTIONS, 1, generator=generator, dtype=torch.float64)

    grid = torch.tensor(DEFAULT_GRID, dtype=torch.float64)
    accuracy = (0.5 * uniform() + 0.5 * uniform() * (1 - torch.exp(-0.02 * grid - uniform() * grid / 4))).float()
    tokens = (20 + 200 * uniform()) * grid
    total = 0.4 * float(tokens[:, -1].sum())
    before_mib = _peak_mib()
    started = time.perf_counter()
    index = allocate(accuracy, tokens, total)
    seconds = time.perf_counter() - started
    peak_mib = _peak_mib()
    spent = float(tokens.gather(1, index[:, None]).sum())
    few = slice(0, PLAIN_BATCH_QUESTIONS)
    some_accuracy, some_tokens, some_total = accuracy[few].double(), tokens[few], 0.4 * float(tokens[few, -1].sum())
    lists = some_accuracy.tolist(), some_tokens.tolist()
    started = time.perf_counter()
    plain = plain_greedy(*lists, some_total)
    plain_seconds = (time.perf_counter() - started) * BATCH_QUESTIONS / PLAIN_BATCH_QUESTIONS
    ours = allocate(some_accuracy, some_tokens, some_total).tolist()
    return {
        "seconds": seconds,
        "inputs_mib": before_mib,
        "peak_mib": peak_mib,
        "share_spent": spent / total,
        "plain_seconds_extrapolated": plain_seconds,
        "different_choices": sum(a != b for a, b in zip(ours, plain, strict=True)),
    }


def run_bootstrap() -> dict[str, Any]:
    """Paired intervals of 20 policies, accuracy and tokens, against a NumPy loop over resamples."""
    import numpy as np
    import torch

    from t2.evaluation.bootstrap import paired_intervals, resampled_rows

    generator = torch.Generator().manual_seed(0)
    shape = (BOOTSTRAP_QUESTIONS, BOOTSTRAP_POLICIES)
    correct = torch.rand(shape, generator=generator, dtype=torch.float64)
    tokens = 100 + 900 * torch.rand(shape, generator=generator, dtype=torch.float64)
    paired_intervals(correct[:100], tokens[:100], num_resamples=10)
    started = time.perf_counter()
    paired_intervals(correct, tokens, num_resamples=BOOTSTRAP_RESAMPLES)
    seconds, peak_mib = time.perf_counter() - started, _peak_mib()
    values, rng = np.concatenate([correct.numpy(), tokens.numpy()], 1), np.random.default_rng(0)
    started = time.perf_counter()
    for _ in range(PLAIN_RESAMPLES):
        values[rng.integers(len(values), size=len(values))].mean(0)
    plain_seconds = (time.perf_counter() - started) * BOOTSTRAP_RESAMPLES / PLAIN_RESAMPLES
    # Figures of the same draws: the matrix of weights against rows that are really taken.
    plain = [np.quantile([values[r].mean(0)[1] - values[r].mean(0)[0] for r in resampled_rows(len(values), 50)], 0.975)]
    ours = paired_intervals(correct, tokens, num_resamples=50)[1].accuracy_difference.high
    return {
        "seconds": seconds,
        "peak_mib": peak_mib,
        "plain_seconds_extrapolated": plain_seconds,
        "largest_difference": float(abs(plain[0] - ours)),
    }


def _write_samples(path: Path) -> None:
    """A file for `t2 import`: 24 answers with shares from a Dirichlet(0.25), one of them right, 6% cut off."""
    import numpy as np

    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(24, 0.25), size=CURSE_QUESTIONS)
    with path.open("w", encoding="utf-8") as file:
        for question, share in enumerate(shares):
            answers = rng.choice(24, size=CURSE_SAMPLES, p=share).tolist()
            tokens = rng.integers(20, 200, CURSE_SAMPLES).tolist()
            samples = [
                {"answer": answer, "tokens": spent, "finish_reason": "length" if spent >= 189 else "stop"}
                for answer, spent in zip(answers, tokens, strict=True)
            ]
            gold = int(rng.choice(24, p=share))
            row = {"id": question, "question": f"question {question}", "answer": gold, "samples": samples}
            file.write(json.dumps(row) + "\n")


def _timed(*command: str) -> float:
    """Seconds of a process from its start to its end."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def run_curse() -> dict[str, Any]:
    """`t2 curse` on an imported pool, from start to end, against a process that only loads and grades the pool."""
    from t2.importing import import_file

    with tempfile.TemporaryDirectory() as folder:
        file, pool = f"{folder}/samples.jsonl", f"{folder}/pool"
        _write_samples(Path(file))
        started = time.perf_counter()
        import_file(file, pool)
        import_seconds = time.perf_counter() - started
        curse = ["-m", "t2.cli", "curse", pool, "--out", f"{folder}/curse"]
        load = "import sys, t2.loading as m; m.load_pool(sys.argv[1])"
        pairs = [(_timed(*curse), _timed("-c", load, pool)) for _ in range(CURSE_RUNS)]
    return {
        "seconds": statistics.median(pair[0] for pair in pairs),
        "load_seconds": statistics.median(pair[1] for pair in pairs),
        "ratio": statistics.median(pair[0] / pair[1] for pair in pairs),
        "import_seconds": import_seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


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
    if "batch_budget" in which:
        r = in_process("batch_budget")
        ratio = r["plain_seconds_extrapolated"] / r["seconds"]
        found.append(
            f"| `BatchBudget`, 1,000,000 questions x 9 budgets, one core | {r['seconds']:.1f} s, peak "
            f"{r['peak_mib']:.0f} MiB ({r['inputs_mib']:.0f} before) | {ratio:.0f} x faster than a plain Python heap "
            f"({r['different_choices']} different choices), {100 * r['share_spent']:.4f}% of the total spent "
            "| at most 5 s, 2 GiB, 100% |"
        )
    if "bootstrap" in which:
        r = in_process("bootstrap")
        ratio = r["plain_seconds_extrapolated"] / r["seconds"]
        found.append(
            f"| paired bootstrap, 10,000 resamples x 10,000 questions x 20 policies, accuracy and tokens | "
            f"{r['seconds']:.1f} s, peak {r['peak_mib']:.0f} MiB | {ratio:.1f} x faster than a NumPy loop (largest "
            f"difference {r['largest_difference']:.0e}) | at most 10 s |"
        )
    if "curse" in which:
        r = in_process("curse")
        found.append(
            f"| `t2 curse`, {CURSE_QUESTIONS:,} questions x {CURSE_SAMPLES} samples, start to end of the command | "
            f"{r['seconds']:.1f} s, peak {r['peak_mib']:.0f} MiB (`t2 import` before: {r['import_seconds']:.1f} s) | "
            f"{r['ratio']:.1f} x a process that only loads and grades the pool ({r['load_seconds']:.1f} s) "
            "| at most 10 s |"
        )
    return found


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=WHICH)
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
