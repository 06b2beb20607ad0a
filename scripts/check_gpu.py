"""What no test here can see: a head inside vLLM on GPUs. One run on such a machine, one table.

    python scripts/check_gpu.py MODEL HEAD QUESTIONS [--dtype bfloat16] [--out check_gpu.md]

MODEL is a folder or hub id, HEAD the folder of an export for it, QUESTIONS a pool, a config or a file of {"question"}
lines. In each setting (compiled with CUDA graphs or eager, both model runners, two GPUs where there are two) the stock
engine and the one with the head answer the same requests, and the head is compared with transformers. It runs on CPU
too, in the two settings that there are.

What is to be expected: probes are read to 0.001 and at least 99% of the prompts get the same number of samples, in all
settings. Greedy tokens equal those of stock vLLM, but for near ties where compilation fuses other kernels. Sampled ones
do too with Model Runner V2, whose noise is a function of seed and token; with V1 the noise depends on the number of
columns, so the samples are others of the same distribution.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from t2.pages.table import Table

ROLES = ("stock", "carrying", "parity")
_SAMPLES, _MAX_TOKENS, _MOST_ASKED = 8, 64, 64


@dataclass(frozen=True)
class Setting:
    """Of an engine."""

    name: str
    engine: dict[str, Any]
    """arguments of `vllm.LLM`"""
    environment: dict[str, str]


def settings(num_gpus: int) -> list[Setting]:
    """What there is to try with so many GPUs."""
    if not num_gpus:
        return [
            Setting("CPU, eager", {"enforce_eager": True}, {}),
            Setting("CPU, compiled", {"enforce_eager": False}, {}),
        ]
    each = [
        Setting(f"runner V{runner}, {how}", {"enforce_eager": eager}, {"VLLM_USE_V2_MODEL_RUNNER": str(runner - 1)})
        for runner in (2, 1)
        for how, eager in (("CUDA graphs", False), ("eager", True))
    ]
    if num_gpus >= 2:
        each.append(Setting("two GPUs, CUDA graphs", {"enforce_eager": False, "tensor_parallel_size": 2}, {}))
    return each


def main() -> None:
    """Run all settings, or one role of one in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or hub id of the LLM")
    parser.add_argument("head", help="folder of an export for it")
    parser.add_argument("questions", help="pool, config, or file of questions")
    parser.add_argument("--dtype", default="auto", help="of the engine")
    parser.add_argument("--out", default="check_gpu.md", help="the table in Markdown")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--engine", type=json.loads, default={}, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role is not None:
        result = parity(args) if args.role == "parity" else answered(args, args.role == "carrying")
        Path(args.out).write_text(json.dumps(result), encoding="utf-8")
        return
    import torch

    rows = []
    for setting in settings(torch.cuda.device_count()):
        print(f"{setting.name} ...", flush=True)
        rows.append(row_of(setting, {role: in_process(role, setting, args) for role in ROLES}))
    table = Table(
        ("setting", "greedy as stock", "samples as stock", "tokens/s of stock's", "probe off by", "cosine", "same n"),
        tuple(rows),
        f"{args.head} in vLLM, {args.dtype}",
    )
    Path(args.out).write_text(table.markdown() + "\n", encoding="utf-8")
    print(table.markdown())


def in_process(role: str, setting: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """What a role gives, or why it gives nothing."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, __file__, args.model, args.head, args.questions, "--dtype", args.dtype]
        command += ["--role", role, "--engine", json.dumps(setting.engine), "--out", str(out)]
        # To see the model of a worker in another process, functions must travel there.
        environment = {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"} if "tensor_parallel_size" in setting.engine else {}
        done = subprocess.run(
            command, env=os.environ | setting.environment | environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(done.stderr[-3000:], file=sys.stderr)
            return {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1][:200]}
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return result


def row_of(setting: Setting, results: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    """Of the table."""
    if failed := [f"{role}: {result['failed']}" for role, result in results.items() if "failed" in result]:
        return (setting.name, failed[0], *[""] * 5)
    stock, carrying, compared = (results[role] for role in ROLES)
    rates = [each["tokens"] / each["seconds"] for each in (carrying, stock)]
    same_n = sum(a == b for a, b in zip(compared["plain_n_Q"], compared["engine_n_Q"], strict=True))
    return (
        setting.name,
        *(f"{_same(carrying[kind], stock[kind])} of {len(stock[kind])}" for kind in ("greedy", "samples")),
        f"{rates[0] / rates[1]:.3f}",
        f"{compared['decoding_difference']:.1g}",
        f"{min(layer['smallest'] for layer in compared['layers']):.5f}",
        f"{same_n} of {len(compared['plain_n_Q'])}",
    )


def _same(mine: list[Any], stock: list[Any]) -> int:
    return sum(a == b for a, b in zip(mine, stock, strict=True))


def answered(args: argparse.Namespace, with_head: bool) -> dict[str, Any]:
    """Tokens of the greedy answer and of samples to each question, and how long the samples took."""
    import t2
    from t2.engine.engine_head import EngineHead
    from t2.engine.parity_command import questions_at
    from t2.model_files import resolve_model
    from t2.sampling import VLLMSampler
    from t2.spec import GREEDY_DRAW, SampleRequest

    head, files = t2.BudgetHead.from_pretrained(args.head), resolve_model(args.model)
    engine_head = EngineHead.of(head, Path(args.head), files)
    if engine_head is None:
        raise t2.T2Error("Expected a head that reads activations, got a decision without. Check another export.")
    sampler = VLLMSampler(max_tokens=_MAX_TOKENS, dtype=args.dtype)
    sampler.carry(engine_head.hf_overrides if with_head else {}, **args.engine)
    sampler.open(str(files.folder), 7)
    renderer = head.renderer(files)
    prompts = [tuple(renderer.ids(question)) for question in questions_at(args.questions, _MOST_ASKED)]
    greedy = [SampleRequest(str(row), prompt, (GREEDY_DRAW,)) for row, prompt in enumerate(prompts)]
    sampled = [SampleRequest(str(row), prompt, tuple(range(_SAMPLES))) for row, prompt in enumerate(prompts)]
    # The greedy answers come first: they warm up what is compiled when it is first used.
    found = {"greedy": {result.request.question_id: result.samples for result in sampler.stream(greedy)}}
    started = time.perf_counter()
    found["samples"] = {result.request.question_id: result.samples for result in sampler.stream(sampled)}
    seconds = time.perf_counter() - started
    sampler.close()
    tokens = {
        kind: [list(sample.token_ids) for row in range(len(prompts)) for sample in results[str(row)]]
        for kind, results in found.items()
    }
    return {**tokens, "seconds": seconds, "tokens": sum(map(len, tokens["samples"]))}


def parity(args: argparse.Namespace) -> dict[str, Any]:
    """The comparison with transformers."""
    from t2.engine.parity_command import check_parity

    return asdict(check_parity(Path(args.head), args.questions, args.model, args.dtype, engine=args.engine))


if __name__ == "__main__":
    main()
