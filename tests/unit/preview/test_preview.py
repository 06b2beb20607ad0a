"""`t2 label --preview N`: what it shows is what is there, and what it has drawn is never drawn again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.filled_pools import FRACTIONS, assert_complete, job_of, rows_of, scripts
from helpers.tokenizers import byte_tokenizer

from t2.config import DataSettings
from t2.curves.labels import accuracy_on_grid
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.pools.fill import fill
from t2.pools.grader import PoolGrader
from t2.preview.command import preview
from t2.preview.prompt import marked
from t2.prompts import PromptRenderer
from t2.sampling import ScriptedSampler
from t2.spec import GREEDY_DRAW, LabelJob, PromptSpec, Sample
from t2.splits import labelling_order
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.tasks import ArithTask


class CountingSampler(ScriptedSampler):
    """Counts what is drawn; every fourth request is truncated, and lengths differ."""

    drawn = 0

    def stream(self, requests: Any) -> Any:
        for number, result in enumerate(super().stream(requests)):
            CountingSampler.drawn += len(result.samples)
            tokens = tuple(range(1 + number % 4))
            ends = "length" if number % 4 == 3 else "stop"
            yield replace(result, samples=tuple(Sample(tokens, sample.text, ends) for sample in result.samples))


@pytest.fixture
def job(tmp_path: Path) -> LabelJob:
    CountingSampler.drawn = 0
    sampler = CountingSampler(scripts(ArithTask(20), right=0.6, unparsed=0.1), samples_per_request=4)
    return job_of(tmp_path / "pool", 12, ArithTask(20), sampler, engine_seed=5)


def seen(job: LabelJob, count: int = 5) -> str:
    return "\n".join(preview(DataSettings(job), count).lines())


def test_figures_are_those_of_the_samples_that_were_kept(job: LabelJob) -> None:
    found = preview(DataSettings(job), 5)
    pool = graded(job, found.kept)
    acc_QK = accuracy_on_grid(pool, (1, 8))
    assert (found.num_questions, found.num_samples, found.drawn) == (5, 8, 45)
    assert found.single == pytest.approx(float(acc_QK[:, 0].mean()))
    assert found.majority == pytest.approx(float(acc_QK[:, 1].mean()))
    assert found.lengths.truncated == pytest.approx(float(pool.truncated_QM.double().mean()))
    assert found.lengths.mean == pytest.approx(float(pool.tokens_QM.double().mean()))
    assert found.gain is not None
    assert found.gain.points.value == pytest.approx(100 * (found.majority - found.greedy))
    assert found.missing == 20 * 13 - 45
    assert found.speed.tokens == sum(row["num_tokens"] for row in rows_of(found.kept))


def graded(job: LabelJob, folder: Path) -> GradedPool:
    """The first questions, graded by the job's task."""
    grader = PoolGrader(ShardReader(PoolPaths(folder)), job.task.grader)
    grader.refresh()
    questions, prompts = read_questions(PoolPaths(folder))
    return grader.pool(questions, [len(prompt) for prompt in prompts])


def test_it_shows_the_questions_that_are_labelled_first_each_with_its_gold_answer(job: LabelJob) -> None:
    questions = job.task.questions()
    first = [questions[index] for index in labelling_order(questions, FRACTIONS)[:5]]
    answers = preview(DataSettings(job), 5).answers
    assert [(each.question, each.gold) for each in answers] == [(q.text, q.answer) for q in first]
    text = seen(job)
    for each in first:
        assert f"gold answer {each.answer})" in text
    assert f"⟦<s>⟧{first[0].text}=" in text


def test_the_same_settings_draw_nothing_twice(job: LabelJob) -> None:
    seen(job, 5)
    drawn = CountingSampler.drawn
    again = seen(job, 5)
    assert CountingSampler.drawn == drawn == 45
    assert "0 samples drawn now, the others were kept" in again
    assert " tokens/s" in again  # measured when they were drawn
    assert preview(DataSettings(job), 7).drawn == 18  # two questions more
    assert preview(DataSettings(replace(job, samples_per_question=4)), 7).drawn == 0


def test_label_takes_them_over_and_a_later_preview_looks_into_the_pool(job: LabelJob) -> None:
    kept = preview(DataSettings(job), 5).kept
    rows = {(row["question_id"], row["draw"]): row for row in rows_of(kept)}
    assert not Path(job.path).exists()
    done = fill(job, FRACTIONS)  # with the engine seed of the config, which the preview has left alone
    assert (done.resumed, done.samples_done) == (45, 20 * 13 - 45)
    assert_complete(job.path, 20, 12)
    stored = {(row["question_id"], row["draw"]): row for row in rows_of(job.path)}
    assert {key: stored[key] for key in rows} == rows
    found = preview(DataSettings(job), 20)
    assert (found.drawn, found.missing, found.num_samples) == (0, 0, 12)
    assert str(found.kept) == job.path


def test_a_preview_of_a_pool_that_is_there_fills_it(job: LabelJob) -> None:
    fill(replace(job, task=ArithTask(2), samples_per_question=2), FRACTIONS)
    found = preview(DataSettings(job), 5)
    assert str(found.kept) == job.path
    assert found.drawn > 0
    seeds = {row["attempt"]: row["engine_seed"] for row in rows_of(job.path)}
    assert seeds[1] == 5
    assert seeds[2] != 5


def test_other_settings_than_the_pool_s_are_looked_at_beside_it(job: LabelJob, tmp_path: Path) -> None:
    fill(replace(job, task=ArithTask(2), samples_per_question=2), FRACTIONS)
    before = rows_of(job.path)
    (tmp_path / "t.jinja").write_text("<s>;{{ messages[-1].content }}=")
    text = seen(replace(job, prompt=PromptSpec(str(tmp_path / "t.jinja"))))
    assert "Beware: the pool has other settings and will not take them, prompt.fingerprint: " in text
    assert rows_of(job.path) == before


def test_signs_that_a_head_would_not_pay_are_said(job: LabelJob) -> None:
    text = seen(job)
    assert "Beware: 2" in text  # a quarter, more or less, is truncated
    assert "% of the samples are truncated (more than 5%)" in text
    assert "voting gains " in text
    assert "points [" in text


def test_a_preview_of_no_question_is_refused(job: LabelJob) -> None:
    with pytest.raises(T2Error, match="at least 1 question to preview, got -1"):
        preview(DataSettings(job), -1)


def test_a_damaged_speed_is_unknown(job: LabelJob) -> None:
    kept = preview(DataSettings(job), 5).kept
    (kept / "speed.json").write_text(json.dumps({"miles": 3}))
    assert "nothing was drawn that would tell how fast" in seen(job)


def test_the_greedy_answer_is_no_sample(job: LabelJob) -> None:
    """Texts are shown of draw 0; the greedy answer has a number of its own."""
    found = preview(DataSettings(job), 5)
    rows = {(row["question_id"], row["draw"]): row["text"] for row in rows_of(found.kept)}
    assert {each.text for each in found.answers} <= {text for (_, draw), text in rows.items() if draw != GREEDY_DRAW}


def test_special_tokens_are_marked_and_their_names_as_text_are_not() -> None:
    """A template that writes the name of a token that this tokenizer does not have sends letters."""
    tokenizer = byte_tokenizer("<|im_start|>{{ messages[-1].content }}<|end|><|im_end|><|im_end|>")
    ids = PromptRenderer.of(tokenizer, PromptSpec()).ids("Café, 1 < 2?")
    assert marked(tokenizer, ids) == "⟦<|im_start|>⟧Café, 1 < 2?<|end|>⟦<|im_end|>⟧⟦<|im_end|>⟧"


def test_an_untouched_torch_state(job: LabelJob) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    seen(job)
    assert torch.rand(1) == expected
