"""`data.allow_proxy` on a labelled pool: each LLM reads prompts of its own tokenizer, the proxy and the pool's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.scripted import job_of
from safetensors.torch import load_file, save_file

import t2
from data_modules import BudgetDataModule
from t2.errors import T2Error
from t2.judging.questions import load_questions
from t2.pools.fill import fill as label
from t2.prompts import load_tokenizer, render
from t2.sampling import ScriptedSampler
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths
from train import main

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def proxy(tmp_path: Path, tiny_arith: str) -> str:
    """The embedded LLM with other token ids: its vocabulary is turned round, its embeddings with it.

    Read by its own tokenizer it does exactly what the embedded LLM does; ids of the other tokenizer are nonsense to it.
    """
    folder = tmp_path / "turned-round"
    shutil.copytree(tiny_arith, folder)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["id"] for token in content["added_tokens"]}
    vocab = content["model"]["vocab"]
    plain = sorted(index for index in vocab.values() if index not in special)
    moved = dict(zip(plain, reversed(plain), strict=True))
    content["model"]["vocab"] = {token: moved.get(index, index) for token, index in vocab.items()}
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    state = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        old = state[name].clone()
        state[name][list(moved.values())] = old[list(moved)]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    return str(folder)


def data_of(config: dict[str, Any], proxy: str | None = None, stage: str = "validate") -> BudgetDataModule:
    grid = config["data"]["grid"]
    data = BudgetDataModule(job_of(config), layers="all", grid=grid, max_epochs=2, allow_proxy=proxy)
    data.setup(stage)
    data.teardown(stage)
    return data


def test_a_proxy_reads_prompts_of_its_own_tokenizer(labelled_config: Make, proxy: str, tiny_arith: str) -> None:
    """It was given the token ids of the pool's LLM, which mean other words to it."""
    config = labelled_config(num_questions=64)
    own, read = data_of(config), data_of(config, proxy)
    ids = [question.text for question in read.prepared.questions]
    tokenizer, pool_tokenizer = load_tokenizer(Path(proxy)), load_tokenizer(Path(tiny_arith))
    assert read.prepared.prompts == [tuple(render(tokenizer, read.job.prompt, text)) for text in ids]
    assert read.prepared.prompts != own.prepared.prompts
    assert torch.equal(read.features_QLD, own.features_QLD)  # which is what this proxy makes of its own ids
    # The pool keeps the prompts that its LLM has answered, and what they cost.
    _, stored = read_questions(PoolPaths(Path(config["data"]["pool"]["path"])))
    assert stored == [tuple(render(pool_tokenizer, read.job.prompt, text)) for text in ids]
    assert read.prepared.prompt_tokens == [len(prompt) for prompt in stored]
    assert read.export_info.prompt.template == "chat"


def test_labelling_beside_a_proxy_asks_the_pool_s_llm_with_its_own_prompts(
    scripted_config: Make, proxy: str, tiny_arith: str
) -> None:
    config = scripted_config(num_questions=64)
    BudgetDataModule(job_of(config), layers="all", grid=[1, 3], allow_proxy=proxy).prepare_data()  # nothing drawn yet
    tokenizer, asked = load_tokenizer(Path(tiny_arith)), {}

    class Watched(ScriptedSampler):
        """Keeps what it is asked."""

        def check_prompts(self, prompts: Any) -> None:
            asked.update(prompts)

    job = job_of(config)
    sampler = Watched(**config["data"]["pool"]["sampler"]["init_args"])
    label(LabelJob(job.path, job.model, job.task, sampler, samples_per_question=8), SplitFractions())
    assert asked == {q.id: tuple(render(tokenizer, job.prompt, q.text)) for q in job.task.questions()}


def test_the_pool_s_own_llm_as_proxy_reads_the_stored_prompts(labelled_config: Make, tiny_arith: str) -> None:
    config = labelled_config(num_questions=64)
    assert data_of(config, tiny_arith).prepared == data_of(config).prepared


def test_an_exported_head_reads_what_it_was_trained_on(labelled_config: Make, proxy: str, tmp_path: Path) -> None:
    config = labelled_config(num_questions=96)
    config["data"]["allow_proxy"] = proxy
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    main(["fit", "--config", str(path)])
    head, trained = t2.BudgetHead.from_pretrained(tmp_path / "head"), data_of(config, proxy)
    texts = [question.text for question in trained.prepared.questions]
    assert torch.equal(head.activations(texts, proxy), trained.features_QLD)
    # `t2 evaluate` too, and it leads nowhere without the proxy's name, since the pool's prompts are no use to it.
    without_record = t2.BudgetHead(replace(head.record, seen_questions=None), head.head)
    asked = load_questions(without_record, str(path))
    row = {question.id: index for index, question in enumerate(trained.prepared.questions)}
    assert torch.equal(asked.pooled_QLD, trained.features_QLD[[row[question.id] for question in asked.questions]])
    assert not any("prompt" in note for note in asked.notes)
    folder, features = config["data"]["pool"]["path"], str(tmp_path / "none")
    with pytest.raises(T2Error, match=r"whose tokenizer renders its prompts, got none\. .* `--proxy`"):
        load_questions(without_record, folder, grader="numeric", features=features)
