"""Before the first label is paid for, the features of two prompts are tried."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from helpers.scripted import TINY_ARITH
from safetensors.torch import load_file, save_file

from t2.activations.cache import FeatureCache, FeatureSpec
from t2.cli import main
from t2.config import read_data
from t2.errors import T2Error
from t2.model_files import resolve_model
from t2.pools import trial
from t2.pools.fill import fill
from t2.pools.prepare import prepare
from t2.pools.trial import try_features
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths


@pytest.fixture
def in_process(monkeypatch):
    monkeypatch.setattr(trial, "_in_a_process_of_its_own", trial._complaint)


@pytest.fixture
def data(scripted_config, tmp_path):
    """Settings of a pool whose LLM is a copy of the tiny one."""
    config = scripted_config(num_questions=12, samples=1)
    config["data"]["pool"]["model"] = str(shutil.copytree(TINY_ARITH, tmp_path / "llm"))
    del config["data"]["grid"]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"model": {"layers": [1, 4]}, "data": config["data"]}))
    return partial(read_data, path)


def cache_of(data):
    return FeatureCache(data.features_root, FeatureSpec(resolve_model(data.pool.model).fingerprint, (1, 4)))


def change_weights(data, change):
    file = Path(data.pool.model) / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


def num_samples(data):
    reader = ShardReader(PoolPaths(Path(data.pool.path)))
    reader.refresh()
    return sum(table.num_rows for table in reader.tables.values())


@pytest.mark.slow
def test_label_draws_nothing_where_there_are_no_features(data, tmp_path, capsys):
    """LFM2 and its like crashed there when all labels had been drawn."""
    change_weights(data(), lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(SystemExit) as caught:
        main(["label", "--config", str(tmp_path / "config.yaml")])
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: Expected features of llm at layers [1, 4] before samples are drawn, got: ")
    assert "layers.1.mlp.up_proj.weight" in line
    assert "No sample was drawn yet." in line
    assert num_samples(data()) == 0
    main(["label", "--config", str(tmp_path / "config.yaml"), "--try_features", "false"])
    assert num_samples(data()) == 24


@pytest.mark.slow
def test_a_process_that_is_killed_is_reported(tmp_path):
    class Dies:
        def __reduce__(self):
            return os._exit, (9,)

    assert "ended with exit code 9, as where memory runs out" in trial._in_a_process_of_its_own(Dies())


@pytest.mark.usefixtures("in_process")
def test_the_shortest_and_the_longest_prompt_are_kept(data, monkeypatch):
    said = []
    try_features(data(), said.append)
    assert said == []  # the price of an LLM of 4 MB is no word worth
    prompts, cache = prepare(data().pool).prompts, cache_of(data())
    assert cache.load([min(prompts, key=len), max(prompts, key=len)]).shape == (2, 2, 128)
    assert len(cache.keys()) == 2
    assert num_samples(data()) == 0
    monkeypatch.setattr(trial, "_in_a_process_of_its_own", lambda *_: pytest.fail("the LLM was loaded again"))
    try_features(data(), said.append)


@pytest.mark.usefixtures("in_process")
def test_the_price_of_a_large_llm_is_said(data, monkeypatch):
    monkeypatch.setattr(trial, "WORTH_A_WORD", 1)
    said = []
    try_features(data(), said.append)
    assert "transformers loads the 0.0 GB of llm and frees them again. `--try_features false`" in said[0]
    assert "that took" in said[1]


@pytest.mark.usefixtures("in_process")
def test_an_infinite_weight_is_found(data):
    change_weights(data(), lambda weights: weights["model.layers.3.mlp.down_proj.weight"][0].fill_(torch.inf))
    with pytest.raises(T2Error, match=r"Expected finite features, got (-?inf|nan) at layer 4 of question 'q\d+'"):
        try_features(data(), print)
    assert cache_of(data()).keys() == set()


def test_layers_that_are_not_there_are_refused_first(data, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("- 4", "- 5"))
    with pytest.raises(T2Error, match=r"between 1 and 4 .*got \[1, 5\]. Change `model\.layers`"):
        try_features(data(), print)


def test_a_finished_pool_needs_no_trial(data, monkeypatch):
    monkeypatch.setattr(trial, "_in_a_process_of_its_own", lambda *_: pytest.fail("the LLM was loaded"))
    fill(data().pool, data().splits)
    try_features(data(), print)


@pytest.mark.usefixtures("in_process")
def test_the_proxy_is_tried_where_it_gives_the_features(data, tmp_path):
    """On its own prompts, and not the pool's LLM, which may be none that transformers loads."""
    settings = data()
    settings.allow_proxy = str(shutil.copytree(TINY_ARITH, tmp_path / "proxy"))
    config = tmp_path / "proxy" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 1e-5}))
    change_weights(settings, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))
    try_features(settings, print)
    assert cache_of(settings).keys() == set()
    spec = FeatureSpec(resolve_model(settings.allow_proxy).fingerprint, (1, 4))
    assert len(FeatureCache(settings.features_root, spec).keys()) == 2
