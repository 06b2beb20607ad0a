"""The LLM inside the LightningModule on a GPU: what it reads, what its adapter learns, and what memory that takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.backbones import LAYERS, PROMPTS, backbone_of, disturb, losses, ran
from helpers.targets import targets
from torch import Tensor
from transformers import LlamaConfig, LlamaModel

from t2.activations.lora import LoraSettings
from t2.heads import CurveHead, HeadShape
from t2.heads.base import Targets
from t2.training.backbone import Backbone, padded
from t2.training.module import BudgetProbe

pytestmark = pytest.mark.gpu

Make = Callable[..., dict[str, Any]]
CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)], ids=["frozen", "lora"])
@pytest.mark.parametrize("pooling", ["last-token", "mean", "attention"])
def test_it_reads_as_on_the_cpu(tiny_arith: str, pooling: str, lora: LoraSettings | None) -> None:
    backbone = backbone_of(tiny_arith, pooling=pooling, lora=lora).eval()
    disturb(backbone)
    expected_BLD, learned = backbone(padded(PROMPTS, CPU)), backbone.learned
    backbone.to(GPU)
    found_BLD = backbone(padded(PROMPTS, GPU))
    assert found_BLD.device.type == "cuda"
    torch.testing.assert_close(found_BLD.cpu(), expected_BLD, rtol=0.01, atol=0.02)  # both are rounded to bf16
    alone_BLD = torch.cat([backbone(padded([prompt], GPU)) for prompt in PROMPTS])
    torch.testing.assert_close(alone_BLD, found_BLD, rtol=0.01, atol=0.02)
    features_QLD = backbone.features(PROMPTS)
    assert features_QLD.device.type == "cpu"
    torch.testing.assert_close(features_QLD, expected_BLD, rtol=0.01, atol=0.02)
    # What has been trained is taken off the GPU for a checkpoint, and put back there.
    assert backbone.learned.fingerprint == learned.fingerprint
    assert all(tensor.device.type == "cpu" for tensor in backbone.learned.tensors.values())
    disturb(backbone, seed=1)
    backbone.load_learned(learned.tensors, "the test")
    assert backbone.learned.fingerprint == learned.fingerprint
    assert all(parameter.device.type == "cuda" for parameter in backbone.parameters())


@pytest.mark.parametrize("pooling", ["last-token", "attention"])
def test_gradients_are_those_of_the_cpu(tiny_arith: str, pooling: str) -> None:
    backbone = backbone_of(tiny_arith, pooling=pooling, lora=LoraSettings(rank=2)).train()
    disturb(backbone)
    expected = gradients(backbone, CPU)
    found = gradients(backbone.to(GPU), GPU)
    assert len(expected) > 10
    for name, gradient in expected.items():  # of rounded activations, hence not to the last digits
        torch.testing.assert_close(found[name], gradient, rtol=0.02, atol=0.02 * float(gradient.abs().max()), msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_that_are_run_again_give_the_same_gradients_with_less_memory(dtype: torch.dtype) -> None:
    kept, kept_mib = gradients_and_peak(dtype, again=False)
    run_again, run_again_mib = gradients_and_peak(dtype, again=True)
    assert len(kept) > 10
    assert all(bool(gradient.any()) for gradient in kept.values())
    for name, gradient in kept.items():
        torch.testing.assert_close(run_again[name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))
    assert run_again_mib < 0.7 * kept_mib


def test_an_adapter_learns_and_the_llm_stays_as_it_is(tiny_arith: str) -> None:
    torch.manual_seed(0)
    backbone = backbone_of(tiny_arith, lora=LoraSettings(), gradient_checkpointing=True).to(GPU).train()
    head = CurveHead(HeadShape(len(LAYERS), 128, (1, 3, 5), (1, 3)), num_atoms=4, dropout=0.0).to(GPU)
    acc_BK, n_star_B = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), torch.tensor([0, 1, 0])
    of_cpu = targets(acc_BK, n_star_B, torch.tensor([False, False, True]), torch.tensor([3.0, 4.0, 5.0]), n_star_B)
    of_gpu = Targets(*(value.to(GPU) for value in of_cpu))
    head.start_stage(backbone.features(PROMPTS).to(GPU), of_gpu)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    trained = [p for module in (backbone, head) for p in module.parameters() if p.requires_grad]
    optimizer, batch, history = torch.optim.AdamW(trained, lr=1e-2), padded(PROMPTS, GPU), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = head.loss(head(backbone(batch)), of_gpu)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.5 * history[0]
    changed = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)


def test_cached_and_frozen_train_alike(labelled_config: Make, tmp_path: Path) -> None:
    """To rounding, whether features were read before or in each step; and the steps are done on the GPU."""
    config = labelled_config()
    config["trainer"]["accelerator"] = "gpu"
    config["data"]["features"] = str(tmp_path / "read on the GPU")
    cached, _ = ran(config, tmp_path, "cached")
    frozen, head = ran(config, tmp_path, "frozen", backbone="frozen")
    assert len(losses(cached)) >= 8
    assert losses(frozen) == pytest.approx(losses(cached), rel=2e-3)
    assert not (head / "adapter").exists()


def test_the_module_predicts_from_token_ids(tiny_arith: str) -> None:
    probe = BudgetProbe(lambda shape: CurveHead(shape, num_atoms=4), layers=list(LAYERS), backbone="frozen")
    probe.build(HeadShape(len(LAYERS), 128, (1, 3, 5), (1, 3)))
    probe.backbone = backbone_of(tiny_arith)
    expected = probe.eval()(PROMPTS)
    found = probe.to(GPU)(PROMPTS)
    assert found.accuracy_BK.device.type == "cuda"
    torch.testing.assert_close(found.accuracy_BK.cpu(), expected.accuracy_BK, rtol=0, atol=1e-3)


def gradients(backbone: Backbone, device: torch.device) -> dict[str, Tensor]:
    """Of everything that is trained, on the CPU."""
    backbone.zero_grad()
    backbone(padded(PROMPTS, device)).square().mean().backward()
    of = {name: p.grad for name, p in backbone.named_parameters() if p.requires_grad}
    return {name: gradient.cpu().clone() for name, gradient in of.items()}


def gradients_and_peak(dtype: torch.dtype, again: bool) -> tuple[dict[str, Tensor], float]:
    """Of a batch through a model whose activations are many times its weights, and the memory beyond these, in MiB."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 8, "num_attention_heads": 4}
    model = LlamaModel(LlamaConfig(vocab_size=100, **sizes)).to(dtype).eval().requires_grad_(False)
    settings = LoraSettings(rank=2)
    backbone = Backbone(model, (4, 8), lora=settings, gradient_checkpointing=again).to(GPU).train()
    disturb(backbone)
    batch = padded([[(7 * row + token) % 99 + 1 for token in range(128)] for row in range(32)], GPU)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    backbone(batch).square().mean().backward()
    peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
    return {name: p.grad.cpu() for name, p in backbone.named_parameters() if p.requires_grad}, peak_mib
