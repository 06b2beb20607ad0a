"""Policies on the running engine: fresh samples, wall time, sequences at once, KV cache; and whether replay told so.

Replay scores a policy on stored samples, as an expected value. Here every question is asked once, as a server would ask
it: one request with n samples, or one request a round. Votes, ties and abstentions are the code that replay uses.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.grading.grade import golds_of, vote_of
from t2.judging.agreement import Agreement, agreement, joint_level
from t2.model_files import resolve_model
from t2.policies.base import Replay
from t2.policies.engine_axes import held_tokens
from t2.policies.rules import GreedyAnswer, Rule
from t2.spec import GREEDY_DRAW, EngineFacts, Grader, LabelJob, Question, Sample, Sampler, SampleRequest
from t2.store.pool_spec import PoolSpec, read_spec
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.store.seeds import fresh_engine_seed
from t2.voting import majority

PER_QUESTION = (
    *("correct", "samples", "generated_tokens", "prompt_tokens", "rounds", "peak", "critical_path", "peak_kv"),
)
"""Columns of each question in live.json: the fields of `Replay` that are measured."""


@dataclass(frozen=True)
class LiveResult:
    """One run of one policy."""

    question_ids: tuple[str, ...]
    measured: Replay
    """as replay reports it, but one draw instead of an expected value: correct is 0 or 1"""
    seconds: float
    """from the first request to the last answer; loading the engine is left out"""
    engine: EngineFacts | None
    """None: the sampler is no vLLM engine, or one that was opened without `watch`"""

    def as_json(self) -> dict[str, object]:
        measured = self.measured
        tokens, samples = float(measured.generated_tokens.sum()), float(measured.samples.sum())
        totals = {
            "questions": len(self.question_ids),
            "accuracy": float(measured.correct.mean()),
            "samples": samples,
            "generated_tokens": tokens,
            "prompt_tokens": float(measured.prompt_tokens.sum()),
            "rounds_per_question": float(measured.rounds.mean()),
            "seconds": self.seconds,
            "samples_per_second": samples / self.seconds,
            "generated_tokens_per_second": tokens / self.seconds,
        }
        columns = [self.question_ids, *(getattr(measured, name).tolist() for name in PER_QUESTION)]
        rows = [dict(zip(("id", *PER_QUESTION), row, strict=True)) for row in zip(*columns, strict=True)]
        facts = None if self.engine is None else {**asdict(self.engine), "prefix_hit_rate": self.engine.prefix_hit_rate}
        return {"totals": totals, "engine": facts, "questions": rows}


@dataclass(frozen=True)
class LiveRow:
    """A policy live, and what replay says of it on the same questions."""

    live: LiveResult
    replay: Replay
    agreement: Agreement

    def as_json(self) -> dict[str, object]:
        replayed = {name: float(getattr(self.replay, name).mean()) for name in PER_QUESTION}
        return {**self.live.as_json(), "agreement": self.agreement.as_json(), "replayed": replayed}


def beside_replay(live: Mapping[str, LiveResult], replays: Mapping[str, Replay]) -> dict[str, LiveRow]:
    """Each run beside its replay; all intervals together hold with 95% probability, see `joint_level`."""
    level = joint_level(len(live))
    return {
        name: LiveRow(run, replays[name], agreement(run.measured, replays[name], level, num_resamples=20_000))
        for name, run in live.items()
    }


def evaluate_live(
    job: LabelJob,
    questions: Sequence[Question],
    prompts: Sequence[Sequence[int]],
    contenders: Mapping[str, Sequence[Rule]],
    on_done: Callable[[str, LiveResult], None] | None = None,
) -> dict[str, LiveResult]:
    """Run policies on one engine, one after the other, each with an empty prefix cache. Nothing is stored.

    Args:
        job: model, sampler and grader; its pool has the samples that live is to agree with.
        questions: what is asked.
        prompts: token ids of each question's prompt, as the pool stores them.
        contenders: name of a policy -> one rule a question.
        on_done: called with each policy that has run; the next may take an hour.

    Raises:
        T2Error: no pool, no such model, vLLM is not installed, the job's model or sampling setting is not the pool's,
            or its engine seed is one of the pool's, so that it would draw the stored samples again.
    """
    sampler, paths = job.sampler, PoolPaths(Path(job.path))
    spec, model = read_spec(paths), resolve_model(job.model, job.revision)
    live_spec = PoolSpec(model.as_json(), spec.prompt, sampler.recorded(str(model.folder)))
    if difference := spec.difference(live_spec):
        raise T2Error(
            f"Expected live samples as pool {paths.root} has them, got a difference in {'; '.join(difference)}. "
            "Change the config back or choose another `data.pool.path`."
        )
    reader = ShardReader(paths)
    reader.refresh()
    seed = fresh_engine_seed(reader.engine_seeds(), job.engine_seed)
    sampler.watch()
    try:
        sampler.open(str(model.folder), seed)
        sampler.check_prompts({question.id: tuple(ids) for question, ids in zip(questions, prompts, strict=True)})
        results: dict[str, LiveResult] = {}
        for name, rules in contenders.items():
            results[name] = live_run(sampler, job.task.grader, questions, prompts, rules)
            if on_done:
                on_done(name, results[name])
        return results
    finally:
        sampler.close()


def live_run(
    sampler: Sampler,
    grader: Grader,
    questions: Sequence[Question],
    prompts: Sequence[Sequence[int]],
    rules: Sequence[Rule],
) -> LiveResult:
    """Ask all questions at once; each proceeds at its own pace, later rounds queue behind what is waiting already.

    The sampler must be open; an engine gives its facts if it is watched. There is one prompt (token ids) and one rule
    a question.
    """
    by_id = {
        question.id: _Asked(question.id, tuple(prompt), rule, grader)
        for question, prompt, rule in zip(questions, prompts, rules, strict=True)
    }
    golds = golds_of(grader, questions)
    queue = _Queue()
    sampler.cool()  # empties the prefix cache: a policy must not profit from the one that ran before it
    start = time.perf_counter()
    for one in by_id.values():
        queue.add(one.next_request())
    # The sampler reads on from the queue after each result, so an answer that calls for another round extends the loop.
    for result in sampler.stream(queue):
        one = by_id[result.request.question_id]
        one.take(result.samples)
        queue.add(one.next_request())
    seconds = time.perf_counter() - start
    everyone = list(by_id.values())
    measured = Replay(
        correct=_column(majority(one.votes) == gold for one, gold in zip(everyone, golds, strict=True)),
        samples=_column(len(one.votes) for one in everyone),
        generated_tokens=_column(one.tokens for one in everyone),
        prompt_tokens=_column(len(one.prompt_ids) for one in everyone),
        rounds=_column(one.rounds for one in everyone),
        peak=_column(one.peak for one in everyone),
        critical_path=_column(one.critical_path for one in everyone),
        peak_kv=_column(len(one.prompt_ids) + one.held_tokens for one in everyone),
    )
    return LiveResult(tuple(by_id), measured, seconds, sampler.engine_facts)


@dataclass
class _Asked:
    """A question while it is being answered."""

    question_id: str
    prompt_ids: tuple[int, ...]
    rule: Rule
    grader: Grader
    votes: list[str | None] = field(default_factory=list)
    tokens: int = 0
    rounds: int = 0
    peak: int = 0
    critical_path: int = 0
    held_tokens: int = 0

    def next_request(self) -> SampleRequest | None:
        extra = self.rule.extra(self.votes)
        if extra < 1:
            return None
        self.rounds, self.peak = self.rounds + 1, max(self.peak, extra)
        drawn = len(self.votes)
        draws = (GREEDY_DRAW,) if isinstance(self.rule, GreedyAnswer) else tuple(range(drawn, drawn + extra))
        return SampleRequest(self.question_id, self.prompt_ids, draws)

    def take(self, samples: Iterable[Sample]) -> None:
        """Count votes and charge every sample, truncated ones too: the samples of one round."""
        lengths = []
        for sample in samples:
            self.votes.append(vote_of(self.grader, sample.text, sample.finish_reason))
            lengths.append(len(sample.token_ids))
        self.tokens += sum(lengths)
        self.critical_path += max(lengths)
        self.held_tokens = max(self.held_tokens, int(held_tokens(torch.tensor(lengths))))


class _Queue(Iterator[SampleRequest]):
    """Requests in order of arrival. Unlike other iterators it may go on after it has run dry."""

    def __init__(self) -> None:
        self._waiting: deque[SampleRequest] = deque()

    def add(self, request: SampleRequest | None) -> None:
        if request is not None:  # a rule that has stopped wants none
            self._waiting.append(request)

    def __next__(self) -> SampleRequest:
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft()


def _column(values: Iterable[float]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)
