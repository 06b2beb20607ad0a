"""The curse report of pools that say little or nothing: a verdict and notes in words, never a NaN, or an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from helpers.graded_pools import graded_pool
from test_curse import GRID

from t2.curse.measure import curse_report
from t2.curves.halves import half_curves
from t2.errors import T2Error
from t2.voting import ABSTAINED

BAD_POOLS = {
    "one question": [[0, 1, 0, 0, 2, 0]],
    "one sample": [[0], [1], [0]],
    "one question with one sample": [[0]],
    "no correct answer": [[1, 2, 1, 1], [3, 3, 1, 2]],
    "all correct": [[0] * 6] * 3,
    "only abstentions": [[ABSTAINED] * 6] * 3,
    "ragged": [[0, 1, 0, 0, 1, 1, 0, 0], [0, 0, 1], [1, 0]],
    "two samples": [[0, 1], [1, 1], [0, 0]],
    "three samples": [[0, 1, 1], [1, 0, 1]],
}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("one question", "Not decided: one question, or questions of one dedup key, say nothing about a data set (N_D"),
        ("one sample", "Not measured: with 1 samples a question no budget but 1 is allowed."),
        ("no correct answer", "Nothing to measure: no sample of any question is correct"),
        ("only abstentions", "Nothing to measure: no sample of any question is correct"),
        ("all correct", "Nothing to overscale: one sample is enough for the data set (N_D = 1"),
    ],
)
def test_verdicts_of_poor_pools(name: str, start: str) -> None:
    assert curse_report(graded_pool(BAD_POOLS[name]), (1, 2, 3, 5, 32), num_resamples=4).verdict.startswith(start)


@pytest.mark.parametrize("votes", BAD_POOLS.values(), ids=BAD_POOLS)
def test_poor_pools_give_a_report_without_nan(votes: list[list[int]]) -> None:
    report = curse_report(graded_pool(votes), (1, 2, 3, 5, 32), num_resamples=8)
    smallest = min(map(len, votes))
    assert report.grid == tuple(n for n in (1, 2, 3, 5) if n <= smallest)
    assert report.label_grid == tuple(n for n in (1, 2, 3, 5) if n <= max(1, smallest // 2))
    assert json.loads(json.dumps(report.as_json(), allow_nan=False))["num_questions"] == len(votes)
    assert report.samples == smallest
    assert (report.type_agreement is None) == (smallest < 2)


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("one question", "All questions share one dedup key (or there is one question)"),
        ("one sample", "A question with one sample has no halves"),
        ("one sample", "so N*, N_D and M_D are 1"),
        ("no correct answer", "No sample of any question is correct"),
        ("all correct", "Every sample of every question is correct"),
        ("only abstentions", "No answer could be read in any sample"),
        ("ragged", "Pools hold 2 to 8 samples a question; budgets stop at the smallest. A larger `min_samples`"),
        ("ragged", "The grid was cut from 32 to 2 samples"),
        ("all correct", "has no rank correlation and is left out"),
    ],
)
def test_notes_say_why(name: str, note: str) -> None:
    report = curse_report(graded_pool(BAD_POOLS[name]), (1, 2, 3, 5, 32), num_resamples=4)
    assert any(note in line for line in report.notes), report.notes


def test_rises_and_falls_that_cancel_leave_nothing_to_overscale() -> None:
    report = curse_report(graded_pool([[0] * 7 + [1] * 5] * 30 + [[0] * 5 + [1] * 7] * 30), (1, 3, 5), num_resamples=9)
    assert (report.main.n_d, report.main.m_d.value) == (1, 3)  # half of the questions gain up to 5 samples
    assert report.rise == 0


def test_a_type_that_is_all_there_is_cannot_be_left_out() -> None:
    report = curse_report(graded_pool([[0] * 8] * 4), (1, 3), num_resamples=4)
    row = report.types[0]
    assert (row.name, row.share.value, row.n_d_without, row.m_d_without) == ("always right", 1, None, None)
    assert report.type_kappa is None
    assert report.type_agreement is not None
    assert report.type_agreement.value == 1


def test_halves_of_ragged_pools_stop_at_the_smallest() -> None:
    halves = half_curves(graded_pool([[0, 1] * 4, [0, 1, 0, 0, 1]]), (1, 2, 3))
    assert halves is not None
    assert (halves.samples, halves.grid) == (2, (1, 2))
    assert half_curves(graded_pool([[0, 1] * 4, [0]]), (1, 2, 3)) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eps": -0.1}, r"Expected eps and eps_D in \[0, 1\) of accuracy, got -0.1 and 0.005"),
        ({"eps": float("nan")}, r"Expected eps and eps_D in \[0, 1\)"),
        ({"dataset_eps": 1.0}, r"Expected eps and eps_D in \[0, 1\) of accuracy, got 0.02 and 1.0"),
        ({"num_resamples": 0}, "Expected at least 1 bootstrap resample, got 0"),
        ({"grid": (3, 5)}, "Expected a rising grid of budgets that starts at 1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(T2Error, match=message):
        curse_report(graded_pool([[0, 1, 0, 0, 1, 0]]), **{"grid": (1, 3), **arguments})


def test_pools_that_cannot_be_measured() -> None:
    with pytest.raises(T2Error, match="Expected a pool with at least one question, got none"):
        curse_report(graded_pool([]), GRID)
    with pytest.raises(T2Error, match="Expected 1 to 512 samples of each question, got 0 to 4"):
        curse_report(graded_pool([[0, 1, 0, 1], []]), GRID)
    with pytest.raises(T2Error, match="Expected 1 to 512 samples of each question, got 600 to 600"):
        curse_report(graded_pool([[0] * 600]), GRID)
