"""`t2 label --preview N`: look before you spend. Draws a few questions into a scratch pool and tells what to expect."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from t2.curves.labels import accuracy_on_grid
from t2.endings import Interrupted
from t2.grading.graded import GradedPool
from t2.model_files import resolve_model
from t2.pools.fill import fill
from t2.pools.grader import PoolGrader
from t2.prompts import load_tokenizer
from t2.spec import GREEDY_DRAW, Grader, LabelJob, Question, Task
from t2.splits import SplitFractions, labelling_order
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.voting import ABSTAINED

PREVIEW_SAMPLES = 8
"""Samples of each previewed question, at most."""


class _FirstOf(Task):
    """A few questions of a task, those that would be labelled first."""

    def __init__(self, task: Task, count: int) -> None:
        self._grader = task.grader
        everything = task.questions()
        self.total = len(everything)
        self._questions = [everything[i] for i in labelling_order(everything, SplitFractions())[:count]]

    @property
    def grader(self) -> Grader:
        return self._grader

    def questions(self) -> list[Question]:
        return self._questions


@dataclass(frozen=True)
class Preview:
    """What a few questions tell of the whole job."""

    prompt: str
    """the first prompt as the model sees it"""
    answers: tuple[tuple[str, str, str | None, bool], ...]
    """question, answer text, class voted for, right; the first samples of each question"""
    num_questions: int
    num_samples: int
    """samples drawn of each question"""
    unparseable: float
    """share of finished samples without a readable answer"""
    truncated: float
    """share of samples that did not finish"""
    greedy: float
    """accuracy of the greedy answer"""
    single: float
    """accuracy of one sample"""
    majority: float
    """accuracy of voting over all drawn samples"""
    hours: float
    """estimated time of the whole job at the speed seen here, model loading left out"""

    def lines(self) -> Iterator[str]:
        """The preview as text."""
        yield "First prompt as the model sees it:"
        yield self.prompt
        for question, text, vote, right in self.answers:
            verdict = "right" if right else "wrong"
            yield f"\n{question}\n{text}\n-> {'abstains' if vote is None else vote} ({verdict})"
        yield (
            f"\n{self.num_questions} questions x {self.num_samples} samples: unparseable {self.unparseable:.1%}, "
            f"truncated {self.truncated:.1%}"
        )
        yield (
            f"greedy {self.greedy:.3f}, one sample {self.single:.3f}, "
            f"majority of {self.num_samples} {self.majority:.3f} "
            f"(voting gains {100 * (self.majority - self.greedy):+.1f} points over greedy)"
        )
        yield f"the whole job: about {self.hours:.2f} hours"


def preview(job: LabelJob, count: int) -> Preview:
    """Draw `count` questions into a scratch pool, grade them, and throw the pool away."""
    task = _FirstOf(job.task, count)
    samples = min(job.samples_per_question, PREVIEW_SAMPLES)
    clock: list[float] = []
    with tempfile.TemporaryDirectory(prefix="t2-preview-") as scratch:
        trial = replace(job, path=scratch, task=task, samples_per_question=samples)

        def note_time(*_: object) -> None:
            clock.append(time.monotonic())

        try:
            # From the loaded model on: loading is paid once, not per sample.
            done = fill(trial, SplitFractions(), on_progress=note_time, on_opened=note_time)
        except Interrupted as end:  # `fill` speaks of a pool that ends with this context
            end.kept, end.goes_on = "a preview keeps nothing", False
            raise
        paths = PoolPaths(Path(scratch))
        questions, prompts = read_questions(paths)
        grader = PoolGrader(ShardReader(paths), task.grader)
        grader.refresh()
        pool = grader.pool(questions, [len(prompt) for prompt in prompts])
        answers = tuple(_answers(grader, questions, pool))
        tokenizer = load_tokenizer(resolve_model(job.model, job.revision).folder)
        prompt = str(tokenizer.decode(prompts[0]))
    acc_QK = accuracy_on_grid(pool, (1, samples))
    rate = done.samples_done / max(clock[-1] - clock[0], 1e-3)
    parsed = (pool.vote_QM != ABSTAINED) | pool.truncated_QM
    return Preview(
        prompt=prompt,
        answers=answers,
        num_questions=len(questions),
        num_samples=samples,
        unparseable=1 - float(parsed.double().mean()),
        truncated=float(pool.truncated_QM.double().mean()),
        greedy=float(pool.greedy_right_Q.double().mean()),
        single=float(acc_QK[:, 0].mean()),
        majority=float(acc_QK[:, 1].mean()),
        hours=task.total * (job.samples_per_question + 1) / rate / 3600,
    )


def _answers(
    grader: PoolGrader, questions: list[Question], pool: GradedPool
) -> Iterator[tuple[str, str, str | None, bool]]:
    """The first sample of each question."""
    rows = torch.arange(len(questions))
    texts = {
        (row["question_id"], row["draw"]): row["text"]
        for table in grader.reader.tables.values()
        for row in table.select(["question_id", "draw", "text"]).to_pylist()
        if row["draw"] != GREEDY_DRAW
    }
    for index in rows.tolist():
        question = questions[index]
        text = texts[question.id, 0]
        vote = grader.grader.answer_class(text) if int(pool.vote_QM[index, 0]) != ABSTAINED else None
        yield question.text, text, vote, bool(pool.right_QM[index, 0])
