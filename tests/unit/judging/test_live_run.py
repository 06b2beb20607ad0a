"""Live runs without an engine: scripted answers with closed forms, rounds against the rule itself, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from helpers.seeds import SIGMAS, fewest_of, shifted
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.judging.live_run import agreement, evaluate_live, live_run
from t2.policies.asc import ASC
from t2.policies.base import Replay
from t2.policies.rules import ByTable, OneBatch, one_batch_rules, table_rules
from t2.pools.fill import fill
from t2.pools.prepare import prepare
from t2.sampling import ScriptedSampler, VLLMSampler
from t2.sampling.engine_watch import EngineWatch
from t2.spec import LabelJob, Question, Sample, SampleRequest, SampleResult
from t2.splits import SplitFractions
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tasks import JsonlTask

TOKENS = 4
SURE, HOPELESS, SILENT = {"#### 7": 1.0}, {"#### 8": 1.0}, {"": 1.0}


def questions(count: int) -> list[Question]:
    return [Question(f"q{i}", f"What is {i}?", "7", f"k{i}") for i in range(count)]


def opened(scripts: Sequence[dict[str, float]], seed: int = 0) -> ScriptedSampler:
    sampler = ScriptedSampler({f"q{i}": script for i, script in enumerate(scripts)}, tokens_per_answer=TOKENS)
    sampler.open("", seed)
    return sampler


def test_one_batch_of_known_answers() -> None:
    prompts = [(1, 2), (1, 2, 3), (1,)]
    live = live_run(
        opened([SURE, HOPELESS, SILENT]), NumericGrader(), questions(3), prompts, one_batch_rules([1, 5, 3])
    )
    measured = live.measured
    assert live.question_ids == ("q0", "q1", "q2")
    assert measured.correct.tolist() == [1, 0, 0]
    assert measured.samples.tolist() == measured.peak.tolist() == [1, 5, 3]
    assert measured.generated_tokens.tolist() == [4, 20, 12]
    assert measured.prompt_tokens.tolist() == [2, 3, 1]
    assert measured.rounds.tolist() == [1, 1, 1]
    assert live.engine is None
    assert live.seconds > 0


def test_a_sequential_rule_stops_where_it_is_convinced() -> None:
    """Four equal answers give 1 - 2^-5 > 0.95; who never votes is asked up to the cap."""
    asc = ASC(0.95, 10)
    live = live_run(
        opened([SURE, HOPELESS, SILENT]), NumericGrader(), questions(3), [(1,)] * 3, table_rules(asc.table, [0, 0, 0])
    )
    assert live.measured.correct.tolist() == [1, 0, 0]
    assert live.measured.samples.tolist() == [4, 4, 10]
    assert live.measured.rounds.tolist()[:2] == [1, 1]
    assert live.measured.rounds[2] > 1
    assert live.measured.peak.tolist() == [4, 4, 4]


class _Slow(ScriptedSampler):
    """Like an engine: takes all requests that there are, then finishes the last one first; asks again when idle."""

    def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        waiting, running = iter(requests), []
        while True:
            while (request := next(waiting, None)) is not None:
                running.append(request)
            if not running:
                return
            yield from super().stream([running.pop()])


def test_rounds_of_different_questions_overlap() -> None:
    """Draws of a question are numbered through its rounds, whatever finishes first."""
    sampler = _Slow({f"q{i}": {"#### 7": 0.5, "#### 8": 0.5} for i in range(30)}, tokens_per_answer=TOKENS)
    sampler.open("", 1)
    seen: dict[str, list[int]] = {}
    stream = sampler.stream

    def watched(requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
        for result in stream(requests):
            seen.setdefault(result.request.question_id, []).extend(result.request.draws)
            yield result

    sampler.stream = watched  # type: ignore[method-assign]  # looks at the requests
    rules = table_rules(ASC(0.95, 12).table, [0] * 30)
    live = live_run(sampler, NumericGrader(), questions(30), [(1,)] * 30, rules)
    assert [len(seen[name]) for name in live.question_ids] == live.measured.samples.tolist()
    assert all(draws == list(range(len(draws))) for draws in seen.values())
    assert live.measured.rounds.max() > 1


def test_truncated_samples_abstain_and_are_charged() -> None:
    class Cut(ScriptedSampler):
        def stream(self, requests: Iterable[SampleRequest]) -> Iterator[SampleResult]:
            for result in super().stream(requests):
                samples = [Sample((1,) * 9, s.text, "length") for s in result.samples[:2]] + list(result.samples[2:])
                yield SampleResult(result.request, tuple(samples))

    sampler = Cut({"q0": SURE}, tokens_per_answer=TOKENS)
    sampler.open("", 0)
    two, three = (
        live_run(sampler, NumericGrader(), questions(1), [(1,)], [OneBatch(budget)]).measured for budget in (2, 3)
    )
    assert (float(two.correct), float(two.generated_tokens)) == (0, 18)
    assert (float(three.correct), float(three.generated_tokens)) == (1, 22)


@settings(max_examples=60, deadline=None)
@given(
    votes=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=12, max_size=12),
    threshold=st.sampled_from([0.8, 0.9, 0.95]),
)
def test_asked_in_batches_a_table_stops_where_one_by_one_would(votes: list[str | None], threshold: float) -> None:
    def convinced(drawn: int) -> bool:
        counts = sorted((votes[:drawn].count(name) for name in "abc"), reverse=True)
        return bool(beta.sf(0.5, counts[0] + 1, counts[1] + 1) >= threshold)

    expected = next((drawn for drawn in range(1, 12) if convinced(drawn)), 12)
    rule, drawn = ByTable(ASC(threshold, 12).table), 0
    while extra := rule.extra(votes[:drawn]):
        drawn += extra
    assert drawn == expected


def closed_form(right: Sequence[float], n: int) -> Replay:
    """The replay of FixedN(n), n odd, that an endless pool of two-answer questions would give."""
    count = len(right)
    return Replay(
        correct=torch.tensor([binom.sf(n // 2, n, p) for p in right], dtype=torch.float64),
        samples=torch.full((count,), float(n), dtype=torch.float64),
        generated_tokens=torch.full((count,), float(n * TOKENS), dtype=torch.float64),
        prompt_tokens=torch.ones(count, dtype=torch.float64),
        rounds=torch.ones(count, dtype=torch.float64),
        peak=torch.full((count,), float(n), dtype=torch.float64),
        critical_path=torch.full((count,), float(TOKENS), dtype=torch.float64),
        peak_kv=torch.full((count,), float(n * TOKENS + 1), dtype=torch.float64),
    )


@pytest.mark.statistical
@pytest.mark.parametrize("n", [1, 5, 9])
def test_agreement_with_the_closed_form_and_with_nothing_else(n: int) -> None:
    right = [0.6 + 0.3 * i / 400 for i in range(400)]
    scripts = [{"#### 7": p, "#### 8": 1 - p} for p in right]
    sampler = opened(scripts, shifted(n))
    live = live_run(sampler, NumericGrader(), questions(400), [(1,)] * 400, one_batch_rules([n] * 400))
    same = agreement(live.measured, closed_form(right, n))
    assert same.generated_tokens.value == same.generated_tokens.low == same.generated_tokens.high == 0
    # 400 independent draws: binomial noise of each question, in the value and as the interval.
    truth = closed_form(right, n).correct
    deviation = math.sqrt(float((truth * (1 - truth)).sum())) / 400
    assert abs(same.accuracy.value) < SIGMAS * deviation
    assert same.holds == (same.accuracy.low <= 0 <= same.accuracy.high)
    # Two standard errors of its width: 4% from 400 questions, 3% from 2,000 resamples.
    assert same.accuracy.high - same.accuracy.low == pytest.approx(2 * 1.96 * deviation, rel=0.05 * SIGMAS)
    better = agreement(live.measured, closed_form([p - 0.2 for p in right], n))
    assert not better.holds
    assert better.accuracy.low > 0
    dearer = agreement(live.measured, closed_form(right, n + 2))
    assert not dearer.holds
    assert dearer.generated_tokens.value == -2 * TOKENS
    assert json.loads(json.dumps(dearer.as_json()))["holds"] is False


def test_rounding_of_replay_is_no_disagreement() -> None:
    """A(N) of a question that is always right may be 1 - 2e-16, and twenty of them disagreed with 20 right answers."""
    scripts = [{"#### 7": 1.0}] * 20
    live = live_run(opened(scripts, 1), NumericGrader(), questions(20), [(1,)] * 20, one_batch_rules([3] * 20))
    replay = closed_form([1.0] * 20, 3)
    below = agreement(live.measured, replace(replay, correct=replay.correct - 2.0**-53))
    assert below.accuracy.low > 0
    assert below.holds


@pytest.mark.statistical
def test_intervals_cover_as_often_as_they_say() -> None:
    right = [0.5 + i / 100 for i in range(50)]
    scripts = [{"#### 7": p, "#### 8": 1 - p} for p in right]
    replay = closed_form(right, 3)
    repeats, held = 240, 0
    for repeat in range(repeats):
        sampler = opened(scripts, shifted(repeat))
        live = live_run(sampler, NumericGrader(), questions(50), [(1,)] * 50, one_batch_rules([3] * 50))
        held += agreement(live.measured, replay, num_resamples=300).holds
    # A percentile bootstrap over 50 questions is a little too narrow: 93.4% of 4,000 runs held. All of 240 hold with
    # probability 1e-7.
    assert fewest_of(repeats, 0.93) <= held < repeats


def test_as_json_adds_up() -> None:
    live = live_run(opened([SURE, HOPELESS]), NumericGrader(), questions(2), [(1, 2)] * 2, one_batch_rules([1, 3]))
    content = json.loads(json.dumps(live.as_json()))
    assert content["engine"] is None
    assert content["questions"][1] == {
        "id": "q1",
        "correct": 0,
        "samples": 3,
        "generated_tokens": 12,
        "prompt_tokens": 2,
        "rounds": 1,
        "peak": 3,
        "critical_path": 4,
        "peak_kv": 14,
    }
    totals = content["totals"]
    assert (totals["questions"], totals["accuracy"], totals["samples"]) == (2, 0.5, 4)
    assert (totals["generated_tokens"], totals["prompt_tokens"], totals["rounds_per_question"]) == (16, 4, 1)
    assert totals["samples_per_second"] * totals["seconds"] == pytest.approx(4)
    assert totals["generated_tokens_per_second"] * totals["seconds"] == pytest.approx(16)


def test_engine_watch_keeps_peaks_and_sums() -> None:
    def step(running: int, kv: float, queries: int, hits: int) -> SimpleNamespace:
        cache = SimpleNamespace(queries=queries, hits=hits)
        return SimpleNamespace(num_running_reqs=running, kv_cache_usage=kv, prefix_cache_stats=cache)

    watch = EngineWatch()
    watch.record(step(3, 0.5, 40, 0), SimpleNamespace(finished_requests=[], num_generation_tokens=3), engine_idx=0)
    watch.record(step(1, 0.2, 10, 8), SimpleNamespace(finished_requests=[0, 1, 2], num_generation_tokens=4))
    watch.record(step(0, 0.0, 0, 0), None)
    watch.record(None, None)
    config = SimpleNamespace(
        scheduler_config=SimpleNamespace(max_num_seqs=8), cache_config=SimpleNamespace(num_gpu_blocks=5, block_size=32)
    )
    facts = watch.facts(config)
    assert (facts.max_num_seqs, facts.kv_cache_tokens) == (8, 160)
    assert (facts.peak_running, facts.peak_kv_use) == (4, 0.5)
    assert (facts.prefix_queries, facts.prefix_hits, facts.prefix_hit_rate) == (50, 8, 0.16)
    assert facts.generated_tokens == 7
    watch.clear()
    assert watch.facts(config).prefix_hit_rate == watch.facts(config).peak_running == 0


@pytest.mark.parametrize("call", ["cool", "engine_facts"])
def test_an_engine_that_is_not_there_has_no_facts(call: str) -> None:
    with pytest.raises(RuntimeError, match=f"{call} before open"):
        getattr(VLLMSampler(), call)()


@pytest.fixture
def job(scripted_config: Callable[..., dict[str, Any]]) -> LabelJob:
    """A finished pool of scripted answers."""
    content = yaml.safe_load(yaml.safe_dump(scripted_config(num_questions=24)))["data"]["pool"]
    sampler = ScriptedSampler(**content["sampler"]["init_args"])
    task = JsonlTask(content["task"]["init_args"]["path"])
    made = LabelJob(content["path"], content["model"], task, sampler, samples_per_question=8)
    fill(made, SplitFractions())
    return made


def test_contenders_run_one_after_the_other_and_nothing_is_stored(job: LabelJob) -> None:
    prepared = prepare(job)
    before = sorted(path for path in Path(job.path).rglob("*") if path.is_file())
    contenders = {"one": one_batch_rules([1] * 24), "three": one_batch_rules([3] * 24)}
    live = evaluate_live(job, prepared.questions, prepared.prompts, contenders)
    assert list(live) == ["one", "three"]
    assert live["three"].measured.samples.sum() == 3 * live["one"].measured.samples.sum() == 72
    assert live["one"].measured.prompt_tokens.tolist() == [len(prompt) for prompt in prepared.prompts]
    assert sorted(path for path in Path(job.path).rglob("*") if path.is_file()) == before
    with pytest.raises(RuntimeError, match="before open"):
        next(job.sampler.stream([]))


def test_the_sampler_is_closed_when_a_rule_fails(job: LabelJob) -> None:
    class Broken:
        def extra(self, votes: Sequence[object]) -> int:
            raise ZeroDivisionError

    prepared, done = prepare(job), {}
    contenders: dict[str, list[Any]] = {"one": one_batch_rules([1] * 24), "broken": [Broken()] * 24}
    with pytest.raises(ZeroDivisionError):
        evaluate_live(job, prepared.questions, prepared.prompts, contenders, done.__setitem__)
    assert done["one"].measured.samples.sum() == 24, "what ran before is not lost"
    with pytest.raises(RuntimeError, match="before open"):
        next(job.sampler.stream([]))


def test_what_could_not_agree_is_refused(job: LabelJob) -> None:
    prepared = prepare(job)

    def live(**changes: Any) -> None:
        other = LabelJob(**{**vars(job), **changes})
        evaluate_live(other, prepared.questions, prepared.prompts, {"one": one_batch_rules([1] * 24)})

    answers = job.sampler.answers  # type: ignore[attr-defined]  # a ScriptedSampler
    with pytest.raises(T2Error, match=r"difference in sampling\.max_tokens: 4 in the pool, 5 asked"):
        live(sampler=ScriptedSampler(answers, tokens_per_answer=5))
    reader = ShardReader(PoolPaths(Path(job.path)))
    reader.refresh()
    (seed,) = reader.engine_seeds()
    with pytest.raises(T2Error, match=f"Expected an engine seed that the pool does not have, got {seed}"):
        live(engine_seed=seed)
    with pytest.raises(T2Error, match="Expected a pool, got no"):
        live(path=f"{job.path}-none")
