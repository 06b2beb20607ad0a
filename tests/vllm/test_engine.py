"""A real vLLM engine on the embedded LLM: what it draws, what a second process draws, what is left when it is ended.

Every engine has a process of its own: vLLM reads its environment at import and keeps threads.
"""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import yaml
from helpers.own_group import ROOT, SECONDS, environment, run_alone

from t2.prompts import render
from t2.spec import GREEDY_DRAW, PromptSpec
from t2.store.lock import is_held
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

pytestmark = pytest.mark.vllm

MODEL = str(ROOT / "assets" / "tiny-arith")
EOS, MAX_TOKENS = 2, 96

_SCRIPT = """
import json, sys

from t2.sampling import VLLMSampler
from t2.spec import SampleRequest

if __name__ == "__main__":
    model, prompts, max_tokens, out = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    sampler = VLLMSampler(max_tokens=max_tokens, dtype="float32", kv_cache_gib=0.25, max_num_seqs=16)
    sampler.open(model, 7)
    requests = [SampleRequest(f"greedy-{i}", tuple(p), (-1,)) for i, p in enumerate(prompts)]
    requests.append(SampleRequest("many", tuple(prompts[-1]), tuple(range(3, 11))))
    finished, drawn = [], {}
    sampler.follow(lambda count: finished.append((count, sum(len(draws) for draws, _ in drawn.values()))))
    for r in sampler.stream(requests):
        drawn[r.request.question_id] = (r.request.draws, [vars(s) for s in r.samples])

    # The engine itself, for what `Sample` does not carry.
    from vllm.inputs import TokensPrompt

    prefix = [3 + i % 10 for i in range(96)]
    cached = []
    for tail in (4, 5, 6):
        asked = TokensPrompt(prompt_token_ids=[*prefix, tail])
        output = sampler._llm.generate([asked], sampler.sampling_parameters(1, False), use_tqdm=False)[0]
        cached.append(output.num_cached_tokens)
    sampler.close()
    sampler.close()
    json.dump({"drawn": drawn, "cached": cached, "finished": finished}, open(out, "w"))
"""


@pytest.fixture(scope="module")
def prompts():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    return [render(tokenizer, PromptSpec(), q.text) for q in ArithTask(12).questions()]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, prompts):
    """What one engine has drawn: a greedy answer to each prompt, eight samples of the last one, prefix cache hits."""
    folder = tmp_path_factory.mktemp("engine")
    (folder / "script.py").write_text(_SCRIPT)
    command = [sys.executable, "script.py", MODEL, json.dumps(prompts), str(MAX_TOKENS), "out.json"]
    run_alone(command, folder)
    return json.loads((folder / "out.json").read_text())


def test_greedy_answers_equal_transformers(drawn, prompts):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(MODEL)
    for index, prompt in enumerate(prompts):
        with torch.no_grad():
            ids = model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=MAX_TOKENS, pad_token_id=0, eos_token_id=EOS
            )
        draws, samples = drawn["drawn"][f"greedy-{index}"]
        assert draws == [GREEDY_DRAW]
        assert [sample["token_ids"] for sample in samples] == [ids[0, len(prompt) :].tolist()]


def test_samples_differ_and_count_their_end_token(drawn):
    draws, samples = drawn["drawn"]["many"]
    assert draws == list(range(3, 11))
    assert len({tuple(sample["token_ids"]) for sample in samples}) > 1
    finished = [sample for sample in samples if sample["finish_reason"] == "stop"]
    assert finished
    for sample in finished:
        assert sample["token_ids"][-1] == EOS
        assert EOS not in sample["token_ids"][:-1]
        assert "</s>" not in sample["text"]
        # One character a token, the end token aside.
        assert len(sample["text"]) == len(sample["token_ids"]) - 1


def test_samples_are_counted_as_they_finish(drawn):
    """The eight samples of the last request end at different steps; each counts when it ends."""
    counts = [finished for finished, _ in drawn["finished"]]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] == len(drawn["drawn"]) - 1 + 8
    after = [streamed for _, streamed in drawn["finished"][1:]]  # what this step's requests have brought
    assert any(count > streamed for count, streamed in zip(counts, after, strict=False))


def test_prompts_share_their_prefix(drawn):
    first, *others = drawn["cached"]
    assert first < 96
    assert others == [96, 96]


# t2 label


def write_config(folder, samples, num_questions=9, **pool):
    content = {
        "path": str(folder / "pool"),
        "model": MODEL,
        "task": {"class_path": "ArithTask", "init_args": {"num_questions": num_questions, "sizes": [7, 8]}},
        "sampler": {
            "class_path": "VLLMSampler",
            "init_args": {"max_tokens": MAX_TOKENS, "kv_cache_gib": 0.25, "max_num_seqs": 16, "samples_per_request": 4},
        },
        "samples_per_question": samples,
        **pool,
    }
    path = folder / f"config-{samples}.yaml"
    path.write_text(yaml.safe_dump({"data": {"pool": content}}))
    return [sys.executable, "-m", "t2.cli", "label", "--config", str(path)]


def run_label(command):
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False)


def rows_of(folder):
    reader = ShardReader(PoolPaths(folder / "pool"))
    reader.refresh()
    return [row for table in reader.tables.values() for row in table.to_pylist()]


@pytest.mark.slow
def test_a_top_up_in_a_new_process_draws_other_samples(tmp_path):
    for samples in (3, 6):
        done = run_label(write_config(tmp_path, samples))
        assert done.returncode == 0, done.stderr[-3000:]
    rows = rows_of(tmp_path)
    keys = [(row["question_id"], row["draw"]) for row in rows]
    assert len(set(keys)) == len(keys) == 9 * 7
    old, new = ({(r["question_id"], r["draw"] % 3): r["token_ids"] for r in rows if r["draw"] in draws}
                for draws in (range(3), range(3, 6)))  # fmt: skip
    assert old.keys() == new.keys()
    assert sum(old[key] != new[key] for key in old) > len(old) / 2
    seeds = {row["attempt"]: row["engine_seed"] for row in rows}
    assert len(set(seeds.values())) == len(seeds) == 2
    refused = run_label(write_config(tmp_path, 8, engine_seed=seeds[1]))
    assert refused.returncode == 2
    assert f"error: Expected an engine seed that the pool does not have, got {seeds[1]}" in refused.stderr
    assert len(rows_of(tmp_path)) == 9 * 7


@pytest.mark.slow
def test_more_than_the_model_allows_is_one_line(tmp_path):
    """It was a traceback of pydantic's."""
    command = write_config(tmp_path, 3)
    path = tmp_path / "config-3.yaml"
    content = yaml.safe_load(path.read_text())
    content["data"]["pool"]["sampler"]["init_args"]["max_model_len"] = 4096
    path.write_text(yaml.safe_dump(content))
    done = run_label(command)
    assert (done.returncode, done.stderr) == (
        2,
        "error: Expected `max_model_len` of at most 256 tokens, as far as the model goes, got 4096. Change "
        "`data.pool.sampler.init_args.max_model_len`, or leave it out.\n",
    )


def processes_of(leader):
    """Running processes that are descendants of `leader` or in its process group."""
    found = {}
    for process in psutil.process_iter():
        try:
            in_group = os.getpgid(process.pid) == leader
            related = in_group or leader in [parent.pid for parent in process.parents()] or process.pid == leader
            if related and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process.name()
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_a_readable_pool(tmp_path, signum):
    command = write_config(tmp_path, 64, num_questions=400)
    with (tmp_path / "log").open("w") as log:
        label = subprocess.Popen(command, env=environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not list((tmp_path / "pool").glob("manifests/*.jsonl")):
            assert label.poll() is None, (tmp_path / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        flushed, family = len(rows_of(tmp_path)), processes_of(label.pid)
        assert label.pid in family
        time.sleep(3)  # some requests end in it
        os.killpg(label.pid, signum)
        assert label.wait(240) == 128 + signum, (tmp_path / "log").read_text()[-3000:]
        assert [pid for pid in family if psutil.pid_exists(pid)] == []
        assert processes_of(label.pid) == {}
    finally:
        if label.poll() is None:
            os.killpg(label.pid, signal.SIGKILL)
            label.wait()
    rows, log = rows_of(tmp_path), (tmp_path / "log").read_text()
    # It was a traceback of 110 lines, after a dozen warnings.
    assert "Traceback" not in log
    assert "WARNING" not in log
    assert f"\nInterrupted: {len(rows):,} of 26,000 samples are kept in {tmp_path / 'pool'}. Go on: t2 label " in log
    assert log.count("\n") < 12
    # What was finished since the last flush has been kept too.
    assert len(rows) > flushed
    assert len({(row["question_id"], row["draw"]) for row in rows}) == len(rows)
    assert not is_held(PoolPaths(tmp_path / "pool"))
    assert list((tmp_path / "pool").rglob("*.tmp")) == []
