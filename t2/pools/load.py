"""Any pool, labelled or imported, as graded samples ready to be measured. Needs neither model nor tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from t2.config import DataSettings, read_data
from t2.curves.majority import MAX_SAMPLES
from t2.errors import T2Error
from t2.grading.given import GivenGrader, grader_named, grader_of_pool
from t2.grading.graded import GradedPool
from t2.importing.notes import source_notes
from t2.model_files import quantization_note
from t2.pools.grader import PoolGrader
from t2.pools.questions import merge_questions
from t2.spec import Grader, LabelJob, Question
from t2.store.origins import read_origins
from t2.store.pool_spec import PoolSpec, read_spec
from t2.store.reader import ShardReader, read_prompt_tokens, read_questions
from t2.store.schema import PoolPaths
from t2.voting import ABSTAINED

MOST_UNREAD = 0.5
"""Share of the finished samples beyond which it is said that the grader reads no answer in them."""


@dataclass(frozen=True)
class LoadedPool:
    """A pool and what a reader of its numbers must know."""

    root: Path
    """folder"""
    name: str
    """folder name"""
    spec: PoolSpec
    pool: GradedPool
    """graded samples of the questions that are used"""
    questions: tuple[Question, ...]
    prompts: tuple[tuple[int, ...], ...]
    """token ids; () where unknown (imported)"""
    cost_unit: str
    """"tokens" or "samples": what the pool's token counts are"""
    grader: str
    """version of the grader used, "given" for given grades"""
    notes: tuple[str, ...]
    """sentences that belong into every report"""
    source_notes: tuple[str, ...]
    """those of them that do not follow from `pool` alone, for a report that measures `pool` and says the rest itself"""
    data: DataSettings | None = None
    """of the config that was named; None: a folder was"""

    @property
    def job(self) -> LabelJob | None:
        """Whose samples these are, if a config says so."""
        return self.data.pool if self.data else None

    @property
    def description(self) -> str:
        """What this is, in a sentence: whose samples, from where, graded how, cost in what."""
        origin = "" if self.spec.source is None else f", imported from {self.spec.source['file']}"
        return (
            f"Pool {self.name}: samples of {self.spec.model['id']}{origin}; grader {self.grader}; "
            f"cost in {self.cost_unit}."
        )


@dataclass(frozen=True)
class _Stored:
    """Questions of a pool with what is stored beside them."""

    questions: list[Question]
    prompts: list[tuple[int, ...]]
    prompt_tokens: list[int]

    def take(self, rows: Sequence[int]) -> _Stored:
        questions, prompts, prompt_tokens = ([column[row] for row in rows] for column in vars(self).values())
        return _Stored(questions, prompts, prompt_tokens)


def load_pool(
    source: str | Path, grader: str | None = None, min_samples: int | None = None, max_samples: int | None = None
) -> LoadedPool:
    """Grade the samples of a pool.

    Questions with too few samples are left out, and a note says so: fewer than `min_samples`; without it fewer than
    `samples_per_question` of a config, than the fullest question of a labelled pool, than 1 of an imported one. A
    question of a labelled pool also needs its greedy answer.

    Args:
        source: folder of a pool, or a YAML config, whose task then says which questions count and how they are graded.
        grader: "numeric", "exact" or "given"; by default the config's, else the pool's own, see `grader_of_pool`.
        min_samples: fewest samples of a question that counts.
        max_samples: use draws 0..max_samples-1 alone.

    Raises:
        T2Error: no pool there, a damaged one, or none of its questions can be used.
    """
    for name, value in (("min_samples", min_samples), ("max_samples", max_samples)):
        if value is not None and value < 1:
            raise T2Error(f"Expected `{name}` of at least 1 sample, got {value}.")
    data = _data_of(Path(source))
    job, paths = data.pool if data else None, _paths(data, source)
    spec = read_spec(paths)
    # What is asked for counts before the config, which counts before what the pool records.
    judge = grader_named(grader) if grader is not None else job.task.grader if job else grader_of_pool(spec)
    stored = _Stored(*read_questions(paths), read_prompt_tokens(paths))
    num_wanted = len(stored.questions)
    if job:
        num_wanted, stored = _questions_of_task(job, stored)
    reader = PoolGrader(ShardReader(paths), judge)
    reader.refresh()
    fewest = min_samples or min(_fewest(reader, stored, spec, job), max_samples or MAX_SAMPLES)
    complete = reader.complete_ids(fewest, with_greedy=not spec.imported)
    used = [row for row, question in enumerate(stored.questions) if question.id in complete]
    if not used:
        raise T2Error(
            f"Expected a question with at least {fewest} samples in {paths.root}, got none"
            f"{'' if spec.imported else ' that also has its greedy answer'}. "
            "Lower `min_samples` or `data.pool.samples_per_question`."
        )
    kept = stored.take(used)
    most = max(reader.num_samples(question.id) for question in kept.questions)
    limit = min(most, MAX_SAMPLES, max_samples or most, job.samples_per_question if job else most)
    pool = reader.pool(kept.questions, kept.prompt_tokens, limit)
    about_source = [*_left_out(num_wanted, len(used), fewest, spec), *_source_notes(pool, spec, judge)]
    about_grades = [*_grade_notes(pool, judge), *_cut(most, limit, max_samples)]
    return LoadedPool(
        root=paths.root,
        name=paths.root.resolve().name,
        spec=spec,
        pool=pool,
        questions=tuple(kept.questions),
        prompts=tuple(kept.prompts),
        cost_unit=spec.cost_unit,
        grader=judge.version,
        notes=(*about_source, *_sample_notes(pool), *about_grades),
        source_notes=(*about_source, *about_grades),
        data=data,
    )


def pool_folder(source: str | Path) -> Path:
    """Folder of the pool that `load_pool` would load; no sample is read.

    Raises:
        T2Error: no pool there.
    """
    paths = _paths(_data_of(Path(source)), source)
    read_spec(paths)
    return paths.root


def _paths(data: DataSettings | None, source: str | Path) -> PoolPaths:
    return PoolPaths(Path(data.pool.path if data else source))


def _data_of(path: Path) -> DataSettings | None:
    """The `data:` of a config, None for a folder."""
    try:
        str(path).encode()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, UnicodeEncodeError) as error:  # as a name that is too long, or not UTF-8
        reason = getattr(error, "strerror", "its path is not UTF-8")
        raise T2Error(f"Expected a pool folder or a YAML config, got {str(path)[-60:]!r}: {reason}.") from error
    if is_folder:
        return None
    if not is_file:
        raise T2Error(f"Expected a pool folder or a YAML config, got {path}: no such file or folder.")
    if path.suffix == ".jsonl":
        raise T2Error(
            f"Expected a pool folder or a YAML config, got {path}. Make it a pool: t2 import {path} --pool FOLDER"
        )
    return read_data(path)


def _questions_of_task(job: LabelJob, stored: _Stored) -> tuple[int, _Stored]:
    """How many questions the config's task has, and those of them that are in the pool, in its order."""
    job.task.pin(read_origins(PoolPaths(Path(job.path))))
    wanted = job.task.questions()
    merged = {question.id: question for question in merge_questions(stored.questions, wanted)}
    names = {question.id for question in wanted}
    kept = stored.take([row for row, question in enumerate(stored.questions) if question.id in names])
    return len(wanted), _Stored([merged[q.id] for q in kept.questions], kept.prompts, kept.prompt_tokens)


def _fewest(reader: PoolGrader, stored: _Stored, spec: PoolSpec, job: LabelJob | None) -> int:
    """Samples that a question must have if nobody says."""
    if job:
        return job.samples_per_question
    if spec.imported:
        return 1
    return max((reader.num_samples(question.id) for question in stored.questions), default=1) or 1


def _left_out(num_wanted: int, num_used: int, fewest: int, spec: PoolSpec) -> Iterator[str]:
    if num_used < num_wanted:
        reason = f"fewer than {fewest} samples" if spec.imported else f"not {fewest} samples and a greedy answer yet"
        yield f"{num_wanted - num_used} of {num_wanted} questions are left out: they have {reason}."


def _cut(most: int, limit: int, max_samples: int | None) -> Iterator[str]:
    if limit < most:
        reason = "" if limit != MAX_SAMPLES or max_samples == limit else ", the most that exact curves can hold"
        yield f"Only the first {limit} of up to {most} samples of each question are used{reason}."


def _source_notes(pool: GradedPool, spec: PoolSpec, grader: Grader) -> Iterator[str]:
    if method := spec.model.get("quantization"):
        yield quantization_note(spec.model["id"], method)
    if spec.source is not None:
        yield from source_notes(spec.source, spec.cost_unit, regraded=not isinstance(grader, GivenGrader))
        unknown = int((pool.prompt_tokens_Q == 0).sum())
        if spec.cost_unit == "tokens" and unknown:
            yield f"Prompt tokens of {unknown} questions are unknown: total tokens leave them out."


def _sample_notes(pool: GradedPool) -> Iterator[str]:
    samples_Q = pool.present_QM.sum(1)
    smallest, largest = int(samples_Q.min()), int(samples_Q.max())
    if smallest < largest:
        yield (
            f"Questions have {smallest} to {largest} samples: budgets go up to {smallest}. A larger `min_samples` "
            "leaves out the questions that have few."
        )
    if missing := int((~pool.greedy_present_Q).sum()):
        yield f"No greedy answer of {missing} of {len(pool)} questions: nothing is compared with greedy decoding."


def _grade_notes(pool: GradedPool, grader: Grader) -> Iterator[str]:
    finished_QM = pool.present_QM & ~pool.truncated_QM
    finished, unread = int(finished_QM.sum()), int((pool.vote_QM[finished_QM] == ABSTAINED).sum())
    if finished == 0:
        yield "All samples abstain: none of them finished."
    elif unread == finished:
        yield f"All samples abstain: grader {grader.version!r} reads no answer in any of them. Is it the right one?"
    elif unread > MOST_UNREAD * finished:
        yield (
            f"{unread} of {finished} finished samples abstain: grader {grader.version!r} reads no answer in them. "
            "Is it the right one?"
        )
    elif not bool(pool.right_QM.any()):
        yield f"No sample is correct by grader {grader.version!r}. Is it the right one?"
