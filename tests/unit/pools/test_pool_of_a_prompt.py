"""What a pool keeps of prompt and model: dates, arguments and ends of answers are parts of its identity."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from helpers.filled_pools import FRACTIONS, job_of, rows_of, scripts
from helpers.scripted import TINY_ARITH
from hypothesis import given
from hypothesis import strategies as st

import t2.prompts.renderer
from t2.errors import T2Error
from t2.pools.end_tokens import check_ends
from t2.pools.fill import fill
from t2.pools.prepare import prepare
from t2.sampling import ScriptedSampler
from t2.sampling.end_tokens import end_token_ids
from t2.spec import LabelJob, PromptSpec
from t2.store.pool_spec import read_spec
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask

DAY = "<s>{% set day = strftime_now('%d') %}{{ day }};{{ messages[-1].content }}="
SWITCH = "<s>{% if short is defined and short %};{% endif %}{{ messages[-1].content }}="


@pytest.fixture
def template(tmp_path: Path) -> Any:
    def write(source: str) -> str:
        path = tmp_path / "template.jinja"
        path.write_text(source)
        return str(path)

    return write


def spec_of(pool: Path) -> dict[str, Any]:
    return read_spec(PoolPaths(pool)).as_json()


# Dates


def test_a_pool_keeps_the_day_on_which_it_was_begun(
    tmp_path: Path, template: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions that came on another day were asked with another prompt, under the same fingerprint."""
    pool, prompt = tmp_path / "pool", PromptSpec(template(DAY))
    monkeypatch.setattr(t2.prompts.renderer, "today", lambda: "2026-11-29")
    fill(job_of(pool, prompt=prompt), FRACTIONS)
    assert spec_of(pool)["prompt"]["date"] == "2026-11-29"
    monkeypatch.setattr(t2.prompts.renderer, "today", lambda: "2026-12-07")
    fill(job_of(pool, task=ArithTask(8), prompt=prompt), FRACTIONS)
    questions, prompts = read_questions(PoolPaths(pool))
    assert len(questions) == 8
    assert {ids[:4] for ids in prompts} == {(1, 5, 12, 16)}  # <s>, 2, 9 and ;
    with pytest.raises(T2Error, match=r"prompt\.date: '2026-11-29' in the pool, '2026-12-08' asked"):
        prepare(job_of(pool, prompt=replace(prompt, date="2026-12-08")))
    # Finished, and the model is somewhere else: the day is still the pool's.
    away = replace(job_of(pool, task=ArithTask(8), prompt=prompt), model="not/here/tiny-arith")
    assert prepare(away).spec.prompt["date"] == "2026-11-29"


def test_arguments_are_a_part_of_a_pool(tmp_path: Path, template: Any) -> None:
    pool, prompt = tmp_path / "pool", PromptSpec(template(SWITCH), template_arguments={"short": True})
    fill(job_of(pool, prompt=prompt), FRACTIONS)
    assert spec_of(pool)["prompt"]["template_arguments"] == {"short": True}
    assert {ids[:2] for ids in read_questions(PoolPaths(pool))[1]} == {(1, 16)}
    assert fill(job_of(pool, prompt=prompt), FRACTIONS).samples_done == 0
    with pytest.raises(T2Error, match=r"prompt\.template_arguments: \{'short': True\} in the pool, None asked"):
        prepare(job_of(pool, prompt=replace(prompt, template_arguments={})))


def test_a_prompt_without_its_question_is_refused_before_anything_is_written(tmp_path: Path, template: Any) -> None:
    job = job_of(tmp_path / "pool", prompt=PromptSpec(template("<s>{{ messages[0].role | length }}=")))
    with pytest.raises(T2Error, match=r"Expected the question \('.*'\) in the prompt of question 'arith-"):
        fill(job, FRACTIONS)
    assert not (tmp_path / "pool" / "pool.json").exists()


# What ends an answer


class EndingSampler(ScriptedSampler):
    """Ends its answers with a token of the model, as an engine does."""

    last = 2

    def end_token_ids(self, model_folder: str) -> tuple[int, ...]:
        return end_token_ids(model_folder)

    def stream(self, requests: Any) -> Any:
        for result in super().stream(requests):
            ended = tuple(replace(sample, token_ids=(5, 6, 7, self.last)) for sample in result.samples)
            yield replace(result, samples=ended)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copytree(TINY_ARITH, tmp_path / "tiny-arith")
    return tmp_path / "tiny-arith"


def ending_job(pool: Path, model: Path, samples: int = 4) -> LabelJob:
    sampler = EndingSampler(scripts(ArithTask(6)), samples_per_request=2)
    return replace(job_of(pool, samples, sampler=sampler), model=str(model))


def end_at(model: Path, *ends: int) -> None:
    path = model / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": list(ends)}))


def test_a_pool_refuses_a_model_that_ends_its_answers_otherwise(tmp_path: Path, model: Path) -> None:
    """Without its generation_config.json the same model went on in the same pool, and ended at other places."""
    pool = tmp_path / "pool"
    end_at(model, 2, 17)
    fill(ending_job(pool, model), FRACTIONS)
    assert spec_of(pool)["sampling"]["end_token_ids"] == [2, 17]
    (model / "generation_config.json").unlink()
    with pytest.raises(
        T2Error, match=r"sampling\.end_token_ids: \[2, 17\] in the pool, \[2\] asked\. .*restore"
    ) as caught:
        fill(ending_job(pool, model, samples=6), FRACTIONS)
    assert "\n" not in str(caught.value)
    assert len(rows_of(pool)) == 30


def older(pool: Path) -> None:
    """The pool as a version of T2 wrote it that did not record what ends an answer."""
    spec = spec_of(pool)
    del spec["sampling"]["end_token_ids"]
    (pool / "pool.json").write_text(json.dumps(spec))


def test_an_older_pool_goes_on_where_its_samples_agree(tmp_path: Path, model: Path) -> None:
    pool = tmp_path / "pool"
    fill(ending_job(pool, model), FRACTIONS)
    older(pool)
    before = (pool / "pool.json").read_bytes()
    assert fill(ending_job(pool, model, samples=6), FRACTIONS).samples_done == 12
    assert (pool / "pool.json").read_bytes() == before


@pytest.mark.parametrize(
    ("ends", "reason"),
    [
        ((2, 6), "that ends them at token 2 or 6, and the pool has samples that go on after token 6"),
        ((17,), "that ends them at token 17, and the pool has samples that end with token 2"),
    ],
)
def test_an_older_pool_refuses_what_its_samples_contradict(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, ends: tuple[int, ...], reason: str
) -> None:
    pool = tmp_path / "pool"
    fill(ending_job(pool, model), FRACTIONS)
    older(pool)
    monkeypatch.setattr(EndingSampler, "end_token_ids", lambda sampler, folder: ends)
    with pytest.raises(T2Error, match=reason):
        fill(ending_job(pool, model, samples=6), FRACTIONS)
    assert len(rows_of(pool)) == 30


SAMPLES = st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=5), st.sampled_from(["stop", "length"])))


@given(st.lists(SAMPLES, max_size=3), st.sets(st.integers(0, 5), min_size=1))
def test_ends_are_checked_as_a_plain_loop_does(tables: list[Any], ends: set[int]) -> None:
    contradicted = False
    for tokens, reason in (sample for table in tables for sample in table):
        contradicted |= bool(set(tokens[:-1]) & ends)
        contradicted |= bool(reason == "stop" and tokens and tokens[-1] not in ends)
    schema = pa.schema([("token_ids", pa.list_(pa.int32())), ("finish_reason", pa.string())])
    rows = [pa.Table.from_pylist([{"token_ids": t, "finish_reason": r} for t, r in table], schema) for table in tables]
    if contradicted:
        with pytest.raises(T2Error, match="Expected a model that ends its answers"):
            check_ends(rows, ends, (), "pool")
    else:
        check_ends(rows, ends, (), "pool")
