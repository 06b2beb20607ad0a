"""From a pool or a config to what `t2 grade` shows. Samples are only read; nothing is used that is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from rich.console import Group, RenderableType
from rich.text import Text

from t2.curves.labels import BudgetLabels, budget_labels
from t2.errors import T2Error
from t2.grading.given import as_imported, grader_named, grader_of_pool
from t2.hardware import one_thread
from t2.pages.terminal import rich_table
from t2.pages.text import clean
from t2.pools.load import LoadedPool, load_pool
from t2.regrading.measure import QuestionChange, QuestionGrades, changes
from t2.regrading.samples import graded_questions
from t2.regrading.tables import classes_table, questions_table, sums_table, turns_table, ways_table
from t2.spec import DEFAULT_GRID, Grader

EPS = 0.02
"""Accuracy given up to call N enough, where no config says."""


@one_thread()
def grades_of(
    source: str, grader: str | None = None, diff: bool = False, against: str | None = None, examples: int = 5
) -> Group:
    """What a grader makes of a pool and how it got there; with `diff`, what it would change.

    Args:
        source: folder of a pool, or a config.
        grader: name of a grader, or the path of its class; by default the config's or the pool's own.
        diff: show what `grader` changes from the config's or the pool's own, or from the grader `against`.
        against: the grader that `diff` starts from; asks for `diff`.
        examples: questions, and changed samples, that are shown in full.

    Raises:
        T2Error: no pool, no grader, gold answers that a grader cannot read, or `diff` from a grader to itself.
    """
    if (diff or against is not None) and grader is None:
        raise T2Error("Expected `--grader` with `--diff`, got none. Name the grader that you think of using.")
    if examples < 0:
        raise T2Error(f"Expected `examples` of at least 0, got {examples}.")
    loaded = load_pool(source, grader)
    graded = graded_questions(loaded, _judge(loaded, grader))
    parts: list[RenderableType] = [Text(clean(loaded.description)), Text()]
    if diff or against is not None:
        parts += _difference(loaded, graded, load_pool(source, against), against, examples)
    else:
        parts += [
            rich_table(ways_table(graded, "How grades were reached")),
            rich_table(classes_table(graded, examples)),
        ]
    return Group(*parts, *(Text(f"- {clean(note)}") for note in loaded.notes))


def _judge(loaded: LoadedPool, grader: str | None) -> Grader:
    """The grader that `load_pool` took."""
    if grader is not None:
        judge = grader_named(grader)
    else:
        judge = loaded.job.task.grader if loaded.job else grader_of_pool(loaded.spec)
    return as_imported(judge, loaded.spec)


def _difference(
    loaded: LoadedPool, graded: Sequence[QuestionGrades], old: LoadedPool, against: str | None, examples: int
) -> Iterator[RenderableType]:
    if old.grader == loaded.grader:
        raise T2Error(
            f"Expected another grader than {old.grader!r} to compare with, got the same. Name one with `--against`."
        )
    found = changes(graded_questions(old, _judge(old, against)), graded)
    labels = _labels(old), _labels(loaded)
    yield rich_table(sums_table(found, *labels, (old.grader, loaded.grader)))
    if not any(change.changed for change in found):
        yield Text("No sample changes: grades by both are the same.")
        return
    yield rich_table(questions_table(found, *labels))
    yield rich_table(turns_table(found))
    yield from islice(_examples(found), examples)


def _labels(loaded: LoadedPool) -> BudgetLabels:
    data = loaded.data
    smallest = int(loaded.pool.present_QM.sum(1).min())
    grid = data.grid if data and data.grid is not None else [n for n in DEFAULT_GRID if n <= smallest]
    return budget_labels(loaded.pool, grid, data.eps if data else EPS)


def _examples(found: Sequence[QuestionChange]) -> Iterator[Text]:
    """Changed samples in full, one of each question in turn."""
    changed = [change for change in found if change.changed]
    for place in range(max(len(change.changed) for change in changed)):
        for change in changed:
            if place < len(change.changed):
                before, after = change.changed[place].before, change.changed[place].after
                grades = " -> ".join(
                    f"{'abstains' if each.grade.answer_class is None else each.grade.answer_class} ({each.grade.how})"
                    for each in (before, after)
                )
                draw = "greedy" if before.is_greedy else f"draw {before.draw}"
                head = f"{change.id}, {draw}, gold {change.before.answer}"
                yield Text.assemble((clean(head, 200), "bold"), f"\n{clean(before.text)}\n-> {clean(grades, 400)}\n")
