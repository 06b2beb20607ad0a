"""What a curse report could not compute and what its reader must beware of, a sentence each. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from t2.curse.measured import CurseReport
from t2.grading.graded import GradedPool
from t2.stats.reliability import TARGETS


def curse_notes(report: CurseReport, pool: GradedPool, grid: tuple[int, ...]) -> Iterator[str]:
    """Notes on a report that has none yet, on `pool`; `grid` are the budgets that were asked for, samples."""
    yield from _on_budgets(report, grid)
    yield from _on_halves(report)
    yield from _on_answers(report, pool)
    yield from _on_resamples(report)
    yield from _on_missing(report)


def _on_budgets(report: CurseReport, grid: tuple[int, ...]) -> Iterator[str]:
    if report.most_samples > report.samples:
        yield (
            f"Pools hold {report.samples} to {report.most_samples} samples a question; budgets stop at the smallest. A "
            "larger `min_samples` leaves out the questions that have few."
        )
    if report.grid != grid:
        yield f"The grid was cut from {grid[-1]} to {report.grid[-1]} samples, the most the smallest pool allows."
    if len(report.label_grid) == 1:
        yield (
            f"No budget between 2 and M/2 = {report.samples / 2:g} is in the grid, so N*, N_D and M_D are 1 and every "
            "curve is flat by construction: draw more samples or add small budgets."
        )
    elif report.main.n_d_high == report.label_grid[-1]:
        yield (
            f"N_D is, or may be, the largest budget allowed, {report.label_grid[-1]} samples (up to M/2): with more "
            "samples a question N_D can be larger and M_D smaller."
        )


def _on_halves(report: CurseReport) -> Iterator[str]:
    if report.samples < 2:
        yield "A question with one sample has no halves: half-pool agreement and reliability are left out."
    elif len(report.reliability) < len(TARGETS):
        yield (
            "A target that is the same for every question in a half has no rank correlation and is left out of the "
            "reliability table."
        )


def _on_answers(report: CurseReport, pool: GradedPool) -> Iterator[str]:
    if not bool((pool.vote_QM >= 0).any()):
        yield "No answer could be read in any sample, so nothing votes: check the grader and the finish reasons."
    elif max(point.value for point in report.curve) == 0:
        yield "No sample of any question is correct: more samples cannot help."
    elif report.curve[0].value == 1:
        yield "Every sample of every question is correct: one sample is enough."


def _on_resamples(report: CurseReport) -> Iterator[str]:
    if report.num_units == 1:
        yield "All questions share one dedup key (or there is one question): intervals have no width and no meaning."
    elif report.num_units < report.num_questions:
        yield (
            f"{report.num_questions} questions have {report.num_units} dedup keys; questions that share a key are "
            "resampled together."
        )


def _on_missing(report: CurseReport) -> Iterator[str]:
    if report.greedy is None:
        yield "The pool has no greedy (temperature 0) answers, so there is no greedy line."
    elif report.greedy_questions < report.num_questions:
        yield (
            f"{report.greedy_questions} of {report.num_questions} questions have a greedy answer; its line is theirs "
            "alone."
        )
    if report.main.m_d_tokens is None:
        yield "The pool has no token counts, so there is no token-weighted index."
