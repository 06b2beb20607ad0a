"""Labelling with scripted answers: resume, top-up, death of the sampler, and the curve of a known distribution."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.filled_pools import (
    FRACTIONS,
    NUM_QUESTIONS,
    assert_complete,
    job_of,
    rows_of,
    scripts,
)
from helpers.scripted import TINY_ARITH, DyingSampler
from helpers.seeds import SIGMAS, shifted
from scipy.stats import binom

import t2.pools.fill
import t2.pools.prepare
import t2.store.writer
from t2.curves.labels import accuracy_on_grid
from t2.errors import T2Error
from t2.pools.complete import missing_requests
from t2.pools.fill import fill
from t2.pools.grader import PoolGrader
from t2.pools.prepare import prepare
from t2.pools.questions import merge_questions
from t2.sampling import ScriptedSampler
from t2.spec import GREEDY_DRAW, LabelJob, PromptSpec, Question, SampleRequest, Shot
from t2.store.compact import compact
from t2.store.lock import is_held
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.store.seeds import fresh_engine_seed
from t2.tasks import ArithTask, JsonlTask

# The plan


def test_plan_asks_for_what_is_missing():
    questions = [Question(name, name, "1", name) for name in "abc"]
    have = {"a": {GREEDY_DRAW, 0, 1, 2, 3, 4, 5}, "b": {0, 3}}
    assert missing_requests(questions, [(1,), (2,), (3,)], have, 5, 2) == [
        SampleRequest("b", (2,), (GREEDY_DRAW,)),
        SampleRequest("b", (2,), (1, 2)),
        SampleRequest("b", (2,), (4,)),
        SampleRequest("c", (3,), (GREEDY_DRAW,)),
        SampleRequest("c", (3,), (0, 1)),
        SampleRequest("c", (3,), (2, 3)),
        SampleRequest("c", (3,), (4,)),
    ]


def test_merge_appends_new_questions_and_refuses_changed_ones():
    old = [Question("a", "1+1", "2", "1 1"), Question("b", "1+2", "3", "1 2")]
    new = Question("c", "2+2", "4", "2 2")
    assert merge_questions(old, [old[1], new]) == [*old, new]
    with pytest.raises(T2Error, match=r"'b'.*'1[+]2' -> '3'.*'1[+]2' -> '4'"):
        merge_questions(old, [Question("b", "1+2", "4", "1 2")])


# Runs


class ShortSampler(ScriptedSampler):
    """Takes prompts of fewer than 5 tokens."""

    def check_prompts(self, prompts):
        if long := [name for name, ids in prompts.items() if len(ids) >= 5]:
            raise T2Error(f"Expected shorter prompts, got {long}.")


def test_prompts_that_are_too_long_are_refused_before_any_sample_is_drawn(tmp_path):
    """The engine raised in the middle, at every start again, and took the requests in flight with it."""
    task = ArithTask(NUM_QUESTIONS)
    with pytest.raises(T2Error, match="Expected shorter prompts"):
        fill(job_of(tmp_path / "pool", task=task, sampler=ShortSampler(scripts(task))), FRACTIONS)
    assert rows_of(tmp_path / "pool") == []


def test_a_prompt_that_cannot_be_rendered_leaves_no_pool(tmp_path):
    """The pool's identity was written first: the mended config was then refused."""
    template = tmp_path / "strict.jinja"
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    template.write_text(refuses + "{{ messages[-1].content }}=")
    job = job_of(tmp_path / "pool", prompt=PromptSpec(str(template), system="Be brief."))
    with pytest.raises(T2Error, match=r"chat template.*System role not supported.*Change `prompt\.system`"):
        prepare(job)
    assert not (tmp_path / "pool" / "pool.json").exists()
    prepare(job_of(tmp_path / "pool", prompt=PromptSpec(str(template))))
    assert (tmp_path / "pool" / "pool.json").exists()


def test_questions_that_another_process_adds_meanwhile_stay(tmp_path, monkeypatch):
    """Read, render, write without a lock: the last writer's questions were all there was."""
    first, second = (tmp_path / f"{name}.jsonl" for name in ("first", "second"))
    for path in (first, second):
        path.write_text(json.dumps({"id": path.stem, "question": "1+1", "answer": "2"}))
    here, there = (
        job_of(tmp_path / "pool", task=JsonlTask(str(path)), sampler=ScriptedSampler({})) for path in (first, second)
    )
    load = t2.pools.prepare.load_tokenizer

    def load_while_another_prepares(folder):
        monkeypatch.setattr(t2.pools.prepare, "load_tokenizer", load)
        prepare(there)
        return load(folder)

    monkeypatch.setattr(t2.pools.prepare, "load_tokenizer", load_while_another_prepares)
    assert [question.id for question in prepare(here).questions] == ["second", "first"]
    assert [question.id for question in read_questions(PoolPaths(tmp_path / "pool"))[0]] == ["second", "first"]


def test_a_model_without_tokenizer_is_named(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((Path(TINY_ARITH) / name).read_bytes())
    job = LabelJob(str(tmp_path / "pool"), str(folder), ArithTask(2), ScriptedSampler({}), samples_per_question=2)
    with pytest.raises(T2Error, match="Expected a fast tokenizer in"):
        prepare(job)


def test_a_run_fills_the_pool(tmp_path):
    job = job_of(tmp_path / "pool")
    seen = []
    done = fill(job, FRACTIONS, seen.append)
    assert_complete(job.path, NUM_QUESTIONS, 4)
    assert (done.samples_done, done.samples_total, done.resumed, done.tokens) == (30, 30, 0, 120)
    assert seen[-1] == done
    best = {q.id: f"#{q.answer}" for q in job.task.questions()}
    greedy = {row["question_id"]: row["text"] for row in rows_of(job.path) if row["draw"] == GREEDY_DRAW}
    assert greedy == best
    assert not is_held(PoolPaths(Path(job.path)))


class FollowedSampler(ScriptedSampler):
    """Finishes samples one at a time, as an engine does, whatever requests they belong to."""

    def follow(self, on_finished):
        self.on_finished = on_finished

    def stream(self, requests):
        finished = 0
        self.on_finished(finished)
        for result in super().stream(requests):
            for _ in result.samples:
                finished += 1
                self.on_finished(finished)
            yield result


def test_samples_are_counted_as_they_finish(tmp_path):
    """By requests of eight the first answers of a slow LLM showed after minutes."""
    task, seen = ArithTask(NUM_QUESTIONS), []
    sampler = FollowedSampler(scripts(task), samples_per_request=4)
    done = fill(job_of(tmp_path / "pool", 4, task, sampler), FRACTIONS, seen.append)
    counts = [now.samples_finished for now in seen]
    assert sorted(set(counts)) == list(range(NUM_QUESTIONS * 5 + 1))
    assert counts == sorted(counts)
    assert all(now.samples_done <= now.samples_finished for now in seen)
    assert max(now.samples_finished - now.samples_done for now in seen) == 4
    assert done.samples_done == done.samples_finished == NUM_QUESTIONS * 5


def test_a_finished_pool_draws_nothing_and_needs_no_model(tmp_path):
    job = job_of(tmp_path / "pool", engine_seed=5)
    fill(job, FRACTIONS)
    done = fill(job, FRACTIONS)
    assert (done.samples_done, done.resumed) == (0, 30)
    elsewhere = LabelJob(job.path, "not/here/tiny-arith", job.task, job.sampler, samples_per_question=4)
    assert fill(elsewhere, FRACTIONS).samples_done == 0
    assert prepare(elsewhere).model_files is None


def test_a_finished_pool_refuses_another_models_name_also_where_there_is_no_model(tmp_path):
    job = job_of(tmp_path / "pool", engine_seed=5)
    fill(job, FRACTIONS)
    other = LabelJob(job.path, "not/here/other-model", job.task, job.sampler, samples_per_question=4)
    with pytest.raises(T2Error, match=r"Expected the model of pool .*tiny-arith.*got 'not/here/other-model'"):
        fill(other, FRACTIONS)


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_dying_sampler_loses_nothing_that_was_finished(tmp_path, after):
    task = ArithTask(NUM_QUESTIONS)
    sampler = DyingSampler(scripts(task), samples_per_request=2, after=after)
    seen = []
    with pytest.raises(RuntimeError, match="out of memory"):
        fill(job_of(tmp_path / "pool", sampler=sampler), FRACTIONS, seen.append)
    stored = rows_of(tmp_path / "pool")
    assert len(stored) == (seen[-1].samples_done if seen else 0)
    assert len(seen) == after
    assert sampler.closed == 1
    assert not is_held(PoolPaths(tmp_path / "pool"))
    done = fill(job_of(tmp_path / "pool"), FRACTIONS)
    assert (done.resumed, done.samples_done) == (len(stored), 30 - len(stored))
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 4)
    first_writer = {row["writer"] for row in stored}
    assert [row for row in rows_of(tmp_path / "pool") if row["writer"] in first_writer] == stored


def test_a_top_up_draws_the_new_draws_alone(tmp_path):
    fill(job_of(tmp_path / "pool", 4), FRACTIONS)
    before = rows_of(tmp_path / "pool")
    fill(job_of(tmp_path / "pool", 7), FRACTIONS)
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 7)
    after = rows_of(tmp_path / "pool")
    assert [row for row in after if row["attempt"] == 1] == before
    new = [row for row in after if row["attempt"] == 2]
    assert {row["draw"] for row in new} == {4, 5, 6}
    assert {row["engine_seed"] for row in new}.isdisjoint({row["engine_seed"] for row in before})


def test_fewer_samples_than_the_pool_has_is_finished(tmp_path):
    fill(job_of(tmp_path / "pool", 4), FRACTIONS)
    assert fill(job_of(tmp_path / "pool", 2), FRACTIONS).samples_done == 0


def test_an_engine_seed_is_used_once(tmp_path):
    fill(job_of(tmp_path / "pool", 4, engine_seed=5), FRACTIONS)
    assert {row["engine_seed"] for row in rows_of(tmp_path / "pool")} == {5}
    with pytest.raises(T2Error, match=r"got 5: .*engine_seed"):
        fill(job_of(tmp_path / "pool", 6, engine_seed=5), FRACTIONS)
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 4)
    fill(job_of(tmp_path / "pool", 6, engine_seed=6), FRACTIONS)
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 6)


def test_an_engine_seed_is_refused_after_compaction(tmp_path, monkeypatch):
    monkeypatch.setattr(t2.pools.fill, "compact", partial(compact, above=1))
    for samples, seed in ((2, 5), (4, 6), (6, 7)):
        fill(job_of(tmp_path / "pool", samples, engine_seed=seed), FRACTIONS)
    assert len(list((tmp_path / "pool" / "shards").iterdir())) == 1
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 6)
    for seed in (5, 6, 7):
        with pytest.raises(T2Error, match="engine seed"):
            fill(job_of(tmp_path / "pool", 8, engine_seed=seed), FRACTIONS)


def test_fresh_seeds_differ():
    assert len({fresh_engine_seed({1, 2}, None) for _ in range(50)}) == 50


def test_a_growing_task_keeps_the_old_rows(tmp_path):
    fill(job_of(tmp_path / "pool"), FRACTIONS)
    before = rows_of(tmp_path / "pool")
    old_questions, old_prompts = read_questions(PoolPaths(tmp_path / "pool"))
    done = fill(job_of(tmp_path / "pool", task=ArithTask(10)), FRACTIONS)
    assert (done.resumed, done.samples_done) == (30, 20)
    assert_complete(tmp_path / "pool", 10, 4)
    assert [row for row in rows_of(tmp_path / "pool") if row["attempt"] == 1] == before
    questions, prompts = read_questions(PoolPaths(tmp_path / "pool"))
    assert (questions[:NUM_QUESTIONS], prompts[:NUM_QUESTIONS]) == (old_questions, old_prompts)
    assert questions == ArithTask(10).questions()
    # The smaller task still fits, and does not throw the larger one's questions away.
    assert fill(job_of(tmp_path / "pool"), FRACTIONS).samples_done == 0
    assert len(read_questions(PoolPaths(tmp_path / "pool"))[0]) == 10


def test_a_changed_question_is_refused(tmp_path):
    file = tmp_path / "questions.jsonl"

    def pool_of(answer):
        file.write_text(json.dumps({"id": "a", "question": "1+1", "answer": answer}) + "\n")
        sampler = ScriptedSampler({"a": {"#### 2": 1.0}})
        return job_of(tmp_path / "pool", 2, JsonlTask(str(file)), sampler)

    fill(pool_of("2"), FRACTIONS)
    with pytest.raises(T2Error, match=r"'a'.*new ids"):
        fill(pool_of("3"), FRACTIONS)
    with pytest.raises(T2Error, match=r"'few'.*'a'"):
        fill(pool_of("few"), FRACTIONS)
    assert len(rows_of(tmp_path / "pool")) == 3


def test_another_prompt_or_setting_is_refused(tmp_path):
    fill(job_of(tmp_path / "pool"), FRACTIONS)
    task = ArithTask(NUM_QUESTIONS)
    longer = ScriptedSampler(scripts(task), tokens_per_answer=5)
    with pytest.raises(T2Error, match=r"sampling\.max_tokens: 4 .* 5 "):
        fill(job_of(tmp_path / "pool", 6, sampler=longer), FRACTIONS)
    with pytest.raises(T2Error, match=r"prompt\.shots"):
        fill(job_of(tmp_path / "pool", 6, prompt=PromptSpec(shots=[Shot("1+1", "#2")])), FRACTIONS)
    assert_complete(tmp_path / "pool", NUM_QUESTIONS, 4)


@pytest.mark.statistical
def test_the_pool_of_a_known_distribution_has_the_known_curve(tmp_path):
    num_questions, p, grid = 150, 0.6, (1, 2, 3, 5, 9, 16)
    task = ArithTask(num_questions)
    sampler = ScriptedSampler(scripts(task, p), samples_per_request=8)
    job = job_of(tmp_path / "pool", 32, task, sampler, engine_seed=shifted(1))
    fill(job, FRACTIONS)
    grader = PoolGrader(ShardReader(PoolPaths(tmp_path / "pool")), task.grader)
    grader.refresh()
    questions, prompts = read_questions(PoolPaths(tmp_path / "pool"))
    acc_QK = accuracy_on_grid(grader.pool(questions, [len(prompt) for prompt in prompts]), grid)
    # Right wins outright, or ties (even N only) and is drawn with probability 1/2.
    exact_K = torch.tensor([binom.sf(n / 2, n, p) + (binom.pmf(n // 2, n, p) / 2 if n % 2 == 0 else 0) for n in grid])
    error_K = acc_QK.std(0) / num_questions**0.5
    assert ((acc_QK.mean(0) - exact_K).abs() < SIGMAS * error_K).all()
