"""The LLM inside the LightningModule: frozen, or with an adapter that is trained with the head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.backbones import PROMPTS, backbone_of, disturb, losses, ran
from helpers.scripted import job_of
from safetensors.torch import load_file

import t2
from data_modules import BudgetDataModule
from t2.activations.backbone import load_frozen
from t2.activations.lora import LoraSettings
from t2.activations.pooling import Padded
from t2.errors import T2Error
from t2.heads import CurveHead
from t2.training.backbone import Backbone, padded
from t2.training.module import BudgetProbe
from train import main

Make = Callable[..., dict[str, Any]]
CPU = torch.device("cpu")


# What it reads


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_a_fresh_adapter_reads_what_the_frozen_llm_does(tiny_arith: str, gradient_checkpointing: bool) -> None:
    batch = padded(PROMPTS, CPU)
    expected_BLD = backbone_of(tiny_arith)(batch)
    adapted = backbone_of(tiny_arith, lora=LoraSettings(), gradient_checkpointing=gradient_checkpointing).train()
    torch.testing.assert_close(adapted(batch), expected_BLD, rtol=0, atol=0.02)
    torch.testing.assert_close(adapted.features(PROMPTS), expected_BLD, rtol=0, atol=0.02)


@pytest.mark.parametrize("pooling", ["last-token", "mean", "attention"])
def test_a_batch_reads_as_each_prompt_alone_does(tiny_arith: str, pooling: str) -> None:
    backbone = backbone_of(tiny_arith, pooling=pooling, lora=LoraSettings()).eval()
    disturb(backbone)
    together_BLD = backbone(padded(PROMPTS, CPU))
    alone_BLD = torch.cat([backbone(padded([prompt], CPU)) for prompt in PROMPTS])
    torch.testing.assert_close(together_BLD, alone_BLD, rtol=0.01, atol=0.02)  # bf16 rounds up here and down there
    torch.testing.assert_close(backbone.features(PROMPTS), together_BLD, rtol=0.01, atol=0.02)


def test_gradients_are_the_same_with_blocks_run_again(tiny_arith: str) -> None:
    gradients = []
    for again in (False, True):
        torch.manual_seed(1)
        backbone = backbone_of(tiny_arith, lora=LoraSettings(rank=2), gradient_checkpointing=again).train()
        disturb(backbone)
        backbone(padded(PROMPTS, CPU)).square().mean().backward()
        gradients.append({name: p.grad for name, p in backbone.named_parameters() if p.requires_grad})
    kept, run_again = gradients
    assert len(kept) > 10
    assert all(gradient is not None and bool(gradient.any()) for gradient in kept.values())
    for name, gradient in kept.items():
        torch.testing.assert_close(run_again[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_blocks_really_are_run_again(tiny_arith: str) -> None:
    backbone = backbone_of(tiny_arith, lora=LoraSettings(), gradient_checkpointing=True).train()
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    backbone.model.base_model.model.layers[0].mlp.register_forward_pre_hook(count)
    backbone(padded(PROMPTS, CPU)).sum().backward()
    assert runs == 2


def test_only_the_adapter_and_the_queries_are_trained(tiny_arith: str) -> None:
    trained = {n for n, p in backbone_of(tiny_arith, pooling="attention").named_parameters() if p.requires_grad}
    assert trained == {"pool.query_LD"}
    adapted = backbone_of(tiny_arith, lora=LoraSettings(targets=("q_proj",), layers=(2,)))
    trained = {n for n, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) == 2
    assert all(".layers.1.self_attn.q_proj.lora_" in name for name in trained)
    assert not backbone_of(tiny_arith).is_trained


def test_prompts_are_read_once_by_the_same_weights(tiny_arith: str) -> None:
    backbone = backbone_of(tiny_arith, lora=LoraSettings()).eval()
    first_QLD = backbone.features(PROMPTS)
    runs = []
    handle = backbone.model.register_forward_hook(lambda *_: runs.append(1))
    assert torch.equal(backbone.features(PROMPTS), first_QLD)
    assert not runs
    disturb(backbone)
    assert not torch.equal(backbone.features(PROMPTS), first_QLD)
    assert runs
    handle.remove()


def test_weights_come_back(tiny_arith: str) -> None:
    options: dict[str, Any] = {"pooling": "attention", "lora": LoraSettings(rank=2)}
    trained, fresh = backbone_of(tiny_arith, **options).eval(), backbone_of(tiny_arith, **options).eval()
    disturb(trained)
    fresh.load_learned(trained.learned.tensors, "the test")
    assert torch.equal(fresh.features(PROMPTS), trained.features(PROMPTS))
    assert fresh.learned.fingerprint == trained.learned.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.popitem(), r"Expected an adapter for this LLM in the test, got one of another"),
        (lambda tensors: tensors.update({"adapter.more": torch.zeros(1)}), r"the first that differs is 'more'"),
        (lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(3, 3)}), "Expected an adapter for this LLM"),
    ],
)
def test_an_adapter_of_another_llm(tiny_arith: str, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    backbone = backbone_of(tiny_arith, lora=LoraSettings(rank=2))
    tensors = dict(backbone.learned.tensors)
    change(tensors)
    with pytest.raises(T2Error, match=message):
        backbone.load_learned(tensors, "the test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": ("c_attn",)}, r"Expected `model\.lora\.targets` that name linear maps"),
        ({"layers": (5,)}, r"Expected `model\.lora\.layers` between 1 and 4, the highest tapped layer, got \[5\]"),
        ({"rank": 0}, "a rank of at least 1, alpha above 0 and a dropout in"),
    ],
)
def test_an_adapter_that_does_not_fit(tiny_arith: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        backbone_of(tiny_arith, lora=LoraSettings(**settings))


# In training


def test_cached_and_frozen_train_alike(labelled_config: Make, tmp_path: Path) -> None:
    """To rounding: the same features, whether they were read before or in each step."""
    config = labelled_config()
    cached, _ = ran(config, tmp_path, "cached")
    frozen, head = ran(config, tmp_path, "frozen", backbone="frozen")
    assert len(losses(cached)) >= 8
    assert losses(frozen) == pytest.approx(losses(cached), rel=2e-3)
    checkpoint = torch.load(frozen / "checkpoints" / "best.ckpt", weights_only=True)
    assert not any(name.startswith("backbone") for name in checkpoint["state_dict"]), "the LLM is in no checkpoint"
    assert not (head / "adapter").exists()


def test_frozen_needs_no_cache(labelled_config: Make, tmp_path: Path) -> None:
    config = labelled_config()
    config["data"]["features"] = str(tmp_path / "no features")
    ran(config, tmp_path, "frozen", backbone="frozen")
    assert not (tmp_path / "no features").exists()


@pytest.fixture(scope="module")
def lora_run(
    tmp_path_factory: pytest.TempPathFactory, labelled_pool: Callable[..., Path]
) -> tuple[dict[str, Any], Path, Path, Path]:
    """A fit with an adapter and learned queries: config, folder, run, export."""
    import shutil

    from helpers.scripted import config_in

    folder = tmp_path_factory.mktemp("lora")
    shutil.copytree(labelled_pool(96, 8), folder / "pool")
    config = config_in(folder, 96, 8)
    config["decision"] = {"mode": "configured"}
    config["data"]["batch_size"] = 8  # the adapter moves from the second step on: a head begins with weights of zero
    model = {"backbone": "lora", "lora": {"rank": 2}, "pooling": "attention", "gradient_checkpointing": True}
    run, head = ran(config, folder, "lora", **model)
    return {**config, "model": config["model"] | model}, folder, run, head


def test_an_adapter_is_in_checkpoint_export_and_card(lora_run: Any, tiny_arith: str) -> None:
    _, _, run, folder = lora_run
    content = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert all(name.startswith("head.") or "metrics" in name for name in content["state_dict"])
    exported = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert exported.keys() == {n.removeprefix("adapter.") for n in content["t2_learned"] if n.startswith("adapter.")}
    assert any(bool(tensor.any()) for name, tensor in exported.items() if "lora_B" in name), "it was trained"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "LoRA adapter" in card
    assert "second pass" in card
    head = t2.BudgetHead.from_pretrained(folder)
    assert head.features.lora is not None
    assert head.features.lora.rank == 2
    assert head.features.pooling == "attention"


def test_peft_loads_the_exported_adapter(lora_run: Any, tiny_arith: str) -> None:
    """With its own reader, onto the LLM's decoder."""
    from peft import PeftModel

    _, _, _, folder = lora_run
    model = load_frozen(tiny_arith, device="cpu")
    adapted = PeftModel.from_pretrained(model, folder / "adapter")
    expected = load_file(folder / "adapter" / "adapter_model.safetensors")
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(adapted)
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_an_export_reads_as_the_run_did(lora_run: Any, tiny_arith: str) -> None:
    """Activations of the export, loaded anew, give the metrics that were recorded on validation."""
    config, _, _, folder = lora_run
    head = t2.BudgetHead.from_pretrained(folder)
    data = BudgetDataModule(job_of(config), layers="all", grid=config["data"]["grid"], backbone="frozen", max_epochs=4)
    data.setup("validate")
    data.teardown("validate")
    rows = data._rows["validation"]
    pooled_BLD = head.activations([data.prepared.questions[row].text for row in rows], tiny_arith)
    assert head.record.metrics is not None
    assert head.record.metrics.samples is not None
    assert float(head.budgets(pooled_BLD).double().mean()) == pytest.approx(head.record.metrics.samples.value, abs=0.3)
    plain = t2.BudgetHead(head.record, head.head)
    assert plain.feature_spec != head.feature_spec, "features with an adapter never share a cache with those without"


def test_a_run_with_an_adapter_is_resumed_and_tested(
    lora_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, folder, run, _ = lora_run
    path = folder / "again.yaml"
    path.write_text(yaml.safe_dump({**config, "export": {"folder": str(tmp_path / "head")}}), encoding="utf-8")
    last = str(run / "checkpoints" / "last.ckpt")
    main(["fit", "--config", str(path), "--ckpt_path", last, "--trainer.max_epochs", "5"])
    before, after = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (lora_run[3], tmp_path / "head"))
    assert before.keys() == after.keys()
    main(["test", "--config", str(path), "--ckpt_path", last])
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(["test", "--config", str(path), "--ckpt_path", last, "--model.lora.rank", "3"])
    assert "Expected the features of the checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["cross_validate", "--config", str(path)])
    assert "cached" in capsys.readouterr().err


def test_an_adapter_is_decided_by_validation_questions(lora_run: Any, tmp_path: Path) -> None:
    config, folder, _, _ = lora_run
    config = {
        **config,
        "decision": {"mode": "evidence"},
        "data": {**config["data"], "splits": {"train": 0.25, "validation": 0.5}},
    }
    _, head = ran(config, folder, "evidence")
    decision = t2.BudgetHead.from_pretrained(head).record.decision
    assert decision is not None
    assert decision.basis == "validation"
    assert "validation questions, which chose the checkpoint too" in decision.why


def test_the_module_predicts_from_token_ids_as_from_features(labelled_config: Make, tiny_arith: str) -> None:
    config = labelled_config(num_questions=64)
    data = BudgetDataModule(job_of(config), layers="all", grid=config["data"]["grid"], max_epochs=1)
    data.setup("validate")
    data.teardown("validate")
    probe = BudgetProbe(lambda shape: CurveHead(shape, num_atoms=8), layers="all", backbone="frozen")
    probe.build(data.head_shape).eval()
    probe.backbone = Backbone.load(Path(tiny_arith), data.feature_layers)
    prompts = [data.prepared.prompts[row] for row in data._rows["validation"]]
    from_ids, from_features = probe(prompts), probe(data.features_of("validation"))
    torch.testing.assert_close(from_ids.accuracy_BK, from_features.accuracy_BK, atol=2e-3, rtol=0)
    assert all(not parameter.requires_grad for parameter in probe.backbone.parameters())
    cached = BudgetProbe(lambda shape: CurveHead(shape, num_atoms=8), layers="all")
    cached.build(data.head_shape)
    with pytest.raises(T2Error, match=r"Expected an LLM for token ids, got `model\.backbone: cached`"):
        cached(prompts)


def test_queries_cannot_be_trained_on_cached_features(labelled_config: Make) -> None:
    with pytest.raises(T2Error, match=r"Expected `model\.backbone: frozen` or `lora` for `model\.pooling: attention`"):
        BudgetDataModule(job_of(labelled_config()), layers="all", grid=[1, 3], pooling="attention")


def test_padded_rows_are_the_prompts() -> None:
    batch = padded(PROMPTS, CPU)
    assert isinstance(batch, Padded)
    assert batch.rows == PROMPTS
