"""`end_token_ids` against the engine itself: where it really ends an answer, and what it puts into its requests."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from helpers.own_group import run_alone
from helpers.scripted import TINY_ARITH

from t2.sampling.end_tokens import end_token_ids

pytestmark = pytest.mark.vllm

MARKER = 17
"""The token of #, which begins every answer of the embedded LLM."""
_SCRIPT = """
import json, sys

from t2.sampling import VLLMSampler
from t2.spec import SampleRequest

if __name__ == "__main__":
    prompt = [1, 6, 13, 7, 15]
    sampler = VLLMSampler(max_tokens=64, dtype="float32", max_model_len=128, kv_cache_gib=0.25, max_num_seqs=8)
    sampler.open(sys.argv[1], 7)
    [result] = sampler.stream([SampleRequest("q", tuple(prompt), tuple(range(8)))])
    engine = sampler._llm.llm_engine
    asked = sampler._llm.renderer.render_cmpl([{"prompt_token_ids": prompt}])[0]
    parameters = engine.input_processor.process_inputs(
        "one", asked, sampler.sampling_parameters(1, greedy=True), supported_tasks=("generate",)
    ).sampling_params
    ends = sorted({parameters.eos_token_id, *parameters.stop_token_ids})
    sampler.close()
    drawn = [[*sample.token_ids, sample.finish_reason] for sample in result.samples]
    json.dump({"ends": ends, "drawn": drawn}, open("out.json", "w"))
"""


def test_the_engine_ends_answers_where_the_pool_says(tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(TINY_ARITH, model)
    generation = json.loads((model / "generation_config.json").read_text())
    (model / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [2, MARKER]}))
    (tmp_path / "script.py").write_text(_SCRIPT)
    run_alone([sys.executable, "script.py", str(model)], tmp_path)
    seen = json.loads((tmp_path / "out.json").read_text())
    assert tuple(seen["ends"]) == end_token_ids(model) == (2, MARKER)
    for *tokens, reason in seen["drawn"]:
        assert (tokens[-1], reason) == (MARKER, "stop")
        assert MARKER not in tokens[:-1]
