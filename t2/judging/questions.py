"""Which questions of a pool a head may be judged on, and what it reads of them: the head's layers at their prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from t2.activations.features import pooled_features
from t2.budget_head import BudgetHead
from t2.comparison.sources import FOLD_SEEDS, check_enough
from t2.curves.labels import BudgetLabels, budget_labels, cut_grid
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.model_files import ModelFiles, resolve_model
from t2.pools.load import LoadedPool, load_pool
from t2.prompts import PromptRenderer, load_tokenizer
from t2.spec import Question


@dataclass(frozen=True)
class HeadQuestions:
    """The questions that a head has not learned from, in one order, with what it reads of them."""

    loaded: LoadedPool
    pool: GradedPool
    labels: BudgetLabels
    """on the head's grid, cut to the pool"""
    questions: tuple[Question, ...]
    prompts: tuple[tuple[int, ...], ...]
    """token ids that the head's LLM reads; none where it reads nothing"""
    pooled_QLD: Tensor | None
    """None: the exported policy reads no activations"""
    left_out: int | None
    """questions that the head has learned from; None: the head does not say which these are"""
    notes: tuple[str, ...]
    """for every report"""


@dataclass(frozen=True)
class _Reading:
    """How the head's LLM reads the questions."""

    prompts: tuple[tuple[int, ...], ...]
    prompt_fingerprint: str
    find_model: Callable[[], ModelFiles]


def load_questions(
    head: BudgetHead,
    source: str,
    proxy: str | None = None,
    features: str | None = None,
    grader: str | None = None,
    min_samples: int | None = None,
) -> HeadQuestions:
    """Load a pool for a head.

    Args:
        head: exported.
        source: folder of a pool, or a config.
        proxy: hub id or folder of the head's LLM, for a pool of another one or an imported pool.
        features: folder of the feature caches; None: `features` inside the pool, or the config's `data.features`.
        grader: see `load_pool`.
        min_samples: see `load_pool`.

    Raises:
        T2Error: no such pool, one of another model, too few samples or questions, or neither features nor LLM.
    """
    loaded = load_pool(source, grader, min_samples)
    proxy = proxy or (loaded.data.allow_proxy if loaded.data else None)
    check_samples_model(head, loaded, proxy)
    rows, left_out = unseen_rows(head, loaded)
    pool, questions = loaded.pool.take(rows), tuple(loaded.questions[row] for row in rows)
    seen = f" and {left_out} that it has learned from" if left_out else ""
    check_enough(pool.dedup_keys, FOLD_SEEDS, "questions that the head has not learned from", loaded.root, seen)
    labels = budget_labels(pool, usable_grid(head, pool, loaded.name), eps_of(head))
    if not head.has_weights:
        notes = (*_notes(head, loaded, labels, None, left_out), *loaded.notes)
        return HeadQuestions(loaded, pool, labels, questions, (), None, left_out, notes)
    reading = _reading(head, loaded, rows, questions, proxy)
    root = Path(features) if features else loaded.data.features_root if loaded.data else loaded.root / "features"
    names = [question.id for question in questions]
    pooled_QLD = pooled_features(
        root, head.feature_spec, reading.prompts, lambda: _folder(head, reading, root), names, head.learned
    )
    notes = (*_notes(head, loaded, labels, reading, left_out), *loaded.notes)
    return HeadQuestions(loaded, pool, labels, questions, reading.prompts, pooled_QLD, left_out, notes)


def check_samples_model(head: BudgetHead, loaded: LoadedPool, proxy: str | None) -> None:
    """Make sure that the samples come from the LLM that the head was trained for, or that the user knows better.

    Raises:
        T2Error: they do not, and no `--proxy` says which LLM the head is to read.
    """
    base = head.record.base_model
    if not head.has_weights:  # it reads no LLM; whose samples these are, a note says
        return
    if loaded.spec.imported and proxy is None:
        raise T2Error(
            f"Expected `--proxy` with the LLM that the head reads ({head.reads[0]}), got none: pool {loaded.root} was "
            "imported and has no prompts. Name a hub id or folder."
        )
    theirs, expected = loaded.spec.model["fingerprint"], base.fingerprint or head.features.model_fingerprint
    if proxy is None and theirs != expected:
        raise T2Error(
            f"Expected a pool of {base.id} ({expected[:12]}...), for which the head was trained, got pool "
            f"{loaded.root} of {loaded.spec.model['id']} ({theirs[:12]}...). A head works for one model; to have it "
            f"read {head.reads[0]} beside these samples all the same, name that LLM with `--proxy`."
        )


def unseen_rows(head: BudgetHead, loaded: LoadedPool) -> tuple[list[int], int | None]:
    """Rows of the questions that the head has not learned from, and how many it has; None: it has no record of them."""
    everything = list(range(len(loaded.pool)))
    if not head.records_seen:
        return everything, None
    rows = [row for row in everything if not head.has_seen(loaded.pool.dedup_keys[row])]
    return rows, len(everything) - len(rows)


def usable_grid(head: BudgetHead, pool: GradedPool, name: str) -> tuple[int, ...]:
    """The head's grid as far as the samples of every question go; fewer than two budgets are a `T2Error`."""
    fewest = int(pool.present_QM.sum(1).min())
    grid = cut_grid(head.grid, fewest)
    if len(grid) < 2:
        raise T2Error(
            f"Expected at least {head.grid[1] if len(head.grid) > 1 else 2} samples of every question, for two budgets "
            f"of the head's grid {list(head.grid)}, got {fewest} in pool {name}. "
            "Draw more, or leave out the questions that have few: `--min_samples`."
        )
    return grid


def _reading(
    head: BudgetHead, loaded: LoadedPool, rows: list[int], questions: tuple[Question, ...], proxy: str | None
) -> _Reading:
    """Stored prompts where the LLM answered that the head reads; else they are rendered for that LLM.

    Two LLMs are at play: one has answered (the pool's, whose prompts are stored), one is read (the head's, or the
    proxy that gave the head its features).

        one and the same LLM     the stored prompts are what it reads: neither LLM nor tokenizer is needed, unless
                                 features are missing
        two LLMs, or imported    the stored prompts are of another tokenizer, or there are none: the questions are
                                 rendered anew, with the tokenizer of the LLM that is read, which must be at hand

    `find_model` is called only where features are missing, so that a head can be judged without its LLM.
    """
    files = resolve_model(proxy) if proxy else None  # of the LLM that is read, where the user names it
    if files:
        head.check_model(files.fingerprint)
    if not loaded.spec.imported and loaded.spec.model["fingerprint"] == head.features.model_fingerprint:
        prompts = tuple(loaded.prompts[row] for row in rows)
        # It is the LLM that answered, too: a config says where it lies, else the head's name of it counts.
        where = (loaded.job.model, loaded.job.revision) if loaded.job else head.reads
        return _Reading(prompts, loaded.spec.prompt["fingerprint"], lambda: files or resolve_model(*where))
    rendered_for = files or _tokenizer_files(head)
    spec, trained = loaded.job.prompt if loaded.job else head.prompt, head.record.prompt
    if spec.date is None and trained:
        spec = replace(spec, date=trained.date)  # the day that its prompts have printed
    renderer = PromptRenderer.of_proxy(load_tokenizer(rendered_for.folder), spec)
    prompts = tuple(tuple(renderer.ids(question.text, question.id)) for question in questions)
    return _Reading(prompts, renderer.fingerprint, lambda: rendered_for)


def _tokenizer_files(head: BudgetHead) -> ModelFiles:
    """The LLM that the head reads where no `--proxy` names it; a `T2Error` if it is not here, or is another one."""
    try:
        files = resolve_model(*head.reads)
    except T2Error as error:
        raise T2Error(
            f"Expected the LLM that the head reads ({head.reads[0]}), whose tokenizer renders its prompts, got none. "
            f"Name its folder or hub id: `--proxy`. ({error})"
        ) from error
    head.check_model(files.fingerprint)
    return files


def _folder(head: BudgetHead, reading: _Reading, root: Path) -> Path:
    """Where the LLM lies that computes missing features; a `T2Error` if it is not here, or is another one."""
    try:
        files = reading.find_model()
    except T2Error as error:
        raise T2Error(
            f"Expected features of all {len(reading.prompts)} questions at layers {list(head.layers)} in {root}, or "
            f"the LLM that computes them ({head.reads[0]}), got neither. Name its folder or hub id: `--proxy`. "
            f"({error})"
        ) from error
    head.check_model(files.fingerprint)
    return files.folder


def eps_of(head: BudgetHead) -> float:
    """Tolerance of N* that the head was trained with, accuracy."""
    return 0.02 if head.record.labels.eps is None else head.record.labels.eps


def _notes(
    head: BudgetHead, loaded: LoadedPool, labels: BudgetLabels, reading: _Reading | None, left_out: int | None
) -> Iterator[str]:
    """What differs from what the head was trained on, and which questions it knows; `reading` None: it reads none."""
    record, spec = head.record, loaded.spec
    if labels.grid != head.grid:
        yield f"The head's budgets go up to {head.grid[-1]}; this pool allows {labels.grid[-1]}, so they are cut there."
    if spec.model["fingerprint"] != record.base_model.fingerprint:
        yield f"The samples are those of {spec.model['id']}, the head learned from {record.base_model.id}'s."
    if reading and (record.prompt is None or reading.prompt_fingerprint != record.prompt.fingerprint):
        yield "The prompt (template, system line or worked examples) is not the one that the head was trained with."
    then, now = record.sampling or {}, spec.sampling or {}
    compared = [key for key in now if key in then or key != "end_token_ids"]  # which older heads do not know
    changed = [f"{key} {then.get(key)} then, {now[key]} here" for key in compared if now[key] != then.get(key)]
    if changed and not spec.imported:
        yield f"Samples were drawn in another way than those that the head learned from: {'; '.join(changed)}."
    unit = record.labels.cost_unit or "tokens"
    if unit != loaded.cost_unit:
        yield f"The head's cost is in {unit}, this pool's in {loaded.cost_unit}: its exported setting misses its aim."
    if left_out is None:
        yield (
            "This head has no record of the questions it has learned from (an older export): all questions are "
            "evaluated, and if it has learned from some of them, its rows are too good."
        )
    elif left_out:
        yield f"{left_out} of {len(loaded.pool)} questions are left out: the head has learned from them."
