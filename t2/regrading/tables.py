"""The tables of `t2 grade`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from t2.curves.labels import BudgetLabels
from t2.pages.table import Table
from t2.pages.text import number
from t2.regrading.measure import QuestionChange, QuestionGrades, ways

_EXAMPLE = 60
"""Characters of an example: the end of the output, where the answer stands."""
_CLASS = 40
"""Characters of a class."""
_MOST_CLASSES = 4
_MOST_QUESTIONS = 20


def ways_table(questions: Sequence[QuestionGrades], title: str) -> Table:
    """How grades were reached."""
    found = ways(questions)
    total = sum(way.samples for way in found)
    rows = [
        (
            way.how,
            f"{way.samples:,}",
            number(100 * way.samples / total, 1),
            number(100 * way.right / way.samples, 1) if way.abstain < way.samples else "abstain",
            _end(way.example),
        )
        for way in found
    ]
    columns = ("how", "samples", "% of all", "% right", "the first ends with")
    return Table(columns, tuple(rows), caption=title, text_columns=(0, 4))


def classes_table(questions: Sequence[QuestionGrades], most: int) -> Table:
    """What the samples of the first questions vote for."""
    rows = []
    for question in questions[:most]:
        votes = question.votes
        shown = [f"{_cut(name)} x{count}" for name, count in votes.most_common(_MOST_CLASSES)]
        others = len(votes) - len(shown)
        drawn = [sample for sample in question.samples if not sample.is_greedy]
        abstain = len(drawn) - votes.total()
        shown += [f"{others} more"] * (others > 0) + [f"abstain x{abstain}"] * (abstain > 0)
        right = sum(map(question.is_right, drawn))
        rows.append((_cut(question.id), _cut(question.answer), _cut(question.gold), ", ".join(shown), f"{right}"))
    note = f"The first {len(rows)} of {len(questions):,} questions." if len(rows) < len(questions) else ""
    columns = ("question", "gold answer", "its class", "votes", "right")
    return Table(columns, tuple(rows), caption="Classes", note=note, text_columns=(0, 1, 2, 3))


def sums_table(
    found: Sequence[QuestionChange], before: BudgetLabels, after: BudgetLabels, names: tuple[str, str]
) -> Table:
    """What changes in sum."""
    samples = sum(len(change.before.samples) for change in found)
    sides = [change.before for change in found], [change.after for change in found]
    abstain = [sum(s.grade.answer_class is None for grades in side for s in grades.samples) for side in sides]
    rows: list[tuple[str, ...]] = [
        ("samples, greedy answers too", f"{samples:,}", f"{samples:,}", ""),
        _row("abstain", abstain[0], abstain[1], sum(change.newly_abstaining + change.newly_read for change in found)),
        _row(
            "right",
            sum(change.right_before for change in found),
            sum(change.right_after for change in found),
            sum(change.flipped for change in found),
        ),
        ("vote with others", "", "", f"{sum(change.moved for change in found):,}"),
        ("questions with a changed sample", "", "", f"{sum(bool(change.changed) for change in found):,}"),
    ]
    if before.greedy_right_Q is not None and after.greedy_right_Q is not None:
        counts = [int(labels.greedy_right_Q.sum()) for labels in (before, after) if labels.greedy_right_Q is not None]
        differ = int((before.greedy_right_Q != after.greedy_right_Q).sum())
        rows.append(_row("greedy answers that are right", counts[0], counts[1], differ))
    rows += [
        (f"A({n}), %", *(number(100 * float(labels.acc_QK[:, index].mean()), 2) for labels in (before, after)), "")
        for index, n in ((0, before.grid[0]), (-1, before.grid[-1]))
    ]
    stars = [
        sum(labels.label_grid[index] for index in labels.n_star_Q.tolist()) / len(labels.n_star_Q)
        for labels in (before, after)
    ]
    moved = int((before.n_star_Q != after.n_star_Q).sum())
    rows.append(("mean N*, samples", number(stars[0]), number(stars[1]), f"{moved:,} questions"))
    return Table(("quantity", *names, "differ"), tuple(rows), caption="In sum")


def questions_table(found: Sequence[QuestionChange], before: BudgetLabels, after: BudgetLabels) -> Table:
    """What changes by question, where anything does; most first."""
    stars = [[labels.label_grid[index] for index in labels.n_star_Q.tolist()] for labels in (before, after)]
    changed = [(change, one, other) for change, one, other in zip(found, *stars, strict=True) if change.changed]
    changed.sort(key=lambda each: -len(each[0].changed))
    rows = [
        (
            _cut(change.id),
            f"{len(change.changed)}",
            f"{change.newly_abstaining}",
            f"{change.newly_read}",
            f"{change.right_before} -> {change.right_after}",
            f"{one}" if one == other else f"{one} -> {other}",
        )
        for change, one, other in changed[:_MOST_QUESTIONS]
    ]
    note = f"The first {len(rows)} of {len(changed):,} questions." if len(rows) < len(changed) else ""
    columns = ("question", "samples changed", "abstain now", "read now", "right", "N*")
    return Table(columns, tuple(rows), caption="By question", note=note)


def turns_table(found: Sequence[QuestionChange]) -> Table:
    """How the changed samples were read before and after."""
    turns = Counter(
        (pair.before.grade.how, pair.after.grade.how) for change in found for pair in change.changed
    ).most_common()
    rows = tuple((before, after, f"{count:,}") for (before, after), count in turns)
    return Table(("read before by", "and now by", "samples"), rows, caption="How they change", text_columns=(0, 1))


def _row(name: str, before: int, after: int, differ: int) -> tuple[str, str, str, str]:
    return (name, f"{before:,}", f"{after:,}", f"{differ:,}")


def _cut(text: str) -> str:
    shown = " ".join(text[: 4 * _CLASS].split())
    return shown if len(shown) <= _CLASS else f"{shown[:_CLASS]}…"


def _end(text: str) -> str:
    shown = " ".join(text[-4 * _EXAMPLE :].split())
    return shown if len(shown) <= _EXAMPLE else f"…{shown[-_EXAMPLE:]}"
