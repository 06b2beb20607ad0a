"""Run a `LabelJob`: resume what is there, draw what is missing, lose nothing that is finished."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2.errors import T2Error, quoted
from t2.grading.grade import gold_of
from t2.labelling.plan import merge_questions, missing_requests
from t2.model_files import ModelFiles, resolve_model
from t2.prompts import prompt_fingerprint, render
from t2.spec import GREEDY_DRAW, LabelJob, Question, SampleRequest
from t2.splits import SplitFractions, labelling_order
from t2.store.lock import Heart, adding_questions, hold
from t2.store.pool_spec import PoolSpec, check_or_create_spec, read_spec
from t2.store.reader import ShardReader, manifest_entries, read_prompt_tokens, read_questions
from t2.store.schema import PoolPaths
from t2.store.writer import ShardWriter, add_shard, write_questions

COMPACT_ABOVE_SHARDS = 32
"""More shards than this are merged into one when a labelling process starts or ends."""


@dataclass(frozen=True)
class Progress:
    """What a progress bar needs; counts are of this process, `resumed` is what the pool had before."""

    samples_done: int
    samples_total: int
    tokens: int
    """generated tokens, the end tokens included"""
    resumed: int


@dataclass(frozen=True)
class Prepared:
    """A job whose questions are rendered, before any sample is drawn."""

    paths: PoolPaths
    spec: PoolSpec
    """of the pool; with a proxy its prompt is the one that the proxy reads"""
    model_files: ModelFiles | None
    """None: the pool is finished and its model is not on this machine"""
    wanted: list[Question]
    """the questions of the job's task"""
    questions: list[Question]
    """all questions of the pool, the wanted ones among them"""
    prompts: list[tuple[int, ...]]
    """token ids of each question of the pool, as the LLM reads them that gives the features: the proxy, if one does"""
    prompt_tokens: list[int]
    """tokens of each prompt as the samples paid them; 0 where an import did not know"""

    def only_wanted(self) -> Prepared:
        """The same without the pool's other questions: what a run trains on asks nothing of those."""
        wanted = {question.id for question in self.wanted}
        rows = [row for row, question in enumerate(self.questions) if question.id in wanted]
        return replace(
            self,
            questions=[self.questions[row] for row in rows],
            prompts=[self.prompts[row] for row in rows],
            prompt_tokens=[self.prompt_tokens[row] for row in rows],
        )


def prepare(job: LabelJob, proxy: str | None = None) -> Prepared:
    """Check questions and settings, create or compare the pool's spec, write its questions with their prompts.

    A finished pool needs neither model nor tokenizer: its prompts are stored. An imported pool has no prompts, and
    nothing is written. A proxy reads prompts of its own tokenizer, since token ids of another one mean nothing to it.

    Args:
        job: the pool.
        proxy: hub id or folder of another LLM that gives the features.

    Raises:
        T2Error: unreadable gold answer, other model, prompt or sampling settings, changed question, or a proxy without
            a tokenizer.
    """
    if job.samples_per_question < 1:
        raise T2Error(f"Expected `samples_per_question` of at least 1, got {job.samples_per_question}.")
    wanted = job.task.questions()
    for question in wanted:
        gold_of(job.task.grader, question.answer, question.id)
    paths = PoolPaths(Path(job.path))
    if paths.spec.exists() and (imported := read_spec(paths)).imported:
        _check_model(job, imported, paths)
        return _prepare_imported(job, proxy, paths, imported, wanted)
    prepared = _prepare_labelled(job, paths, wanted)
    return prepared if proxy is None else _read_by(resolve_model(proxy), prepared, job)


def _prepare_labelled(job: LabelJob, paths: PoolPaths, wanted: list[Question]) -> Prepared:
    """The questions with the prompts that the pool's own LLM answers."""
    old, old_prompts = read_questions(paths) if paths.questions.exists() else ([], [])
    questions = merge_questions(old, wanted)
    sampling = job.sampler.settings.as_json()
    if questions == old and not Path(job.model).is_dir() and _is_finished(paths, wanted, job):
        stored = read_spec(paths)
        _check_model(job, stored, paths)
        prompt = {**asdict(job.prompt), "fingerprint": stored.prompt["fingerprint"]}
        spec = PoolSpec(stored.model, prompt, sampling)
        check_or_create_spec(paths, spec)
        return Prepared(paths, spec, None, wanted, questions, old_prompts, _lengths(old_prompts))
    model = resolve_model(job.model, job.revision)
    tokenizer = load_tokenizer(model.folder)
    prompt = {**asdict(job.prompt), "fingerprint": prompt_fingerprint(tokenizer, job.prompt)}
    spec = PoolSpec(model.as_json(), prompt, sampling)
    if paths.spec.exists():
        check_or_create_spec(paths, spec)  # before prompts are rendered for nothing
    prompts = old_prompts
    if questions != old:
        with adding_questions(paths):  # another process may have added some by now
            old, old_prompts = read_questions(paths) if paths.questions.exists() else ([], [])
            questions = merge_questions(old, wanted)
            prompts = old_prompts + [tuple(render(tokenizer, job.prompt, q.text)) for q in questions[len(old) :]]
            check_or_create_spec(paths, spec)
            write_questions(paths, questions, prompts)
    check_or_create_spec(paths, spec)
    return Prepared(paths, spec, model, wanted, questions, prompts, _lengths(prompts))


def _lengths(prompts: list[tuple[int, ...]]) -> list[int]:
    return [len(prompt) for prompt in prompts]


def _rendered(
    files: ModelFiles, job: LabelJob, questions: list[Question]
) -> tuple[dict[str, Any], list[tuple[int, ...]]]:
    """How an LLM reads the questions: the prompt as a pool's spec has it, and the token ids of each."""
    tokenizer = load_tokenizer(files.folder)
    prompt = {**asdict(job.prompt), "fingerprint": prompt_fingerprint(tokenizer, job.prompt)}
    return prompt, [tuple(render(tokenizer, job.prompt, question.text)) for question in questions]


def _read_by(proxy: ModelFiles, prepared: Prepared, job: LabelJob) -> Prepared:
    """The same questions as a proxy reads them; what the samples paid for their prompts stays."""
    if proxy.fingerprint == prepared.spec.model["fingerprint"]:
        return prepared
    prompt, prompts = _rendered(proxy, job, prepared.questions)
    return replace(prepared, spec=replace(prepared.spec, prompt=prompt), prompts=prompts)


def _check_model(job: LabelJob, stored: PoolSpec, paths: PoolPaths) -> None:
    """Where a model cannot be compared by its files, by its name."""
    if stored.model["id"] not in (job.model, Path(job.model).name):
        raise T2Error(
            f"Expected the model of pool {paths.root} ({stored.model['id']}), got {job.model!r}. "
            "Mend `data.pool.model` or choose another `data.pool.path`."
        )


def _prepare_imported(
    job: LabelJob, proxy: str | None, paths: PoolPaths, stored: PoolSpec, wanted: list[Question]
) -> Prepared:
    """The questions that have enough samples, with the prompts that the proxy reads.

    Raises:
        T2Error: no proxy, a question that the pool does not have or has otherwise, or none with enough samples.
    """
    if proxy is None:
        raise T2Error(
            f"Expected `data.allow_proxy` with the LLM that gives the features, got none: pool {paths.root} was "
            f"imported, and {stored.model['id']!r} is not here. Name a hub id or folder."
        )
    questions, _ = read_questions(paths)
    if unknown := sorted({question.id for question in wanted} - {question.id for question in questions}):
        raise T2Error(
            f"Expected questions of the imported pool {paths.root}, got {len(unknown)} others (first: "
            f"{quoted(unknown[0])}). "
            "Use `task: {class_path: PoolTask}` with the pool's path."
        )
    merge_questions(questions, wanted)  # refuses changed ones
    have, needed = held_draws(_refreshed(paths)), set(range(job.samples_per_question))
    usable = [question for question in wanted if needed <= have.get(question.id, set())]
    if not usable:
        most = max((len(draws - {GREEDY_DRAW}) for draws in have.values()), default=0)
        raise T2Error(
            f"Expected questions with {job.samples_per_question} samples, got at most {most} in the imported pool "
            f"{paths.root}. Lower `data.pool.samples_per_question`."
        )
    prompt, prompts = _rendered(resolve_model(proxy), job, questions)
    spec = replace(stored, prompt=prompt)
    return Prepared(paths, spec, None, usable, questions, prompts, read_prompt_tokens(paths))


def load_tokenizer(model_folder: Path) -> Any:
    """The fast tokenizer of a model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(model_folder)
    except (OSError, ValueError) as error:
        raise T2Error(
            f"Expected a fast tokenizer in {model_folder}, got none that transformers can read: "
            f"{' '.join(str(error).split())[:200]} Put the model's tokenizer files there."
        ) from error


def _is_finished(paths: PoolPaths, wanted: list[Question], job: LabelJob) -> bool:
    have = held_draws(_refreshed(paths))
    needed = {GREEDY_DRAW, *range(job.samples_per_question)}
    return all(needed <= have.get(question.id, set()) for question in wanted)


def _refreshed(paths: PoolPaths) -> ShardReader:
    reader = ShardReader(paths)
    reader.refresh()
    return reader


def run(job: LabelJob, fractions: SplitFractions, on_progress: Callable[[Progress], None] | None = None) -> Progress:
    """Draw and store every sample the pool lacks. Whatever ends it, finished requests are flushed first.

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
        compact(paths, COMPACT_ABOVE_SHARDS)
        reader = _refreshed(paths)
        have = held_draws(reader)
        prompt_of = {q.id: prompt for q, prompt in zip(prepared.questions, prepared.prompts, strict=True)}
        ordered = [prepared.wanted[index] for index in labelling_order(prepared.wanted, fractions)]
        requests = missing_requests(
            ordered,
            [prompt_of[question.id] for question in ordered],
            have,
            job.samples_per_question,
            job.sampler.samples_per_request,
        )
        resumed = sum(len(draws) for draws in have.values())
        progress = Progress(0, sum(len(request.draws) for request in requests), 0, resumed)
        if requests:
            seed = fresh_engine_seed(reader.engine_seeds(), job.engine_seed)
            attempt = 1 + max(reader.attempts(), default=0)
            writer = ShardWriter(paths, seed, attempt)
            heart.begin(writer.name, progress.samples_total)
            progress = _draw(job, prepared, requests, writer, progress, _both(heart, on_progress))
        compact(paths, COMPACT_ABOVE_SHARDS)
    return progress


def _draw(
    job: LabelJob,
    prepared: Prepared,
    requests: list[SampleRequest],
    writer: ShardWriter,
    progress: Progress,
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Stream the requests through the sampler into the writer."""
    try:
        if prepared.model_files is None:
            raise T2Error(f"Expected the model {job.model!r} to draw samples with, got no such folder.")
        job.sampler.open(str(prepared.model_files.folder), writer.engine_seed)
        job.sampler.check_prompts({request.question_id: request.prompt_ids for request in requests})
        for result in job.sampler.stream(requests):
            writer.append(result)
            progress = Progress(
                progress.samples_done + len(result.samples),
                progress.samples_total,
                progress.tokens + sum(len(sample.token_ids) for sample in result.samples),
                progress.resumed,
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
        heart.samples_done = progress.samples_done
        if on_progress:
            on_progress(progress)

    return report


def held_draws(reader: ShardReader) -> dict[str, set[int]]:
    """Draw numbers that the pool holds, by question id."""
    have: dict[str, set[int]] = defaultdict(set)
    for table in reader.tables.values():
        for question_id, draw in zip(table["question_id"].to_pylist(), table["draw"].to_pylist(), strict=True):
            have[question_id].add(draw)
    return have


def fresh_engine_seed(used: set[int], asked: int | None) -> int:
    """An engine seed that the pool does not have: equal seeds would silently redraw the same answers.

    Raises:
        T2Error: the seed asked for has been used.
    """
    if asked is None:
        return next(seed for seed in iter(lambda: secrets.randbelow(2**31 - 1), None) if seed not in used)
    if asked in used:
        raise T2Error(
            f"Expected an engine seed that the pool does not have, got {asked}: it would redraw the same samples. "
            "Remove `data.pool.engine_seed`."
        )
    return asked


def compact(paths: PoolPaths, above: int) -> None:
    """Merge the shards into one if there are more than `above`; duplicates (by question and draw) are dropped.

    Safe at every moment: the merged shard is named before the old manifests go, and readers drop duplicates.
    Only the holder of the lock calls it.
    """
    old_manifests = sorted(paths.manifests.glob("*.jsonl"))
    old_shards = [entry["shard"] for entry in manifest_entries(paths)]
    if len(old_shards) <= above:
        return
    reader = _refreshed(paths)
    merged = deduplicated(pa.concat_tables(reader.tables.values()))
    name = f"{max(path.stem for path in old_manifests)}-merged"
    add_shard(paths, name, f"{name}.parquet", merged)
    for path in [*old_manifests, *(paths.shards / shard for shard in old_shards)]:
        path.unlink(missing_ok=True)


def deduplicated(table: pa.Table) -> pa.Table:
    """The first row of every (question, draw), in order of appearance."""
    keys = zip(table["question_id"].to_pylist(), table["draw"].to_pylist(), strict=True)
    first: dict[tuple[str, int], int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    return table if len(first) == table.num_rows else table.take(list(first.values()))
