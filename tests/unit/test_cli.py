"""The command line: a user's mistake is one line and exit code 2, never a traceback."""

import json
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import yaml

import t2
from t2.cli import main
from t2.config import read_data
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "assets" / "tiny-arith")
NUM_QUESTIONS = 4


@pytest.fixture(autouse=True)
def _sigterm_handler():
    """That of `t2 label` does not outlive the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def pool(tmp_path):
    """The `data.pool` of a config that works."""
    answers = {
        q.id: {f"{q.text}#{q.answer}": 0.6, f"{q.text}#0": 0.3, "?": 0.1} for q in ArithTask(NUM_QUESTIONS).questions()
    }
    return {
        "path": str(tmp_path / "pool"),
        "model": MODEL,
        "task": {"class_path": "ArithTask", "init_args": {"num_questions": NUM_QUESTIONS}},
        "sampler": {"class_path": "ScriptedSampler", "init_args": {"answers": answers}},
        "samples_per_question": 3,
    }


@pytest.fixture
def config(tmp_path):
    """Writes a config and gives its path."""

    def write(pool, **data):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({"seed_everything": 0, "data": {"pool": pool, "grid": [1, 3], **data}}))
        return str(path)

    return write


@pytest.fixture
def fails(capsys):
    """Runs `t2`, which must end with exit code 2 and a line that starts with "error:"; gives that line."""

    def run(*args):
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        output = capsys.readouterr()
        assert caught.value.code == 2
        assert "Traceback" not in output.err
        assert output.err.startswith("error: "), output.err
        assert len(output.err.strip().split("\n")) == 1, output.err
        return output.err

    return run


# t2 label: mistakes


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"samples_per_questions": 4}, "samples_per_questions"),
        ({"samples_per_question": "many"}, "samples_per_question"),
        ({"samples_per_question": 0}, "samples_per_question"),
        ({"sampler": {"class_path": "NoSuchSampler"}}, "NoSuchSampler"),
        ({"task": {"class_path": "ArithTask", "init_args": {"num_question": 4}}}, "num_question"),
        ({"task": {"class_path": "ArithTask", "init_args": {"num_questions": 0}}}, "num_questions"),
        ({"task": {"class_path": "ArithTask", "init_args": {"families": ["huge"]}}}, "huge"),
        ({"sampler": {"class_path": "VLLMSampler", "init_args": {"temperature": 0}}}, "temperature"),
        ({"task": {"class_path": "JsonlTask", "init_args": {"path": "no-such.jsonl"}}}, "no-such.jsonl"),
        ({"model": "nobody/has-this-model"}, "nobody/has-this-model"),
        ({"model": "/no/such/folder"}, "/no/such/folder"),
        ({"prompt": {"template": "no-such.jinja"}}, "no-such.jinja"),
        ({"prompt": {"shots": [{"question": "1+1"}]}}, "answer"),
    ],
)
def test_a_mistake_in_the_pool_is_named(pool, config, fails, changes, named):
    assert named in fails("label", "--config", config(pool | changes))
    assert not (Path(pool["path"]) / "shards").exists()


@pytest.mark.parametrize("key", ["path", "model", "task", "sampler"])
def test_a_missing_key_is_named(pool, config, fails, key):
    del pool[key]
    assert key in fails("label", "--config", config(pool))


def test_splits_must_sum_to_one(pool, config, fails):
    assert "splits" in fails("label", "--config", config(pool, splits={"train": 0.9}))


def test_a_missing_config_is_named(fails, tmp_path):
    assert "no-such.yaml" in fails("label", "--config", tmp_path / "no-such.yaml")


@pytest.mark.parametrize("content", ["", "[1, 2]", "data: 3", "data: {grid: [1]}", "model: {head: CurveHead}"])
def test_a_config_without_pool_is_named(fails, tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    assert "data.pool" in fails("label", "--config", tmp_path / "config.yaml")


@pytest.mark.parametrize("pool", ["null", "3", "[a, b]"])
def test_a_pool_that_is_no_mapping_is_named(fails, tmp_path, pool):
    (tmp_path / "config.yaml").write_text(f"data: {{pool: {pool}}}")
    assert "data.pool" in fails("label", "--config", tmp_path / "config.yaml")


@pytest.mark.parametrize("content", [b"data: [1", b"data:\n\t- 1", b"\xff\xfe\x00", b"a: 1\nb: {c\n"])
def test_a_config_that_is_no_yaml_is_named(fails, tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    assert "config.yaml" in fails("label", "--config", tmp_path / "config.yaml")


def test_missing_vllm_names_the_command(pool, config, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr("t2.sampling.vllm_sampler.set_environment", lambda *_, **__: None)
    assert "pip install 't2-budget[vllm]'" in fails(
        "label", "--config", config(pool | {"sampler": "VLLMSampler"}), "--try_features", "false"
    )


@pytest.mark.parametrize("args", [["labels"], ["label"], ["label", "--no-such-option", "1"], []])
def test_jsonargparse_refuses_a_wrong_command(capsys, args):
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


# t2 --version, and the ways to start it


def test_the_version_is_that_of_the_package(capsys):
    """It is written in two places, and both say the same."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"t2 {declared}\n"
    assert t2.__version__ == declared


def test_python_m_starts_it_too():
    """As servers are started, with nothing heavy loaded until a command needs it."""
    code = (
        "import runpy, sys; sys.argv = ['t2', '--version']\n"
        "try: runpy.run_module('t2.cli', run_name='__main__')\n"
        "finally: print([m for m in ('torch', 'transformers', 'lightning', 'vllm', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"t2 {t2.__version__}", "[]"]


# t2 label: success


def test_label_fills_the_pool_and_resumes(pool, config, capsys):
    main(["label", "--config", config(pool), "--try_features", "false"])
    assert f"{NUM_QUESTIONS * 4} samples" in capsys.readouterr().out
    main(["label", "--config", config(pool | {"samples_per_question": 5}), "--try_features", "false"])
    assert "8 samples (32 tokens) drawn, 16 were there" in " ".join(capsys.readouterr().out.split())
    reader = ShardReader(PoolPaths(Path(pool["path"])))
    reader.refresh()
    assert sum(table.num_rows for table in reader.tables.values()) == NUM_QUESTIONS * 6


def test_a_config_gives_pool_and_splits(pool, config):
    splits = {"train": 0.7, "validation": 0.1, "calibration": 0.1, "test": 0.1}
    data = read_data(config(pool, splits=splits))
    job, fractions = data.pool, data.splits
    assert (job.path, job.samples_per_question, job.engine_seed) == (pool["path"], 3, None)
    assert isinstance(job.task, ArithTask)
    assert fractions.train == 0.7


def test_preview_shows_prompt_shares_and_hours(pool, config, capsys):
    pool["sampler"]["init_args"]["seconds_per_request"] = 0.01
    main(["label", "--config", config(pool | {"samples_per_question": 32}), "--preview", "2"])
    output = capsys.readouterr().out
    asked = [q.text for q in ArithTask(NUM_QUESTIONS).questions()]
    assert any(f"⟦<s>⟧{text}=" in output for text in asked)
    assert "2 questions x 8 samples: unparseable " in output
    assert "truncated 0.0%" in output
    assert "greedy 1.000" in output
    assert "] over greedy (95% confidence, 2 questions)" in output
    assert " hours" in output
    assert not Path(pool["path"]).exists()
    # Its samples lie beside the pool, which takes them.
    main(["label", "--config", config(pool | {"samples_per_question": 32})])
    assert "drawn, 18 were there" in capsys.readouterr().out


# t2 export


def test_export_of_a_missing_file(fails, tmp_path):
    assert "no-such.ckpt" in fails("export", tmp_path / "no-such.ckpt", "--folder", tmp_path / "head")
    assert not (tmp_path / "head").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint\n", b"PK\x03\x04 and no zip"])
def test_export_of_a_file_that_is_no_checkpoint(fails, tmp_path, content):
    (tmp_path / "some.ckpt").write_bytes(content)
    assert "some.ckpt" in fails("export", tmp_path / "some.ckpt", "--folder", tmp_path / "head")


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], torch.zeros(2)])
def test_export_of_another_checkpoint(fails, tmp_path, content):
    torch.save(content, tmp_path / "some.ckpt")
    assert "'t2'" in fails("export", tmp_path / "some.ckpt", "--folder", tmp_path / "head")


class _Payload:
    """A pickle that would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, json.dumps("run"))


def test_export_runs_no_pickle(fails, tmp_path):
    torch.save({"t2": _Payload(tmp_path / "ran")}, tmp_path / "evil.ckpt")
    assert "evil.ckpt" in fails("export", tmp_path / "evil.ckpt", "--folder", tmp_path / "head")
    assert not (tmp_path / "ran").exists()
