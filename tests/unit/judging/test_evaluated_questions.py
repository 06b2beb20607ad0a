"""What a head is judged on: questions it has not learned from, features of the LLM it reads, samples of its model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.judged_heads import GRID, MODEL, NUM_QUESTIONS, SEEN, TOKENS, MakeHead, World, asked, fails

from t2.activations.cache import FeatureCache, FeatureSpec
from t2.activations.features import computed, pooled_features
from t2.errors import T2Error
from t2.export import key_digest
from t2.importing.command import import_file
from t2.model_files import resolve_model
from t2.prompts import PromptRenderer

# What is left out


def test_questions_with_a_seen_key_are_left_out_whatever_their_id(
    world: World, head: Path, seen_keys: list[str]
) -> None:
    found = asked(head, world.config)
    assert not set(found.pool.dedup_keys) & set(seen_keys)
    assert [question.id for question in found.questions] == list(found.pool.question_ids)
    assert len(found.prompts) == len(found.pooled_QLD) == len(found.pool) == NUM_QUESTIONS - SEEN
    assert found.labels.acc_QK.shape == (NUM_QUESTIONS - SEEN, len(GRID))


def test_a_head_without_a_record_is_judged_on_everything_and_a_note_says_so(world: World, make_head: MakeHead) -> None:
    found = asked(make_head(), world.config)
    assert (len(found.pool), found.left_out) == (NUM_QUESTIONS, None)
    assert "no record of the questions it has learned from" in found.notes[0]


def test_too_few_questions_are_one_clear_error(
    world: World, make_head: MakeHead, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keys = world.loaded().pool.dedup_keys[: NUM_QUESTIONS - 39]
    known = make_head(seen_questions=[key_digest(key) for key in keys])
    error = fails(capsys, known, world.config, "--out", tmp_path / "out")
    assert (
        f"at least 40 questions that the head has not learned from, for 5 folds, got 39 and {len(keys)} that" in error
    )
    assert not (tmp_path / "out").exists()
    everything = make_head(seen_questions=[key_digest(key) for key in world.loaded().pool.dedup_keys])
    assert "got 0 and 90 that it has learned from" in fails(capsys, everything, world.config)


def test_a_grid_beyond_the_pool_is_cut_and_a_note_says_so(world: World, make_head: MakeHead) -> None:
    found = asked(make_head(grid=(1, 3, 5, 16)), world.config)
    assert found.labels.grid == (1, 3, 5)
    assert any("budgets go up to 16; this pool allows 5" in note for note in found.notes)
    with pytest.raises(T2Error, match=r"Expected at least 9 samples of every question.*got 8 in pool pool"):
        asked(make_head(grid=(1, 9)), world.config)


def test_what_differs_from_training_is_noted(world: World, make_head: MakeHead) -> None:
    spec = world.loaded().spec
    other = make_head(
        prompt={**spec.prompt, "fingerprint": "x"},
        sampling={**spec.sampling, "temperature": 0.7},
        labels={"cost_unit": "samples"},
    )
    notes = " ".join(asked(other, world.config).notes)
    assert "The prompt (template, system line or worked examples) is not the one" in notes
    assert "temperature 0.7 then, 1.0 here" in notes
    assert "The head's cost is in samples, this pool's in tokens" in notes


# Features


def test_a_wider_cache_serves_without_the_llm(
    world: World, make_head: MakeHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything, fewer = asked(make_head(), world.config), make_head(layers=(2, 4))
    monkeypatch.setattr("t2.activations.features.load_frozen", None)
    assert torch.equal(asked(fewer, world.config).pooled_QLD, everything.pooled_QLD[:, [1, 3]])


def test_features_are_computed_once_and_come_back_through_bfloat16(world: World, tmp_path: Path) -> None:
    loaded, calls = world.loaded(), []
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (2, 3))

    def find() -> Path:
        calls.append(1)
        return MODEL

    first = pooled_features(tmp_path, spec, loaded.prompts[:3], find)
    again = pooled_features(tmp_path, spec, loaded.prompts[:3], find)
    assert torch.equal(first, again)
    assert calls == [1]
    assert torch.equal(first, computed(MODEL, loaded.prompts[:3], spec))


@pytest.mark.parametrize("content", ["no json", "[1]", "{}", '{"layers": 3}'])
def test_a_foreign_index_is_no_cache(world: World, tmp_path: Path, content: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.json").write_text(content)
    loaded = world.loaded()
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (1,))
    assert pooled_features(tmp_path, spec, loaded.prompts[:2], lambda: MODEL).shape == (2, 1, 128)


def test_a_cache_of_another_model_is_not_used(world: World, tmp_path: Path) -> None:
    loaded = world.loaded()
    other = FeatureSpec("f" * 64, (1, 2))
    FeatureCache(tmp_path, other).store(loaded.prompts[:2], torch.zeros(2, 2, 128))
    spec = FeatureSpec(loaded.spec.model["fingerprint"], (1,))
    assert bool(pooled_features(tmp_path, spec, loaded.prompts[:2], lambda: MODEL).any())


def test_neither_features_nor_the_llm_is_named(world: World, head: Path, tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"layers \[1, 2, 3, 4\] in .*none.*tiny-arith.*got neither.*`--proxy`"):
        asked(head, world.pool, grader="numeric", features=str(tmp_path / "none"))
    found = asked(head, world.pool, grader="numeric", features=str(tmp_path / "none"), proxy=str(MODEL))
    assert torch.equal(found.pooled_QLD, asked(head, world.config).pooled_QLD)


# Models


def test_a_pool_of_another_model_is_refused_and_the_difference_named(
    world: World, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    base = {"id": "org/other", "revision": None, "fingerprint": "a" * 64}
    reads = {"model_fingerprint": "a" * 64, "layers": [1, 2, 3, 4], "pooling": "last-token"}
    error = fails(capsys, make_head(base_model=base, features=reads), world.config)
    mine = world.loaded().spec.model["fingerprint"]
    assert f"a pool of org/other ({'a' * 12}...)" in error
    assert f"of tiny-arith ({mine[:12]}...)" in error
    error = fails(capsys, make_head(base_model=base, features=reads), world.config, "--proxy", MODEL)
    assert "got another" in error


def test_a_head_with_a_proxy_reads_it_on_samples_of_its_own_model(world: World, make_head: MakeHead) -> None:
    """The proxy here has the pool's tokens because it is the same LLM; the samples' model is what differs."""
    base = {"id": "some-api", "revision": None, "fingerprint": "b" * 64}
    mine = world.loaded().spec.model["fingerprint"]
    reads = {"model_fingerprint": mine, "layers": [1, 2, 3, 4], "pooling": "last-token", "model_id": str(MODEL)}
    api_head = make_head(base_model=base, features=reads)
    with pytest.raises(T2Error, match=r"Expected a pool of some-api .* got pool .* of tiny-arith"):
        asked(api_head, world.config)
    found = asked(api_head, world.config, proxy=str(MODEL))
    assert any("The samples are those of tiny-arith, the head learned from some-api's" in note for note in found.notes)


def test_samples_of_a_third_model_are_read_with_prompts_of_the_head_s_own(
    world: World, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Token ids of another tokenizer mean nothing to the LLM that the head reads."""
    shutil.copytree(world.pool, tmp_path / "pool")
    spec = json.loads((tmp_path / "pool" / "pool.json").read_text())
    spec["model"] |= {"id": "third", "fingerprint": "d" * 64}
    (tmp_path / "pool" / "pool.json").write_text(json.dumps(spec))
    with pytest.raises(T2Error, match=r"Expected a pool of tiny-arith .* of third \(d{12}"):
        asked(head, tmp_path / "pool", grader="numeric")
    monkeypatch.setattr(PromptRenderer, "ids", lambda renderer, text, name: [1, 5, len(text)])
    found = asked(head, tmp_path / "pool", grader="numeric", proxy=str(MODEL))
    assert found.prompts == tuple((1, 5, len(question.text)) for question in found.questions)
    assert any("The samples are those of third" in note for note in found.notes)


@pytest.fixture
def imported(world: World, tmp_path: Path) -> Path:
    """The questions with answers from a file, and a few samples more of one question."""
    lines = []
    for index, question in enumerate(world.loaded().questions):
        answers = [question.answer] * (3 + index % 3) + [f"{s}" for s in range(5 - index % 3)]
        row = {"id": question.id, "question": question.text, "answer": question.answer, "dedup_key": question.dedup_key}
        lines.append(json.dumps({**row, "samples": [{"answer": a, "tokens": TOKENS} for a in answers]}))
    (tmp_path / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    import_file(str(tmp_path / "samples.jsonl"), str(tmp_path / "imported"), model="some-api")
    return tmp_path / "imported"


def test_an_imported_pool_needs_the_head_s_llm(
    imported: Path, head: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "Expected `--proxy` with the LLM that the head reads (tiny-arith)" in fails(capsys, head, imported)
    found = asked(head, imported, proxy=str(MODEL))
    assert torch.equal(found.pooled_QLD, asked(head, world.config).pooled_QLD)  # the same prompts, rendered again
    assert any("The samples are those of some-api" in note for note in found.notes)
    assert not any("prompt" in note and "trained with" in note for note in found.notes)


def test_another_proxy_than_the_head_s_is_refused(
    imported: Path, make_head: MakeHead, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = {"model_fingerprint": "c" * 64, "layers": [1, 2, 3, 4], "pooling": "last-token", "model_id": "org/proxy"}
    mine = resolve_model(str(MODEL)).fingerprint
    error = fails(capsys, make_head(features=reads), imported, "--proxy", MODEL)
    assert "c" * 12 in error
    assert mine[:12] in error
