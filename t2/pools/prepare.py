"""Before any sample is drawn: questions checked and rendered, the pool's identity written or compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from t2.errors import T2Error, quoted
from t2.grading.grade import golds_of
from t2.model_files import ModelFiles, resolve_model
from t2.pools.complete import complete_ids, held_draws, needed_draws
from t2.pools.previews import preview_paths
from t2.pools.questions import merge_questions
from t2.prompts import PromptRenderer, load_tokenizer
from t2.spec import GREEDY_DRAW, LabelJob, Question
from t2.store.lock import adding_questions
from t2.store.origins import add_origin, read_origins
from t2.store.pool_spec import PoolSpec, check_or_create_spec, read_spec
from t2.store.reader import ShardReader, read_prompt_tokens, read_questions
from t2.store.schema import PoolPaths
from t2.store.writer import write_questions

Prompt = tuple[int, ...]
"""Token ids of a rendered prompt."""


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
    prompts: list[Prompt]
    """of each question of the pool, as the LLM reads them that gives the features: the proxy, if one does"""
    prompt_tokens: list[int]
    """tokens of each prompt as the samples paid them; 0 where an import did not know"""
    previews: PoolPaths | None = None
    """where previews of these settings keep their samples; None: the pool is finished, or was imported"""

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
    nothing is written. A proxy (hub id or folder of another LLM that gives the features) reads prompts of its own
    tokenizer, since token ids of another one mean nothing to it.

    Raises:
        T2Error: unreadable gold answers, other model, prompt or sampling settings, changed question, or a proxy without
            a tokenizer.
    """
    if job.samples_per_question < 1:
        raise T2Error(f"Expected `samples_per_question` of at least 1, got {job.samples_per_question}.")
    paths = PoolPaths(Path(job.path))
    job.task.pin(read_origins(paths))
    wanted = job.task.questions()
    golds_of(job.task.grader, wanted)  # refuses those that cannot be read, before samples are paid for
    if paths.spec.exists() and (stored := read_spec(paths)).imported:
        _check_model(job, stored, paths)
        return _prepare_imported(job, proxy, paths, stored, wanted)
    prepared = _prepare_labelled(job, paths, wanted)
    add_origin(paths, job.task.origin())
    return prepared if proxy is None else _read_by(resolve_model(proxy), prepared, job)


def _prepare_labelled(job: LabelJob, paths: PoolPaths, wanted: list[Question]) -> Prepared:
    """The questions with the prompts that the pool's own LLM answers."""
    old, old_prompts = _stored_questions(paths)
    questions = merge_questions(old, wanted)
    sampling = job.sampler.settings.as_json()  # before the model is looked for: without a sampler nothing goes on
    if questions == old and not Path(job.model).is_dir() and is_finished(paths, wanted, job):
        stored = read_spec(paths)
        _check_model(job, stored, paths)
        day = job.prompt.date or stored.prompt.get("date")
        prompt = replace(job.prompt, date=day).as_json() | {"fingerprint": stored.prompt["fingerprint"]}
        # What ends an answer is a matter of the model, which is not here to be asked.
        ends = {key: value for key, value in stored.sampling.items() if key not in sampling}
        spec = PoolSpec(stored.model, prompt, sampling | ends)
        check_or_create_spec(paths, spec)
        return Prepared(paths, spec, None, wanted, questions, old_prompts, _lengths(old_prompts))
    asked = Asked.of(job)
    spec = asked.spec
    if paths.spec.exists():
        check_or_create_spec(paths, spec)  # before prompts are rendered for nothing
    prompts = old_prompts
    if questions != old:
        with adding_questions(paths):  # another process may have added some by now
            old, old_prompts = _stored_questions(paths)
            questions = merge_questions(old, wanted)
            prompts = old_prompts + _rendered(asked.renderer, questions[len(old) :])
            check_or_create_spec(paths, spec)
            write_questions(paths, questions, prompts)
    check_or_create_spec(paths, spec)
    return Prepared(paths, spec, asked.files, wanted, questions, prompts, _lengths(prompts), previews=asked.previews)


def _stored_questions(paths: PoolPaths) -> tuple[list[Question], list[Prompt]]:
    return read_questions(paths) if paths.questions.exists() else ([], [])


def _lengths(prompts: list[Prompt]) -> list[int]:
    return [len(prompt) for prompt in prompts]


@dataclass(frozen=True)
class Asked:
    """What a job asks of an LLM that is at hand."""

    files: ModelFiles
    renderer: PromptRenderer
    spec: PoolSpec
    """of a pool of it"""
    previews: PoolPaths
    """where previews of these settings keep their samples"""

    @classmethod
    def of(cls, job: LabelJob) -> Asked:
        """Find the model and its chat template; nothing is rendered yet.

        A template that prints today's date gets the day on which the pool or, before there is one, its preview was
        begun: the fingerprint has the day in it, and samples of two days would not meet.
        """
        files = resolve_model(job.model, job.revision)
        tokenizer, sampling = load_tokenizer(files.folder), job.sampler.recorded(str(files.folder))
        renderer = PromptRenderer.of(tokenizer, job.prompt)
        undated = replace(renderer, spec=replace(renderer.spec, date=job.prompt.date)).fingerprint
        previews = preview_paths(job.path, files.fingerprint, undated, sampling)
        if renderer.spec.date != job.prompt.date:
            begun = next((each for each in (PoolPaths(Path(job.path)), previews) if each.spec.exists()), None)
            renderer = PromptRenderer.of(tokenizer, job.prompt, read_spec(begun).prompt.get("date") if begun else None)
        return cls(files, renderer, PoolSpec(files.as_json(), renderer.recorded, sampling), previews)


def _rendered(renderer: PromptRenderer, questions: list[Question]) -> list[Prompt]:
    return [tuple(renderer.ids(question.text, question.id)) for question in questions]


def _read_by(proxy: ModelFiles, prepared: Prepared, job: LabelJob) -> Prepared:
    """The same questions as a proxy reads them; what the samples paid for their prompts stays."""
    if proxy.fingerprint == prepared.spec.model["fingerprint"]:
        return prepared
    renderer = PromptRenderer.of_proxy(load_tokenizer(proxy.folder), job.prompt)
    spec = replace(prepared.spec, prompt=renderer.recorded)
    return replace(prepared, spec=spec, prompts=_rendered(renderer, prepared.questions))


def _check_model(job: LabelJob, stored: PoolSpec, paths: PoolPaths) -> None:
    """Where a model cannot be compared by its files, by its name.

    Raises:
        T2Error: it has another name.
    """
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
            f"{quoted(unknown[0])}). Use `task: {{class_path: PoolTask}}` with the pool's path."
        )
    merge_questions(questions, wanted)  # refuses changed ones
    held = held_draws(_read_shards(paths))
    complete = complete_ids(held, needed_draws(job.samples_per_question, imported=True))
    usable = [question for question in wanted if question.id in complete]
    if not usable:
        most = max((len(draws - {GREEDY_DRAW}) for draws in held.values()), default=0)
        raise T2Error(
            f"Expected questions with {job.samples_per_question} samples, got at most {most} in the imported pool "
            f"{paths.root}. Lower `data.pool.samples_per_question`."
        )
    renderer = PromptRenderer.of_proxy(load_tokenizer(resolve_model(proxy).folder), job.prompt)
    spec = replace(stored, prompt=renderer.recorded)
    prompts = _rendered(renderer, questions)
    return Prepared(paths, spec, None, usable, questions, prompts, read_prompt_tokens(paths))


def is_finished(paths: PoolPaths, wanted: list[Question], job: LabelJob) -> bool:
    """Whether a pool lacks no sample of these questions."""
    complete = complete_ids(held_draws(_read_shards(paths)), needed_draws(job.samples_per_question))
    return all(question.id in complete for question in wanted)


def _read_shards(paths: PoolPaths) -> ShardReader:
    reader = ShardReader(paths)
    reader.refresh()
    return reader
