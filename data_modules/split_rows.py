"""Which questions of a job are in which split, and whether there are enough of them."""

from __future__ import annotations

from collections.abc import Sequence

from t2.errors import T2Error
from t2.spec import Question
from t2.splits import SplitFractions, labelling_order, split_of

MIN_QUESTIONS = {"train": 8, "validation": 4, "test": 4}
"""Fewest questions of a split for its numbers to mean anything at all."""


def rows_by_split(questions: Sequence[Question], splits: SplitFractions) -> dict[str, list[int]]:
    """Indices of the questions by split, each in labelling order.

    Raises:
        T2Error: a split that is wanted has too few.
    """
    rows: dict[str, list[int]] = {"train": [], "validation": [], "calibration": [], "test": []}
    for index in labelling_order(questions, splits):
        rows[split_of(questions[index].dedup_key, splits)].append(index)
    for name, fewest in MIN_QUESTIONS.items():
        if len(rows[name]) < fewest and getattr(splits, name) > 0:
            raise T2Error(
                f"Expected at least {fewest} {name} questions, got {len(rows[name])} of "
                f"{len(questions)}. Add questions or change `data.splits`."
            )
    return rows


def check_calibration(keys: Sequence[str], fewest: int) -> None:
    """Make sure that a promise can be kept on the calibration questions, which have these dedup keys.

    Raises:
        T2Error: too few of them differ.
    """
    if (num_questions := len(set(keys))) < fewest:
        raise T2Error(
            f"Expected at least {fewest} calibration questions with keys of their own for "
            f"`calibration.mode: required`, got {num_questions}. Add questions, raise `data.splits.calibration`, "
            "`calibration.alpha` or `calibration.delta`, or choose mode auto."
        )
