"""How an export wants its LLM to be asked: grader, sampling, end tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from helpers.serving_heads import served

from t2.answering.asking import Asking, check_base_model, grader_of
from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.grading.exact import ExactGrader
from t2.grading.numeric import NumericGrader
from t2.grading.record import GraderRecord
from t2.head_record import Answering, BaseModel, HeadRecord
from t2.model_files import resolve_model
from t2.policies.one_round import FixedN


def record_with(**changes: object) -> HeadRecord:
    return replace(served(FixedN(5))[0].record, **changes)  # type: ignore[arg-type]


def head_with(**changes: object) -> BudgetHead:
    return BudgetHead(record_with(**changes), None)


def test_everything_comes_from_the_export() -> None:
    answering = Answering(GraderRecord("exact", {"marker": "=>"}), "float32", 256)
    sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "max_tokens": 99, "stop": ["\n\n"], "end_token_ids": [2]}
    asking = Asking.of(head_with(answering=answering, sampling=sampling))
    assert isinstance(asking.grader, ExactGrader)
    assert asking.grader.marker == "=>"
    settings = asking.settings
    assert (settings.temperature, settings.top_p, settings.top_k, settings.max_tokens) == (0.7, 0.9, 5, 99)
    assert (settings.stop, asking.end_token_ids, asking.dtype, asking.max_model_len) == (
        ("\n\n",),
        (2,),
        "float32",
        256,
    )


def test_an_older_export_is_asked_as_far_as_it_says() -> None:
    asking = Asking.of(head_with())
    assert isinstance(asking.grader, NumericGrader)
    assert (asking.dtype, asking.max_model_len, asking.end_token_ids) == ("auto", None, None)
    asking.check_ends(Path("no such folder"))  # there is nothing to compare


def test_a_grader_of_the_callers_own() -> None:
    own = ExactGrader("")
    assert grader_of(record_with(), own) is own
    assert isinstance(grader_of(record_with(), "exact"), ExactGrader)


def test_who_reads_the_answers_must_be_known() -> None:
    labels = replace(record_with().labels, grader="mine-4")
    with pytest.raises(T2Error, match=r"Expected a grader, got none: .* 'mine-4', which is none of T2's own"):
        grader_of(record_with(labels=labels))


def test_a_head_that_was_trained_without_a_pool_cannot_ask() -> None:
    with pytest.raises(T2Error, match="Expected an export that records how its samples were drawn"):
        Asking.of(head_with(sampling=None))
    with pytest.raises(T2Error, match="Expected sampling settings in the export"):
        Asking.of(head_with(sampling={"warmth": 3}))


def test_answers_must_end_where_the_samples_ended(tiny_arith: str) -> None:
    sampling = {"temperature": 1.0, "end_token_ids": [2]}
    Asking.of(head_with(sampling=sampling)).check_ends(Path(tiny_arith))
    with pytest.raises(T2Error, match=r"Expected an LLM whose answers end at the tokens \[1, 2\], .* got \[2\]"):
        Asking.of(head_with(sampling={**sampling, "end_token_ids": [1, 2]})).check_ends(Path(tiny_arith))


def test_the_llm_must_be_the_one_that_the_head_learned_from(tiny_arith: str) -> None:
    files = resolve_model(tiny_arith)
    check_base_model(head_with(base_model=BaseModel("tiny", None, files.fingerprint)), files)
    check_base_model(head_with(), files)  # it does not say
    with pytest.raises(T2Error, match=r"Expected the LLM tiny \(000000000000\.\.\.\).* got another"):
        check_base_model(head_with(base_model=BaseModel("tiny", None, "0" * 64)), files)
