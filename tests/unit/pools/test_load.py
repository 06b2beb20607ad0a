"""`load_pool`: any pool as graded samples, without model or tokenizer, and every caveat as a note."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import t2.pools.load
from t2.curves.labels import accuracy_on_grid
from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.importing.command import import_file
from t2.pools.load import LoadedPool, load_pool
from t2.spec import GREEDY_DRAW, Question, Sample, SampleRequest, SampleResult, SamplingSettings
from t2.store.pool_spec import PoolSpec, check_or_create_spec
from t2.store.schema import PoolPaths
from t2.store.writer import ShardWriter, write_questions
from t2.voting import ABSTAINED

ROOT = Path(__file__).parents[3]
SPEC = PoolSpec(
    {"id": "m", "revision": None, "fingerprint": "f", "num_layers": 4, "width": 8},
    {"template": "chat", "system": "", "shots": [], "fingerprint": "e"},
    SamplingSettings().as_json(),
)


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[..., Path]:
    """A pool as t2 label leaves it: the draws of each question; right answers are 7."""

    def make(**draws: tuple[int, ...]) -> Path:
        paths = PoolPaths(tmp_path / "live")
        check_or_create_spec(paths, SPEC)
        questions = [Question(name, f"text of {name}", "7", name) for name in draws]
        write_questions(paths, questions, [(1, 2, 3)] * len(questions))
        writer = ShardWriter(paths, engine_seed=1, attempt=1, name="w")
        for name, numbers in draws.items():
            drawn = tuple(Sample((5, 6), f"#### {7 + (draw % 2)}", "stop") for draw in numbers)
            writer.append(SampleResult(SampleRequest(name, (1, 2, 3), numbers), drawn))
        writer.flush()
        return paths.root

    return make


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Path]:
    """A pool made of lists of answers; the gold answer is 7."""

    def make(*answers: list[Any], tokens: int | None = 3, **fields: Any) -> Path:
        file, pool = tmp_path / "s.jsonl", tmp_path / "imported"
        common = {} if tokens is None else {"tokens": tokens}
        rows = [
            {"id": f"q{i}", "question": "?", "answer": 7, "samples": [{"answer": a, **common} for a in row], **fields}
            for i, row in enumerate(answers)
        ]
        file.write_text("\n".join(map(json.dumps, rows)))
        import_file(str(file), str(pool), model="api")
        return pool

    return make


def config_of(tmp_path: Path, pool: Path, task: dict[str, Any], samples: int, **more: Any) -> Path:
    path = tmp_path / "config.yaml"
    content = {"path": str(pool), "model": "m", "task": task, "samples_per_question": samples, **more}
    path.write_text(yaml.safe_dump({"data": {"pool": content}}))
    return path


def ids(loaded: LoadedPool) -> list[str]:
    assert [question.id for question in loaded.questions] == list(loaded.pool.question_ids)
    assert len(loaded.prompts) == len(loaded.questions)
    return list(loaded.pool.question_ids)


FULL = (GREEDY_DRAW, 0, 1, 2, 3)


# Labelled pools


def test_a_labelled_pool_from_its_folder(labelled: Callable[..., Path]) -> None:
    loaded = load_pool(labelled(a=FULL, b=FULL), "numeric")
    assert (loaded.name, loaded.cost_unit, loaded.notes) == ("live", "tokens", ())
    assert loaded.grader == NumericGrader().version
    assert loaded.spec == SPEC
    assert loaded.prompts == ((1, 2, 3), (1, 2, 3))
    assert loaded.pool.right_QM.tolist() == [[True, False, True, False]] * 2
    assert loaded.pool.greedy_present_Q.tolist() == [True, True]
    assert loaded.pool.prompt_tokens_Q.tolist() == [3, 3]


def test_every_report_says_that_weights_are_quantised(labelled: Callable[..., Path]) -> None:
    root = labelled(a=(GREEDY_DRAW, 0, 1))
    spec = json.loads((root / "pool.json").read_text())
    (root / "pool.json").write_text(json.dumps(spec | {"model": spec["model"] | {"quantization": "awq"}}))
    loaded = load_pool(root, "numeric")
    assert loaded.notes[0].startswith("The weights of m are quantised (awq): ")
    assert loaded.source_notes == loaded.notes
    # It says what the config says, which the fingerprint is of: a pool that is older goes on.
    check_or_create_spec(PoolPaths(root), SPEC)


def test_unfinished_questions_of_a_live_pool_are_left_out(labelled: Callable[..., Path]) -> None:
    pool = labelled(a=FULL, b=(GREEDY_DRAW, 0, 1), c=(0, 1, 2, 3), d=(), e=FULL)
    loaded = load_pool(pool, "numeric")
    assert ids(loaded) == ["a", "e"]
    assert loaded.notes == ("3 of 5 questions are left out: they have not 4 samples and a greedy answer yet.",)
    loaded = load_pool(pool, "numeric", min_samples=2)
    assert ids(loaded) == ["a", "b", "e"]
    assert loaded.pool.present_QM.sum(1).tolist() == [4, 2, 4]
    assert any(note.startswith("Questions have 2 to 4 samples: budgets go up to 2.") for note in loaded.notes)


def test_fewer_samples_than_there_are(labelled: Callable[..., Path]) -> None:
    loaded = load_pool(labelled(a=FULL, b=(GREEDY_DRAW, 0, 1)), "numeric", max_samples=2)
    assert ids(loaded) == ["a", "b"]
    assert loaded.pool.right_QM.tolist() == [[True, False]] * 2
    assert loaded.notes == ("Only the first 2 of up to 4 samples of each question are used.",)


def test_a_pool_where_nothing_is_finished(labelled: Callable[..., Path]) -> None:
    with pytest.raises(T2Error, match=r"at least 2 samples in .*live, got none that also has its greedy answer"):
        load_pool(labelled(a=(0, 1), b=(GREEDY_DRAW, 0)), "numeric")


def test_a_labelled_pool_does_not_guess_its_grader(labelled: Callable[..., Path], tmp_path: Path) -> None:
    """ "numeric" was taken, which reads the number after ####; a pool with another marker lost all its votes."""
    pool = labelled(a=FULL)
    with pytest.raises(T2Error, match=r"does not record how its answers are read\. Name the config that fills it"):
        load_pool(pool)
    task: dict[str, Any] = {"class_path": "PoolTask", "init_args": {"path": str(pool)}}
    with pytest.raises(T2Error, match="or the grader, as numeric"):
        load_pool(config_of(tmp_path, pool, task, 4))
    task["init_args"]["grader"] = "numeric"
    assert load_pool(config_of(tmp_path, pool, task, 4)).grader == NumericGrader().version


def test_a_labelled_pool_has_no_given_grades(labelled: Callable[..., Path]) -> None:
    with pytest.raises(T2Error, match=r"Expected grades that were imported .* Choose another grader than 'given'"):
        load_pool(labelled(a=FULL), grader="given")


# Configs


def test_a_config_says_which_questions_count_and_how(labelled: Callable[..., Path], tmp_path: Path) -> None:
    pool = labelled(a=FULL, b=FULL, c=FULL)
    rows = [{"id": name, "question": f"text of {name}", "answer": "7", "family": "f"} for name in ("c", "a", "new")]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    task = {"class_path": "JsonlTask", "init_args": {"path": str(tmp_path / "questions.jsonl"), "grader": "exact"}}
    loaded = load_pool(config_of(tmp_path, pool, task, 3))
    assert ids(loaded) == ["a", "c"]
    assert loaded.pool.families == ("f", "f")
    assert loaded.pool.vote_QM.shape == (2, 3)
    assert loaded.grader == "exact-2-####"
    assert loaded.notes == (
        "1 of 3 questions are left out: they have not 3 samples and a greedy answer yet.",
        "Only the first 3 of up to 4 samples of each question are used.",
    )
    assert load_pool(config_of(tmp_path, pool, task, 3), grader="numeric").grader == NumericGrader().version
    with pytest.raises(T2Error, match=r"at least 5 samples .* or `data\.pool\.samples_per_question`"):
        load_pool(config_of(tmp_path, pool, task, 5))


def test_a_changed_question_is_refused(labelled: Callable[..., Path], tmp_path: Path) -> None:
    pool = labelled(a=FULL)
    (tmp_path / "questions.jsonl").write_text(json.dumps({"id": "a", "question": "other", "answer": "7"}))
    task = {"class_path": "JsonlTask", "init_args": {"path": str(tmp_path / "questions.jsonl")}}
    with pytest.raises(T2Error, match="Expected question 'a' as it is in the pool"):
        load_pool(config_of(tmp_path, pool, task, 4))


def test_a_config_with_pool_task(imported: Callable[..., Path], tmp_path: Path) -> None:
    pool = imported([7, 7, 8], ["7.0", 7, 7], [7])
    task: dict[str, Any] = {"class_path": "PoolTask", "init_args": {"path": str(pool)}}
    loaded = load_pool(config_of(tmp_path, pool, task, 3))
    assert (ids(loaded), loaded.grader) == (["q0", "q1"], "given")
    assert loaded.pool.right_QM.tolist() == [[True, True, False], [False, True, True]]
    task["init_args"]["grader"] = "numeric"
    assert load_pool(config_of(tmp_path, pool, task, 3)).pool.right_QM.tolist()[1] == [True, True, True]


def test_pool_task_of_no_pool(tmp_path: Path) -> None:
    task = {"class_path": "PoolTask", "init_args": {"path": str(tmp_path / "nothing")}}
    with pytest.raises(T2Error, match=r"Expected a pool, got no .*nothing/pool\.json"):
        load_pool(config_of(tmp_path, tmp_path / "nothing", task, 3))


# Imported pools


def test_an_imported_pool(imported: Callable[..., Path]) -> None:
    loaded = load_pool(imported([7, 8], [9, 7], prompt_tokens=5, greedy={"answer": 7, "tokens": 2}))
    assert (loaded.name, loaded.grader, loaded.cost_unit, loaded.notes) == ("imported", "given", "tokens", ())
    assert loaded.prompts == ((), ())
    assert loaded.pool.prompt_tokens_Q.tolist() == [5, 5]
    assert loaded.spec.model["id"] == "api"
    assert loaded.description == "Pool imported: samples of api, imported from s.jsonl; grader given; cost in tokens."


def test_what_an_import_does_not_know_is_noted(imported: Callable[..., Path], tmp_path: Path) -> None:
    notes = load_pool(imported([7, 8, 7], [], [8])).notes
    assert notes == (
        "1 of 3 questions are left out: they have fewer than 1 samples.",
        "Prompt tokens of 2 questions are unknown: total tokens leave them out.",
        "Questions have 1 to 3 samples: budgets go up to 1. "
        "A larger `min_samples` leaves out the questions that have few.",
        "No greedy answer of 2 of 2 questions: nothing is compared with greedy decoding.",
    )
    # A report that measures the samples says the last two itself.
    assert load_pool(tmp_path / "imported").source_notes == notes[:2]


def test_no_correct_answer_anywhere_is_noted(imported: Callable[..., Path]) -> None:
    loaded = load_pool(imported([8, 9], tokens=None, greedy={"answer": 7}))
    assert loaded.notes[0].startswith("Cost is in samples")
    assert loaded.notes[-1] == "No sample is correct by grader 'given'. Is it the right one?"


def test_a_grader_that_reads_nothing_is_noted(imported: Callable[..., Path]) -> None:
    loaded = load_pool(imported(["few", "many"]), grader="numeric")
    assert loaded.pool.vote_QM.tolist() == [[ABSTAINED, ABSTAINED]]
    assert "All samples abstain: grader 'numeric-3-####-1' reads no answer in any of them." in loaded.notes[-1]


def test_a_grader_that_reads_hardly_anything_is_noted(imported: Callable[..., Path]) -> None:
    loaded = load_pool(imported(["few", "many", 7, "some"], ["several", 7, 7, "none"]), grader="numeric")
    assert (
        loaded.notes[-1] == "5 of 8 finished samples abstain: grader 'numeric-3-####-1' reads no answer in them. "
        "Is it the right one?"
    )
    half = load_pool(loaded.root, grader="given")
    assert not any("abstain" in note for note in half.notes)


def test_samples_that_are_all_cut_off_are_no_fault_of_the_grader(tmp_path: Path) -> None:
    row = {"id": "q", "question": "?", "answer": 7, "samples": [{"answer": 7, "finish_reason": "length"}] * 2}
    (tmp_path / "s.jsonl").write_text(json.dumps(row))
    import_file(str(tmp_path / "s.jsonl"), str(tmp_path / "pool"))
    assert load_pool(tmp_path / "pool").notes[-1] == "All samples abstain: none of them finished."


def test_min_samples_leaves_out_ragged_questions(imported: Callable[..., Path]) -> None:
    pool = imported([7, 8, 7], [7], [8, 8, 8], [8, 7])
    assert ids(load_pool(pool, min_samples=2)) == ["q0", "q2", "q3"]
    assert ids(load_pool(pool, min_samples=3)) == ["q0", "q2"]
    with pytest.raises(T2Error, match=r"Expected a question with at least 4 samples in .*imported, got none\. Lower"):
        load_pool(pool, min_samples=4)


def test_more_samples_than_curves_can_hold_are_cut(
    imported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t2.pools.load, "MAX_SAMPLES", 2)
    loaded = load_pool(imported([7, 8, 7]))
    assert loaded.pool.vote_QM.shape == (1, 2)
    assert any("Only the first 2 of up to 3 samples" in note and "exact curves" in note for note in loaded.notes)


def test_curves_of_an_imported_pool_against_a_closed_form(imported: Callable[..., Path]) -> None:
    """2 right of 4, rivals apart: A(1) = 1/2, and 2 of 3 draws are right or 1 right ties two rivals."""
    pool = load_pool(imported([7, 7, 8, 9])).pool
    two_right, one_right = 2 / 4, 2 / 4  # C(2,2) C(2,1) / C(4,3) and C(2,1) C(2,2) / C(4,3)
    expected = torch.tensor([[1 / 2, two_right + one_right / 3, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(accuracy_on_grid(pool, (1, 3, 4)), expected)


def test_neither_model_nor_tokenizer_is_needed(
    imported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = imported([7, 8])
    for module in ("transformers", "vllm", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, module, None)
    assert len(load_pool(pool).pool) == 1
    assert len(load_pool(ROOT / "configs" / "tiny-arith.yaml", max_samples=2).pool) == 600


# Bad sources


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, r"Expected a pool folder or a YAML config, got .*missing: no such file or folder"),
        ("s.jsonl", "{}", r"Make it a pool: t2 import .*s\.jsonl --pool FOLDER"),
        ("c.yaml", "data: 3", r"Expected the key `data\.pool`"),
        ("c.yaml", "a: [", "Expected a YAML config"),
    ],
)
def test_a_source_that_is_no_pool(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(T2Error, match=message):
        load_pool(tmp_path / name)


def test_a_folder_that_is_no_pool(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match=r"Expected a pool, got no .*pool\.json"):
        load_pool(tmp_path)


def test_a_pool_without_questions_file(tmp_path: Path) -> None:
    check_or_create_spec(PoolPaths(tmp_path / "p"), SPEC)
    with pytest.raises(T2Error, match="Expected the pool's questions"):
        load_pool(tmp_path / "p", "numeric")


def test_versions_and_sources_go_together(imported: Callable[..., Path]) -> None:
    """Another version than 1 is what keeps a reader of version 1 from ignoring given grades and the cost unit."""
    path = imported([7]) / "pool.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format_version": 1}))
    with pytest.raises(T2Error, match="Expected t2-pool version 3"):
        load_pool(path.parent)


@pytest.mark.parametrize("name", ["min_samples", "max_samples"])
def test_sample_limits_are_checked(tmp_path: Path, name: str) -> None:
    with pytest.raises(T2Error, match=f"Expected `{name}` of at least 1 sample, got 0"):
        load_pool(tmp_path, **{name: 0})  # type: ignore[arg-type]  # one of the two is asked


def test_what_only_describes_an_import_is_not_compared() -> None:
    source = {"file": "a", "sha256": "b"}
    other = replace(SPEC, source=source, default_grader="numeric", cost_unit="samples")
    assert SPEC.difference(other) == []
