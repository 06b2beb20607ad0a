"""`t2 label --preview N`: look before you spend. Draws a few questions, keeps them, and tells what to expect."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from t2.config import DataSettings
from t2.curves.labels import accuracy_on_grid
from t2.curves.majority import MAX_SAMPLES
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.pages.text import clean
from t2.pools.complete import held_draws
from t2.pools.fill import Progress, fill
from t2.pools.grader import PoolGrader
from t2.pools.prepare import Asked
from t2.preview.lengths import Lengths
from t2.preview.prompt import marked
from t2.spec import DEFAULT_GRID, GREEDY_DRAW, Grader, LabelJob, Question, Task
from t2.splits import SplitFractions, labelling_order
from t2.stats.warnings import VotingGain, pool_warnings, share_unread, voting_gain
from t2.store.files import write_text_atomically
from t2.store.pool_spec import read_spec
from t2.store.reader import ShardReader, read_questions
from t2.store.schema import PoolPaths
from t2.voting import ABSTAINED

PREVIEW_SAMPLES = 8
"""Samples of each previewed question, at most."""
LONGEST_PROMPT = 50_000
"""Characters that are shown of the prompt: worked examples are long, and the question stands at its end."""
SPEED_FILE = "speed.json"
"""Beside the samples of a preview: how fast they came, since the next preview draws none."""


class _FirstOf(Task):
    """A few questions of a task, those that would be labelled first."""

    def __init__(self, task: Task, count: int, fractions: SplitFractions) -> None:
        self._task = task
        self.everything = task.questions()
        self._questions = [self.everything[i] for i in labelling_order(self.everything, fractions)[:count]]

    @property
    def grader(self) -> Grader:
        return self._task.grader

    def origin(self) -> dict[str, str] | None:
        return self._task.origin()

    def pin(self, origins: Sequence[Mapping[str, str]]) -> None:
        self._task.pin(origins)

    def questions(self) -> list[Question]:
        return self._questions


@dataclass(frozen=True)
class Answered:
    """A question with its first sample."""

    question: str
    gold: str
    text: str
    vote: str | None
    """answer class; None: it abstains"""
    right: bool


@dataclass(frozen=True)
class Speed:
    """How fast samples came; loading the model is left out."""

    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Preview:
    """What a few questions tell of the whole job."""

    prompt: str
    """the first prompt as the model sees it, special tokens marked"""
    prompt_tokens: int
    answers: tuple[Answered, ...]
    """the first sample of each question"""
    num_questions: int
    num_samples: int
    """samples of each question"""
    drawn: int
    """samples that were drawn for this preview, greedy answers among them; all others were there"""
    unread: float
    """share of the finished samples in which the grader reads no answer"""
    lengths: Lengths
    greedy: float
    """accuracy of the greedy answer"""
    single: float
    """accuracy of one sample"""
    majority: float
    """accuracy of voting over `num_samples`"""
    gain: VotingGain | None
    """None: one sample does not vote"""
    speed: Speed
    """so far, of all previews of these settings"""
    missing: int
    """samples that the whole job still needs"""
    warnings: tuple[str, ...]
    kept: Path
    """folder of the samples"""
    difference: str
    """what keeps them out of the pool that the config names; empty: nothing does"""

    def lines(self) -> Iterator[str]:
        """The preview as text."""
        yield f"First prompt as the model sees it, {self.prompt_tokens} tokens; special tokens stand in brackets:"
        yield clean(self.prompt, LONGEST_PROMPT)
        for each in self.answers:
            verdict = "right" if each.right else "wrong"
            vote = "abstains" if each.vote is None else clean(each.vote)
            yield f"\n{clean(each.question)}\n{clean(each.text)}\n-> {vote} ({verdict}; gold answer {clean(each.gold)})"
        others = ", the others were kept" if self.drawn < self.num_questions * (self.num_samples + 1) else ""
        yield (
            f"\n{self.num_questions} questions x {self.num_samples} samples: unparseable {self.unread:.1%}, "
            f"truncated {self.lengths.truncated:.1%}; {self.drawn} samples drawn now{others}"
        )
        yield from self.lengths.lines()
        voted = f"majority of {self.num_samples} {self.majority:.3f}"
        yield f"accuracy: greedy {self.greedy:.3f}, one sample {self.single:.3f}, {voted}"
        if self.gain is not None:
            yield f"voting gains {self.gain} over greedy (95% confidence, {self.gain.num_questions} questions)"
        yield from (f"Beware: {warning}" for warning in self.warnings)
        yield from self._cost()
        yield f"samples are kept in {self.kept}: with the same settings nothing is drawn twice"
        if self.difference:
            yield f"Beware: the pool has other settings and will not take them, {self.difference}"

    def _cost(self) -> Iterator[str]:
        if not self.speed.seconds:
            yield f"the whole job: {self.missing:,} samples more; nothing was drawn that would tell how fast"
            return
        hours = self.missing / self.speed.samples_per_second / 3600
        yield (
            f"the whole job: {self.missing:,} samples more, about {hours:.2f} hours at "
            f"{self.speed.tokens / self.speed.seconds:,.0f} tokens/s (more questions at once are faster)"
        )


def preview(data: DataSettings, count: int, on_progress: Callable[[Progress], None] = lambda now: None) -> Preview:
    """Look at `count` questions: those that would be labelled first, with a few samples each, as far as they lack any.

    They are drawn into the pool, if there is one with these settings, and else beside it. `on_progress` is called as
    samples finish.

    Raises:
        T2Error: no positive count, or what `fill` raises.
    """
    if count < 1:
        raise T2Error(f"Expected at least 1 question to preview, got {count}.")
    job, asked = data.pool, Asked.of(data.pool)
    difference = "; ".join(_difference(job, asked))
    paths = PoolPaths(Path(job.path)) if not difference and _exists(job) else asked.previews
    task = _FirstOf(job.task, count, data.splits)
    samples = min(job.samples_per_question, PREVIEW_SAMPLES)
    # The engine's seed is fresh, for the config's own is the whole pool's.
    trial = replace(job, path=str(paths.root), task=task, samples_per_question=samples, engine_seed=None)
    watch = _Watch(on_progress)
    # From the loaded model on: loading is paid once, not per sample.
    done = fill(trial, data.splits, on_progress=watch, on_opened=watch.begin)
    speed = _with_earlier(asked.previews.root / SPEED_FILE, watch.speed(done))
    return _seen(trial, task, done, speed, asked, difference, data)


def _exists(job: LabelJob) -> bool:
    return PoolPaths(Path(job.path)).spec.exists()


def _difference(job: LabelJob, asked: Asked) -> list[str]:
    """What keeps samples of these settings out of the pool that the config names."""
    paths = PoolPaths(Path(job.path))
    if not _exists(job):
        return []
    stored = read_spec(paths)
    return ["it was imported"] if stored.imported else stored.difference(asked.spec)


class _Watch:
    """How long samples take, from the first moment at which the engine could draw."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self._first = self._last = 0.0
        self._on_progress = on_progress

    def begin(self) -> None:
        self._first = self._last = time.monotonic()

    def __call__(self, now: Progress) -> None:
        self._last = time.monotonic()
        self._on_progress(now)

    def speed(self, done: Progress) -> Speed:
        if not done.samples_done:
            return Speed()
        return Speed(done.samples_done, done.tokens, max(self._last - self._first, 1e-3))


def _with_earlier(path: Path, now: Speed) -> Speed:
    """The speed of all previews so far, which is kept."""
    earlier = Speed()
    with contextlib.suppress(OSError, ValueError, TypeError):  # a damaged file tells nothing
        earlier = Speed(**json.loads(path.read_text(encoding="utf-8")))
    if not now.samples:
        return earlier
    total = Speed(earlier.samples + now.samples, earlier.tokens + now.tokens, earlier.seconds + now.seconds)
    write_text_atomically(path, json.dumps(vars(total)) + "\n")
    return total


def _seen(
    trial: LabelJob, task: _FirstOf, done: Progress, speed: Speed, asked: Asked, difference: str, data: DataSettings
) -> Preview:
    paths = PoolPaths(Path(trial.path))
    stored = {q.id: (q, prompt) for q, prompt in zip(*read_questions(paths), strict=True)}
    questions = [stored[question.id][0] for question in task.questions()]
    prompts = [stored[question.id][1] for question in questions]
    grader = PoolGrader(ShardReader(paths), task.grader)
    grader.refresh()
    pool = grader.pool(questions, [len(prompt) for prompt in prompts], MAX_SAMPLES)
    samples = int(pool.present_QM.sum(1).min())
    acc_QK = accuracy_on_grid(pool, (1, samples))
    held = held_draws(grader.reader)
    per_question = data.pool.samples_per_question + 1
    there = sum(min(per_question, len(held.get(question.id, ()))) for question in task.everything)
    return Preview(
        prompt=marked(asked.renderer.tokenizer, prompts[0]),
        prompt_tokens=len(prompts[0]),
        answers=tuple(_answers(grader, questions, pool)),
        num_questions=len(questions),
        num_samples=samples,
        drawn=done.samples_done,
        unread=share_unread(pool),
        lengths=Lengths.of(pool, int(asked.spec.sampling["max_tokens"])),
        greedy=float(pool.greedy_right_Q.double().mean()),
        single=float(acc_QK[:, 0].mean()),
        majority=float(acc_QK[:, 1].mean()),
        gain=voting_gain(pool),
        speed=speed,
        missing=len(task.everything) * per_question - there,
        warnings=tuple(pool_warnings(pool, data.eps, data.grid or DEFAULT_GRID)),
        kept=paths.root,
        difference=difference,
    )


def _answers(grader: PoolGrader, questions: list[Question], pool: GradedPool) -> Iterator[Answered]:
    """The first sample of each question."""
    texts = {
        (row["question_id"], row["draw"]): row["text"]
        for table in grader.reader.tables.values()
        for row in table.select(["question_id", "draw", "text"]).to_pylist()
        if row["draw"] != GREEDY_DRAW
    }
    for index, question in enumerate(questions):
        text = texts[question.id, 0]
        vote = grader.grader.answer_class(text) if int(pool.vote_QM[index, 0]) != ABSTAINED else None
        yield Answered(question.text, question.answer, text, vote, bool(pool.right_QM[index, 0]))
