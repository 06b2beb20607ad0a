"""Heads inside a real engine: what a probe reads of them, and that ordinary requests never notice.

All engines run one after the other in one process of their own, which is much quicker than a process for each.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.engine_heads import export_for
from helpers.own_group import run_alone
from helpers.tiny_models import MODELS, TINY_ARITH, VOCAB, tiny_model

pytestmark = pytest.mark.vllm

CASES = {
    "tiny-arith": (None, "PriorHead", "float32"),
    "tiny-arith in bf16": (None, "PriorHead", "bfloat16"),
    "llama": ("llama", "CurveHead", "float32"),
    "qwen2": ("qwen2", "OrdinalHead", "float32"),
    "qwen3": ("qwen3", "LayerwiseRegression", "float32"),
    "gemma3": ("gemma3", "PriorHead", "float32"),
}
"""Model, None for the embedded LLM; class of the head; the engine's precision."""
if os.environ.get("T2_ALL_MODELS"):  # two engines each: before a release, and where these classes change
    CASES |= {"mistral": ("mistral", "PriorHead", "float32"), "qwen3-moe": ("qwen3-moe", "CurveHead", "float32")}
LAST_TOKENS = {None: 63} | dict.fromkeys(MODELS, VOCAB - 1)
NUM = 16
_SCRIPT = """
import contextlib, io, json, os, sys
from dataclasses import asdict
from pathlib import Path

from t2.budget_head import BudgetHead
from t2.cli import main
from t2.model_files import resolve_model
from t2.sampling import VLLMSampler
from t2.engine.engine_head import EngineHead
from t2.engine.reading import read_in_engine, start_recording
from t2.engine.parity import compare
from t2.engine.parity_command import questions_at
from t2.sampling.probes import ProbeRequest
from t2.spec import SampleRequest

# Prompts are longer than a chunk: each runs in several steps, and finds blocks of others in the prefix cache.
ENGINE = {"max_num_batched_tokens": 32}


def drawn(sampler, requests):
    results = [result for step in sampler.steps(requests) for result in step]
    return {r.request.question_id: [s.token_ids for s in r.samples] for r in results if hasattr(r, "samples")}


def drawn_beside_probes(sampler, requests, prompts, label_ids):
    # Tokens as above, how many steps the engine took, and how many of them asked the head.
    engine, steps = sampler._llm.llm_engine, []
    step = engine.step
    engine.step = lambda: (steps.append(1), step())[1]
    if label_ids[0] >= 3:
        sampler.on_model(start_recording)
    probes = [ProbeRequest(f"probe-{i}", prompt, label_ids) for i, prompt in enumerate(prompts[-2:])]
    tokens = drawn(sampler, [*requests[:5], *probes, *requests[5:]])
    del engine.step
    asked = sampler.on_model(lambda model: len(model.t2_columns.record)) if label_ids[0] >= 3 else 0
    return {"tokens": tokens, "steps": len(steps), "asked": asked}


def opened(case, overrides):
    sampler = VLLMSampler(max_tokens=16, dtype=case["dtype"], kv_cache_gib=0.05, max_num_seqs=16)
    sampler.carry(overrides, **ENGINE)
    sampler.open(case["model"], 7)
    return sampler


if __name__ == "__main__":
    told = {}
    for name, case in json.loads(Path("cases.json").read_text()).items():
        head, files = BudgetHead.from_pretrained(case["head"]), resolve_model(case["model"])
        engine_head, renderer = EngineHead.of(head, Path(case["head"]), files), head.renderer(files)
        questions = questions_at("questions.jsonl")
        prompts = [tuple(renderer.ids(text)) for text in questions]
        requests = [SampleRequest(f"greedy-{i}", p, (-1,)) for i, p in enumerate(prompts[:4])]
        requests += [SampleRequest(f"many-{i}", p, tuple(range(4))) for i, p in enumerate(prompts[:4])]
        # Before the engines: vLLM changes classes of transformers where it runs their code.
        plain = head.activations(questions, case["model"])
        stock = opened(case, {})
        told[name] = {"stock": drawn(stock, requests), "plugins": os.environ["VLLM_PLUGINS"]}
        told[name]["stock beside probes"] = drawn_beside_probes(stock, requests, prompts, (0, 1, 2))
        stock.close()
        carrying = opened(case, engine_head.hf_overrides)
        told[name]["carrying"] = drawn(carrying, requests)
        beside = drawn_beside_probes(carrying, requests, prompts, engine_head.label_ids)
        told[name]["carrying beside probes"] = beside
        told[name]["class"] = carrying.on_model(lambda model: type(model).__module__)
        # A column of the head as a token of a prompt: an ordinary server would have refused it.
        column = SampleRequest("column", (*prompts[0][:-1], engine_head.label_ids[-1]), (-1,))
        last = SampleRequest("last token", (*prompts[0][:-1], case["last token"]), (-1,))
        told[name]["column"] = drawn(carrying, [column, last])
        parity = compare(head, plain, read_in_engine(carrying, engine_head, prompts))
        told[name]["parity"] = asdict(parity) | {"agreement": parity.agreement, "further": parity.further_apart}
        carrying.close()
        os.environ["VLLM_PLUGINS"] = ""  # the next one's stock engine is a labeller's again
    case = json.loads(Path("cases.json").read_text())["llama"]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        main(["export", case["head"], "--check", "questions.jsonl", "--model", case["model"], "--dtype", "float32"])
    told["command"] = shown.getvalue()
    Path("out.json").write_text(json.dumps(told))
"""


def long_question(number: int) -> str:
    """A sum of 16 to 40 numbers: longer than a block and than a chunk."""
    return "+".join(str(3 + (7 * number + 11 * term) % 89) for term in range(16 + number % 25))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("heads")
    models: dict[str | None, Path] = {None: TINY_ARITH}
    cases = {}
    for name, (model, head, dtype) in CASES.items():
        if model not in models:
            models[model] = tiny_model(str(model), folder / str(model))
        exported = export_for(models[model], folder / f"head of {name}", head)
        cases[name] = {
            **{"model": str(models[model]), "head": str(exported), "dtype": dtype},
            "last token": LAST_TOKENS[model],
        }
    (folder / "cases.json").write_text(json.dumps(cases))
    lines = [json.dumps({"question": long_question(number)}) for number in range(NUM)]
    (folder / "questions.jsonl").write_text("\n".join(lines))
    (folder / "script.py").write_text(_SCRIPT)
    _, survivors = run_alone([sys.executable, "script.py"], folder)
    return json.loads((folder / "out.json").read_text()) | {"survivors": survivors}


@pytest.mark.parametrize("name", CASES)
def test_ordinary_requests_get_the_tokens_of_stock_vllm(told: dict[str, Any], name: str) -> None:
    case = told[name]
    assert case["plugins"] == ""
    assert case["class"] == "t2.engine.vllm_models"
    assert case["carrying"] == case["stock"]
    many = [tuple(tokens) for key, samples in case["stock"].items() if key.startswith("many") for tokens in samples]
    assert len(set(many)) > 10  # chance had its say


@pytest.mark.parametrize("name", CASES)
def test_so_do_those_beside_probes_and_only_steps_with_one_ask_the_head(told: dict[str, Any], name: str) -> None:
    stock, carrying = (told[name][f"{which} beside probes"] for which in ("stock", "carrying"))
    assert carrying["tokens"] == stock["tokens"]
    assert carrying["steps"] == stock["steps"]
    assert 0 < carrying["asked"] < carrying["steps"]


@pytest.mark.parametrize("name", CASES)
def test_a_column_of_the_head_is_no_token(told: dict[str, Any], name: str) -> None:
    """It is read as the vocabulary's last token, and the engine lives on."""
    assert told[name]["column"]["column"] == told[name]["column"]["last token"]
    last = LAST_TOKENS[CASES[name][0]]
    assert all(token <= last for samples in told[name]["carrying"].values() for sample in samples for token in sample)


@pytest.mark.parametrize("name", CASES)
def test_a_probe_reads_what_the_head_says(told: dict[str, Any], name: str) -> None:
    assert told[name]["parity"]["decoding_difference"] < 1e-3


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[2] == "float32"])
def test_the_engine_reads_and_decides_as_transformers(told: dict[str, Any], name: str) -> None:
    parity = told[name]["parity"]
    assert parity["agreement"] == 1
    for layer in parity["layers"]:
        assert layer["smallest"] > 0.9999
        assert layer["smallest_standardised"] > 0.999


def test_prompts_get_different_numbers_of_samples(told: dict[str, Any]) -> None:
    """So that agreement says something: heads at random do not all tell these prompts apart."""
    seen = [set(told[name]["parity"]["plain_n_Q"]) for name in CASES]
    assert sum(len(each) > 1 for each in seen) >= 2
    assert len(set.union(*seen)) >= 3


def test_in_bf16_those_that_differ_are_a_step_apart(told: dict[str, Any]) -> None:
    parity = told["tiny-arith in bf16"]["parity"]
    assert parity["agreement"] >= 0.9
    assert parity["further"] == 0
    assert min(layer["smallest"] for layer in parity["layers"]) > 0.99


def test_the_command_shows_a_table(told: dict[str, Any]) -> None:
    words = " ".join(told["command"].split())
    assert "in vLLM against transformers" in words
    assert f"{NUM} of {NUM} prompts get the same number of samples (100.0%); 0 differ." in words


def test_no_process_is_left_behind(told: dict[str, Any]) -> None:
    assert told["survivors"] == []
