"""`train.py fit` on an imported pool: features and prompts of a proxy, no labeller, ragged questions left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from data_modules import BudgetDataModule
from t2.errors import T2Error
from t2.importing.command import import_file
from t2.model_files import resolve_model
from t2.pools.fill import fill as label
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.tasks import PoolTask
from train import main

NUM_QUESTIONS, NUM_SHORT = 96, 5
"""Questions with 8 samples, and with only 3."""


@pytest.fixture
def imported(tmp_path: Path, tiny_arith: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A whole train.py config on samples that some API gave; whoever starts a labeller fails."""
    rng, lines = Random(0), []
    for index in range(NUM_QUESTIONS + NUM_SHORT):
        a, b, right = 10 + index, 3 + index % 7, (index % 5) / 4
        samples = [
            {"answer": a + b if rng.random() < right else a - b, "tokens": 20}
            for _ in range(8 if index < NUM_QUESTIONS else 3)
        ]
        row = {"id": f"q{index}", "question": f"{a}+{b}", "answer": a + b, "prompt_tokens": 50, "samples": samples}
        lines.append(json.dumps(row))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    pool = str(tmp_path / "pool")
    import_file(str(tmp_path / "samples.jsonl"), pool, model="some-api-model")

    def refuse(*args: Any) -> None:
        raise AssertionError("a labeller was started")

    monkeypatch.setattr("data_modules.live_pool.LabellerProcess", refuse)
    task = {"class_path": "PoolTask", "init_args": {"path": pool}}
    return {
        "data": {
            "pool": {"path": pool, "model": "some-api-model", "task": task, "samples_per_question": 8},
            "grid": [1, 3, 5, 8],
            "allow_proxy": tiny_arith,
        },
        "model": {"layers": "all", "head": {"class_path": "CurveHead", "init_args": {"num_atoms": 8}}},
        "export": {"folder": str(tmp_path / "head")},
        "trainer": {
            "max_epochs": 2,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": [
                {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": str(tmp_path / "runs"), "name": None},
                }
            ],
        },
    }


@pytest.fixture
def data_of(imported: dict[str, Any]) -> Callable[..., BudgetDataModule]:
    """The DataModule of that config, with changes to the job or to itself."""

    def make(proxy: str | None = imported["data"]["allow_proxy"], **job: Any) -> BudgetDataModule:
        pool = imported["data"]["pool"]
        arguments = {**pool, "task": PoolTask(pool["path"]), **job}
        return BudgetDataModule(LabelJob(**arguments), layers="all", grid=[1, 3], allow_proxy=proxy)

    return make


def test_fit_and_test_on_an_imported_pool(imported: dict[str, Any], tmp_path: Path, tiny_arith: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(imported), encoding="utf-8")
    main(["fit", "--config", str(path)])
    config = json.loads((tmp_path / "head" / "config.json").read_text(encoding="utf-8"))
    assert config["base_model"]["id"] == "some-api-model"
    assert config["base_model"]["fingerprint"].startswith("imported-")
    proxy = resolve_model(tiny_arith)
    assert config["features"]["model_id"] == "tiny-arith"
    assert config["features"]["model_fingerprint"] == proxy.fingerprint
    assert config["prompt"]["template"] == "chat"
    assert not config["prompt"]["fingerprint"].startswith("imported-")
    assert (config["labels"]["grader"], config["labels"]["cost_unit"]) == ("given", "tokens")
    assert sum(config["labels"]["questions"].values()) == NUM_QUESTIONS
    assert config["mean_tokens_per_sample"] == 20.0
    run = tmp_path / "runs" / "version_0"
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", str(run / "checkpoints" / "best.ckpt")])


def test_prompts_are_the_proxys_and_costs_the_files(data_of: Callable[..., BudgetDataModule], tiny_arith: str) -> None:
    from transformers import AutoTokenizer

    data = data_of()
    data.setup("validate")
    tokenizer = AutoTokenizer.from_pretrained(tiny_arith)
    question, prompt = data.prepared.questions[7], data.prepared.prompts[7]
    assert tokenizer.decode(prompt, skip_special_tokens=False).replace(" ", "") == f"<s>{question.text}="
    pool, _ = data.split("validation")
    assert pool.prompt_tokens_Q.unique().tolist() == [50]
    assert not pool.greedy_present_Q.any()


def test_an_imported_pool_needs_a_proxy(data_of: Callable[..., BudgetDataModule]) -> None:
    with pytest.raises(T2Error, match=r"Expected `data.allow_proxy` .* 'some-api-model' is not here"):
        data_of(proxy=None).prepare_data()


def test_the_model_is_the_one_of_the_import(data_of: Callable[..., BudgetDataModule]) -> None:
    with pytest.raises(T2Error, match=r"\(some-api-model\), got 'another'. Mend `data.pool.model`"):
        data_of(model="another").prepare_data()


def test_more_samples_than_any_question_has(data_of: Callable[..., BudgetDataModule]) -> None:
    with pytest.raises(T2Error, match="Expected questions with 9 samples, got at most 8 in the imported pool"):
        data_of(samples_per_question=9).prepare_data()


def test_questions_that_the_pool_does_not_have(data_of: Callable[..., BudgetDataModule], tmp_path: Path) -> None:
    from t2.tasks import JsonlTask

    others = tmp_path / "others.jsonl"
    others.write_text('{"id": "new", "question": "1+1", "answer": "2"}', encoding="utf-8")
    with pytest.raises(T2Error, match=r"got 1 others \(first: 'new'\)"):
        data_of(task=JsonlTask(str(others))).prepare_data()


def test_questions_that_share_few_keys_cannot_fill_folds(
    imported: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sklearn was asked to fit a fold without questions: a traceback, where `t2 evaluate` had a clear error."""
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    shared = [{**row, "dedup_key": f"key {index % 6}"} for index, row in enumerate(rows[:60])]
    (tmp_path / "shared.jsonl").write_text("\n".join(map(json.dumps, shared)), encoding="utf-8")
    data, pool = imported["data"], str(tmp_path / "shared")
    import_file(str(tmp_path / "shared.jsonl"), pool, model="some-api-model")
    data["pool"] |= {"path": pool, "task": {"class_path": "PoolTask", "init_args": {"path": pool}}}
    data["splits"] = {"train": 1.0, "validation": 0.0, "calibration": 0.0, "test": 0.0}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(imported), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["cross_validate", "--config", str(tmp_path / "config.yaml"), "--epochs", "1", "--processes", "1"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2
    assert "got 60 questions with 8 samples with only 6 dedup keys in pool" in error
    assert not list((tmp_path / "shared").glob("predictions*"))


def test_t2_label_never_adds_to_an_imported_pool(data_of: Callable[..., BudgetDataModule]) -> None:
    job = data_of().job
    before = sorted(path.name for path in Path(job.path).rglob("*"))
    with pytest.raises(T2Error, match="which was imported: samples of another source do not belong in it"):
        label(job, SplitFractions())
    assert sorted(path.name for path in Path(job.path).rglob("*")) == before
