"""From questions as texts to budgets, by an exported head and the LLM that it reads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.judged_heads import MODEL, MakeHead, World, asked

from t2.activations.cache import FeatureSpec
from t2.activations.features import computed
from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.model_files import resolve_model
from t2.prompts import PromptRenderer, load_tokenizer
from t2.spec import PromptSpec


def test_texts_give_what_the_pool_s_features_give(world: World, make_head: MakeHead) -> None:
    """They were not rounded as a pool's features are, so served budgets could differ from those that were evaluated."""
    head, pool = BudgetHead.from_pretrained(make_head()), asked(make_head(), world.config)
    pooled_BLD = head.activations([question.text for question in pool.questions], MODEL)
    assert pooled_BLD.dtype == torch.float32
    assert torch.equal(pooled_BLD, pool.pooled_QLD)  # bit by bit, as a cache keeps them: in bfloat16
    assert head.budgets(pooled_BLD).shape == (len(pool.questions),)


def test_a_head_that_names_its_llm_needs_no_other_name(world: World, make_head: MakeHead) -> None:
    features = BudgetHead.from_pretrained(make_head()).record.features
    assert features is not None
    named = replace(features, model_id=str(MODEL)).as_json()
    head = BudgetHead.from_pretrained(make_head(features=named))
    assert torch.equal(head.activations(["12+7"]), head.activations(["12+7"], MODEL))


def test_another_llm_is_refused_before_it_is_loaded(
    make_head: MakeHead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("t2.activations.features.load_frozen", None)
    head = BudgetHead.from_pretrained(make_head(features={"model_fingerprint": "c" * 64, "layers": [1, 2, 3, 4]}))
    with pytest.raises(T2Error, match=r"Expected the model tiny-arith \(c{12}\.\.\.\), got another"):
        head.activations(["12+7"], MODEL)
    with pytest.raises(T2Error, match="no such folder"):
        head.activations(["12+7"], tmp_path / "none")


def test_another_prompt_is_refused(make_head: MakeHead, world: World) -> None:
    head = BudgetHead.from_pretrained(make_head(prompt={**world.loaded().spec.prompt, "system": "Say it in French."}))
    with pytest.raises(T2Error, match="Expected the chat template that the head was trained with"):
        head.activations(["12+7"], MODEL)


def test_a_head_asks_with_the_day_and_the_arguments_of_its_training(
    make_head: MakeHead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served on a later day it read another prompt than it was trained on, under the same fingerprint."""
    path = tmp_path / "dated.jinja"
    path.write_text("<s>{{ strftime_now('%d') }}{% if twice %};{% endif %}{{ messages[-1].content }}=")
    spec = PromptSpec(str(path), template_arguments={"twice": True})
    trained = PromptRenderer.of(load_tokenizer(MODEL), spec, began="2026-11-29")
    monkeypatch.setattr("t2.prompts.renderer.today", lambda: "2030-01-07")
    head = BudgetHead.from_pretrained(make_head(prompt=trained.recorded))
    assert (head.prompt.date, head.prompt.template_arguments) == ("2026-11-29", {"twice": True})
    files = resolve_model(str(MODEL))
    expected = computed(files.folder, [trained.ids("12+7")], FeatureSpec(files.fingerprint, head.layers))
    assert torch.equal(head.activations(["12+7"], MODEL), expected)
