"""Fill a pool: resume what is there, draw what is missing, lose nothing that is finished. Knows nothing of training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from t2.endings import keeping
from t2.errors import T2Error
from t2.pools.complete import held_draws, missing_requests
from t2.pools.end_tokens import check_ends
from t2.pools.prepare import Prepared, prepare
from t2.pools.previews import take_over
from t2.spec import LabelJob, SampleRequest
from t2.splits import SplitFractions, labelling_order
from t2.store.compact import compact
from t2.store.lock import Heart, hold
from t2.store.pool_spec import read_spec
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.store.seeds import fresh_engine_seed
from t2.store.writer import ShardWriter


@dataclass(frozen=True)
class Progress:
    """How far this process is; `resumed` is what the pool had before."""

    samples_done: int
    """of finished requests: stored at the next flush"""
    samples_total: int
    tokens: int
    """generated tokens of `samples_done`, the end tokens included"""
    resumed: int
    samples_finished: int = 0
    """`samples_done`, and those that wait for others of their request; an end now would lose these"""

    @property
    def length(self) -> str:
        """How long samples are, in words."""
        return f"{self.tokens / self.samples_done:.0f} tokens a sample" if self.samples_done else ""


def fill(
    job: LabelJob,
    fractions: SplitFractions,
    on_progress: Callable[[Progress], None] | None = None,
    on_opened: Callable[[], None] = lambda: None,
) -> Progress:
    """Draw and store every sample the pool lacks. Whatever ends it, finished requests are flushed first.

    Args:
        job: the pool.
        fractions: of the splits, by which questions are ordered.
        on_progress: called as samples finish.
        on_opened: called once, when the sampler is ready to draw: loading a model is no drawing.

    Raises:
        T2Error: bad input (see `prepare`), an imported pool, one held by another process, or an engine seed that the
            pool has.
    """
    paths = PoolPaths(Path(job.path))
    if paths.spec.exists() and read_spec(paths).imported:
        raise T2Error(
            f"Expected a pool that t2 label fills, got {paths.root}, which was imported: samples of another source do "
            "not belong in it. Choose another `data.pool.path`."
        )
    with hold(paths) as heart:
        prepared = prepare(job)
        compact(paths)
        prompt_of = {q.id: prompt for q, prompt in zip(prepared.questions, prepared.prompts, strict=True)}
        if prepared.previews:
            take_over(paths, prepared.previews, prompt_of)
        reader = ShardReader(paths)
        reader.refresh()
        _check_ends(prepared, reader)
        held = held_draws(reader)
        ordered = [prepared.wanted[index] for index in labelling_order(prepared.wanted, fractions)]
        requests = missing_requests(
            ordered,
            [prompt_of[question.id] for question in ordered],
            held,
            job.samples_per_question,
            job.sampler.samples_per_request,
        )
        resumed = sum(len(draws) for draws in held.values())
        progress = Progress(0, sum(len(request.draws) for request in requests), 0, resumed)
        if requests:
            seed = fresh_engine_seed(reader.engine_seeds(), job.engine_seed)
            attempt = 1 + max(reader.attempts(), default=0)
            writer = ShardWriter(paths, seed, attempt)
            heart.begin(writer.name, progress.samples_total)
            everything = resumed + progress.samples_total
            with keeping(lambda: f"{resumed + writer.stored:,} of {everything:,} samples are kept in {paths.root}"):
                progress = _draw(job, prepared, requests, writer, progress, _both(heart, on_progress), on_opened)
        compact(paths)
    return progress


def _check_ends(prepared: Prepared, reader: ShardReader) -> None:
    """A pool that is older than the record of what ends an answer is asked by its samples."""
    asked = prepared.spec.sampling
    if "end_token_ids" in asked and "end_token_ids" not in read_spec(prepared.paths).sampling:
        check_ends(reader.tables.values(), asked["end_token_ids"], asked["stop"], prepared.paths.root)


def _draw(
    job: LabelJob,
    prepared: Prepared,
    requests: list[SampleRequest],
    writer: ShardWriter,
    progress: Progress,
    on_progress: Callable[[Progress], None],
    on_opened: Callable[[], None],
) -> Progress:
    """Stream the requests through the sampler into the writer."""

    def count_finished(finished: int) -> None:
        nonlocal progress
        if finished != progress.samples_finished or not finished:
            progress = replace(progress, samples_finished=finished)
            on_progress(progress)

    try:
        if prepared.model_files is None:
            raise T2Error(f"Expected the model {job.model!r} to draw samples with, got no such folder.")
        job.sampler.open(str(prepared.model_files.folder), writer.engine_seed)
        job.sampler.check_prompts({request.question_id: request.prompt_ids for request in requests})
        job.sampler.follow(count_finished)
        on_opened()
        for result in job.sampler.stream(requests):
            writer.append(result)
            done = progress.samples_done + len(result.samples)
            progress = replace(
                progress,
                samples_done=done,
                tokens=progress.tokens + sum(len(sample.token_ids) for sample in result.samples),
                samples_finished=max(done, progress.samples_finished),
            )
            writer.flush_if_due()
            on_progress(progress)
    finally:
        try:
            writer.flush()
        except SystemExit:  # SIGTERM in the middle of it: once more, into the same shard
            writer.flush()
            raise
        finally:
            job.sampler.close()
    return progress


def _both(heart: Heart, on_progress: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """Tell the heartbeat and, if there is one, the caller."""

    def report(progress: Progress) -> None:
        heart.samples_done = progress.samples_finished
        if on_progress:
            on_progress(progress)

    return report
