"""`train.py` end to end on scripted answers: streaming, equality of live and finished pools, export, resume."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from helpers.scripted import DyingSampler, GatedSampler, job_of

import t2
from data_modules import BudgetDataModule
from data_modules.live_pool import FillingPool
from t2.errors import T2Error
from t2.heads import CurveHead, HeadShape
from t2.pools.fill import fill as label
from t2.pools.prepare import prepare
from t2.spec import LabelJob
from t2.splits import SplitFractions, split_of
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.training.accuracy_cost import AccuracyCost
from t2.training.module import BudgetProbe
from train import main

Make = Callable[..., dict[str, Any]]


def write(config: dict[str, Any], tmp_path: Path, name: str = "config.yaml") -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


class Recorder(L.Callback):
    """Keeps every batch, and how full the pool was at each optimizer step; opens the gate at the first one."""

    def __init__(self, paths: PoolPaths, wanted_rows: int) -> None:
        self.paths, self.wanted_rows = paths, wanted_rows
        self.batches: list[tuple[Any, ...]] = []
        self.complete_at_step: list[bool] = []
        self.shares_cores: list[bool] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        reader = ShardReader(self.paths)
        reader.refresh()
        self.complete_at_step.append(sum(table.num_rows for table in reader.tables.values()) >= self.wanted_rows)
        self.batches.append((batch[0].clone(), *(value.clone() for value in batch[1])))
        self.shares_cores.append(trainer.datamodule.filling._threads is not None)  # type: ignore[attr-defined]  # set by fit
        gate_of(self.paths.root).touch()


def gate_of(pool: Path) -> Path:
    return pool.with_name("gate")


def fit(config: dict[str, Any], job: LabelJob, epochs: int = 6) -> tuple[BudgetProbe, Recorder]:
    L.seed_everything(0)
    data = BudgetDataModule(job, layers="all", grid=config["data"]["grid"], max_epochs=epochs, batch_size=16)
    probe = BudgetProbe(lambda shape: CurveHead(shape, num_atoms=8), layers="all")
    recorder = Recorder(PoolPaths(Path(job.path)), len(job.task.questions()) * (job.samples_per_question + 1))
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[recorder, AccuracyCost()],
    )
    trainer.fit(probe, datamodule=data)
    return probe, recorder


@pytest.mark.slow
def test_optimizer_steps_before_the_pool_is_complete_and_same_batches_as_finished(
    scripted_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one thread throughout: when the labeller ends is a matter of time, and with two threads rounding differs.

    The labeller draws for validation and the first 64 train questions, and goes on after the first step.
    """
    config = scripted_config(num_questions=140)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch.get_num_threads() == 1
    job = job_of(config)
    splits = Counter(split_of(question.dedup_key, SplitFractions()) for question in job.task.questions())
    assert splits["train"] > 64
    requests_per_question = 3  # the greedy answer, and twice four samples
    gated = GatedSampler(
        **config["data"]["pool"]["sampler"]["init_args"],
        gate=gate_of(Path(job.path)),
        free=requests_per_question * (splits["validation"] + 64),
    )
    live_probe, live = fit(config, replace(job, sampler=gated))
    assert live.shares_cores[0], "several threads beside a labeller hold up its engine"
    assert live.complete_at_step[0] is False, "the first optimizer step came after the whole pool was there"
    label(job_of(config), SplitFractions())
    finished_probe, finished = fit(config, job_of(config))
    assert all(finished.complete_at_step)
    assert len(live.batches) == len(finished.batches)
    for mine, theirs in zip(live.batches, finished.batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    for (name, mine), theirs in zip(
        live_probe.head.state_dict().items(), finished_probe.head.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_training_has_one_thread_while_its_labeller_runs(
    scripted_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    job = job_of(scripted_config())
    filling = FillingPool(job, prepare(job), SplitFractions(), stall_timeout_seconds=1.0)
    alive, threads = [True], torch.get_num_threads()
    filling._labeller = SimpleNamespace(process=SimpleNamespace(is_alive=lambda: alive[0]))  # type: ignore[assignment]
    torch.set_num_threads(2)
    try:
        filling.share_cores()
        assert torch.get_num_threads() == 1
        filling.share_cores()
        alive[0] = False
        filling.share_cores()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_the_labellers_death_is_the_runs_error_with_its_last_lines(scripted_config: Make) -> None:
    config = scripted_config(num_questions=80)
    dying = DyingSampler(**config["data"]["pool"]["sampler"]["init_args"], after=5)
    with pytest.raises(T2Error, match="the engine is out of memory"):
        fit(config, replace(job_of(config), sampler=dying))


def test_fit_validate_test_predict_export_and_resume(scripted_config: Make, tmp_path: Path) -> None:
    config = scripted_config()
    path = write(config, tmp_path)
    main(["fit", "--config", path])
    run = tmp_path / "runs" / "version_0"
    assert (run / "frontier.png").stat().st_size > 10_000
    with (run / "frontier.csv").open() as file:
        policies = {row["policy"] for row in csv.DictReader(file)}
    assert policies >= {"Greedy", "FixedN", "ASC", "OwnOracle", "CurveHead + Utility", "CurveHead + PredictedN"}
    with (run / "metrics.csv").open() as file:
        columns = set(csv.DictReader(file).fieldnames or [])
    assert columns >= {"val/area", "val/accuracy", "val/generated_tokens", "val/mae_log2_n", "val/kappa", "train/loss"}
    checkpoint = run / "checkpoints" / "best.ckpt"
    assert checkpoint.stat().st_size < 5_000_000, "a checkpoint holds the head, never the LLM"
    head = t2.BudgetHead.from_pretrained(tmp_path / "head")
    assert head.record.base_model.id == "tiny-arith"
    assert head.record.mean_tokens_per_sample == 4.0
    assert head.record.metrics is not None
    assert set(head.record.metrics.intervals) >= {"area", "accuracy", "generated_tokens"}
    assert head.record.metrics.n_ref in head.grid
    assert head.calibration is not None
    assert head.calibration.status == "too_few_questions", "calibration is on by default and no obstacle"
    content = torch.load(checkpoint, weights_only=True)
    for name, value in head.head.state_dict().items():
        assert torch.equal(value, content["state_dict"][f"head.{name}"]), name
    for command in ("validate", "test", "predict"):
        main([command, "--config", path, "--ckpt_path", str(checkpoint)])
    last = run / "checkpoints" / "last.ckpt"
    main(["fit", "--config", path, "--ckpt_path", str(last), "--trainer.max_epochs", "4"])
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", path])


@pytest.mark.parametrize("head", ["LayerwiseRegression", "OrdinalHead"])
def test_recorded_metrics_are_those_of_the_exported_weights(labelled_config: Make, tmp_path: Path, head: str) -> None:
    """Layer weights used to be refitted between validation and the checkpoint: the card described another head."""
    config = labelled_config()
    config["model"]["head"] = {"class_path": head}
    config["accuracy_cost"] = {"policy": {"class_path": "PredictedN"}}
    main(["fit", "--config", write(config, tmp_path)])
    exported = t2.BudgetHead.from_pretrained(tmp_path / "head")
    data = BudgetDataModule(job_of(config), layers="all", grid=config["data"]["grid"], max_epochs=4)
    data.setup("validate")
    data.teardown("validate")
    budgets = exported.budgets(data.features_of("validation")).double()
    assert exported.record.metrics.samples.value == pytest.approx(float(budgets.mean()))


def test_features_that_cannot_be_had_end_fit_before_a_label_is_drawn(
    scripted_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An infinite feature was stored, and ended in a traceback each time after; here of the question of one prompt."""
    from t2.activations.backbone import extract

    def infinite(model: Any, prompts: Any, *args: Any) -> torch.Tensor:
        pooled_QLD = extract(model, prompts, *args).clone()
        pooled_QLD[[index for index, prompt in enumerate(prompts) if prompt == marked], 2, 7] = torch.inf
        return pooled_QLD

    job = job_of(scripted_config(num_questions=64))
    prepared = prepare(job)
    marked = prepared.prompts[40]
    monkeypatch.setattr("t2.activations.features.extract", infinite)
    data = BudgetDataModule(job, layers="all", grid=[1, 3], max_epochs=1)
    with pytest.raises(T2Error, match=r"got inf at layer 3 of question 'q40' .* This run has drawn no sample yet\."):
        data.setup("fit")
    assert not list(Path(job.path).rglob("*.parquet"))[1:], "questions.parquet alone"
    assert not list(Path(job.path).rglob("*.safetensors"))


def test_too_few_questions_for_a_split(scripted_config: Make) -> None:
    config = scripted_config(num_questions=6)
    data = BudgetDataModule(job_of(config), layers="all", grid=[1, 3], max_epochs=1)
    with pytest.raises(T2Error, match=r"Expected at least \d+ train questions, got \d of 6\. Add questions"):
        data.setup("fit")


def test_a_resumed_run_refuses_other_labels(labelled_config: Make) -> None:
    config = labelled_config()
    data = BudgetDataModule(job_of(config), layers="all", grid=[1, 3], max_epochs=1)
    data.setup("validate")
    data.teardown("validate")
    with pytest.raises(T2Error, match=r"eps: 0\.5 then, 0\.02 now"):
        data.load_state_dict({**data.state_dict(), "eps": 0.5})


def test_a_resumed_run_refuses_another_head(
    labelled_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other dropout and eps went on silently, and were recorded as if all of the run had them."""
    config = labelled_config()
    path = write(config, tmp_path)
    main(["fit", "--config", path, "--trainer.max_epochs", "1"])
    last = str(tmp_path / "runs" / "version_0" / "checkpoints" / "last.ckpt")
    for change in (["--model.head.init_args.dropout", "0.9"], ["--model.head", "OrdinalHead"]):
        with pytest.raises(SystemExit, match="2"):
            main(["fit", "--config", path, "--ckpt_path", last, *change, "--accuracy_cost.policy", "PredictedN"])
        assert "Expected the head of the checkpoint, got another" in capsys.readouterr().err


def test_more_samples_than_curves_can_hold_are_refused_before_any_is_drawn(scripted_config: Make) -> None:
    with pytest.raises(T2Error, match="Expected at most 512 samples a question"):
        BudgetDataModule(replace(job_of(scripted_config()), samples_per_question=600), layers="all", grid=[1, 3])


def test_a_pool_with_other_sampling_is_refused_and_kept(scripted_config: Make) -> None:
    config = scripted_config(num_questions=40)
    job = job_of(config)
    label(job, SplitFractions())
    before = sorted(path.name for path in Path(job.path).rglob("*.parquet"))
    other = job_of(config, tokens_per_answer=9)
    with pytest.raises(T2Error, match=r"sampling.max_tokens: 4 in the pool, 9 asked"):
        label(other, SplitFractions())
    assert sorted(path.name for path in Path(job.path).rglob("*.parquet")) == before


def test_a_run_asks_nothing_of_questions_that_it_does_not_want(
    scripted_config: Make, labelled_config: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(labelled_config(num_questions=64))
    first = BudgetDataModule(job, layers="all", grid=[1, 3], max_epochs=1)
    first.setup("validate")
    first.teardown("validate")
    prepare(job_of(scripted_config(num_questions=96)))  # somebody has begun to grow the pool
    assert len(prepare(job).questions) == 96
    job = job_of(scripted_config(num_questions=64))
    again = BudgetDataModule(job, layers="all", grid=[1, 3], max_epochs=1)
    monkeypatch.setattr("t2.activations.features.in_parts", lambda *_: pytest.fail("the LLM was asked for features"))
    again.setup("validate")
    again.teardown("validate")
    assert again.features_QLD.shape[0] == len(again.prepared.prompts) == 64
    assert torch.equal(again.features_of("train"), first.features_of("train"))
    assert again.dedup_keys("test") == first.dedup_keys("test")


def test_features_of_another_llm_need_allow_proxy(labelled_config: Make, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaModel

    config = labelled_config(num_questions=64)
    other = tmp_path / "other"
    AutoTokenizer.from_pretrained(config["data"]["pool"]["model"]).save_pretrained(other)
    LlamaModel(
        LlamaConfig(vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
    ).save_pretrained(other)
    data = BudgetDataModule(job_of(config), layers="all", grid=[1, 3], max_epochs=1, allow_proxy=str(other))
    data.setup("validate")
    data.teardown("validate")
    assert data.head_shape == HeadShape(2, 16, (1, 3), (1, 3))
    info = data.export_info
    assert info.features.model_fingerprint != info.base_model.fingerprint
