"""Learning curves and caps: amounts are nested, scored alike, and at everything there is they are the report's rows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers.graded_pools import mixed_pool
from helpers.sweeps import small_sweeps

from t2.cli import main
from t2.comparison.compare import compare
from t2.comparison.fits import MOST_PRIORS, most_priors
from t2.comparison.growth import (
    ALL,
    AMOUNTS,
    QUESTIONS,
    GrowthPoint,
    by_cap,
    learning_curve,
    learning_folds,
    learning_part,
)
from t2.comparison.growth_command import growth_table
from t2.comparison.growth_figure import by_rule, growth_figure
from t2.comparison.identity import PLANNED, Key
from t2.comparison.sources import OUTER_FOLDS, Folds, Known, Source, Unfitted
from t2.comparison.tuning import Target
from t2.curves.labels import budget_labels
from t2.errors import T2Error
from t2.heads import PriorHead
from t2.heads.base import HeadShape, targets_of
from t2.pages.pictures import png_of
from t2.training.cross_validation import check_can_learn

GRID, EPS = (1, 3, 5, 7, 9, 12), 0.02
POOL = mixed_pool(num=100, samples=12, seed=8)
LABELS = budget_labels(POOL, GRID, EPS)
SWEEPS = replace(small_sweeps(), prices=(0.1, 30.0), thresholds=(0.8, 0.95))


def source_at(amount: object) -> Source:
    """A small PriorHead, untrained but for its statistics: enough to be fitted to whatever an amount leaves."""
    pool, labels = learning_part(POOL, GRID, EPS, amount)  # type: ignore[arg-type]  # an Amount
    pooled = torch.randn(len(POOL), 1, 4, generator=torch.Generator().manual_seed(2))
    targets = targets_of(labels, pool)

    def fit_predict(learn: torch.Tensor, held: torch.Tensor) -> Known:
        torch.manual_seed(0)
        shape = HeadShape(1, 4, labels.grid, labels.label_grid)
        head = PriorHead(shape, num_atoms=6, components=4, hidden=4, members=1)
        head.start_stage(pooled[learn], targets.take(learn))
        return Known.of_head(head.eval(), pooled[held])

    folds = learning_folds(POOL.dedup_keys, 0, amount)  # type: ignore[arg-type]  # an Amount
    return Unfitted("PriorHead", "head", fit_predict, folds).fitted(Folds.of(POOL.dedup_keys, 0))


@cache
def curve() -> tuple[GrowthPoint, ...]:
    sources = {amount.name: source_at(amount) for amount in AMOUNTS}
    return tuple(learning_curve(POOL, LABELS, EPS, sources, 0, SWEEPS))


def test_a_larger_share_holds_a_smaller_one_and_tests_the_same() -> None:
    learned: list[set[int]] = []
    for amount in QUESTIONS:
        folds = learning_folds(POOL.dedup_keys, 0, amount)
        everything = Folds.of(POOL.dedup_keys, 0)
        for fold in range(OUTER_FOLDS):
            assert torch.equal(folds.test_rows(fold), everything.test_rows(fold))
            assert not set(folds.train_rows(fold).tolist()) & set(folds.test_rows(fold).tolist())
        learned.append(set(folds.train_rows(0).tolist()))
    assert all(small < large for small, large in pairwise(learned))
    assert len(learned[-1]) == len(Folds.of(POOL.dedup_keys, 0).train_rows(0))


def test_twins_are_learned_from_together() -> None:
    keys = [f"k{row // 2}" for row in range(200)]
    keep = learning_folds(keys, 0, QUESTIONS[1]).learn_Q
    assert keep is not None
    assert torch.equal(keep[::2], keep[1::2])
    assert 0.1 < float(keep.double().mean()) < 0.4


def test_a_part_of_the_samples_is_the_first_of_them() -> None:
    half = next(amount for amount in AMOUNTS if amount.part == 2)
    pool, labels = learning_part(POOL, GRID, EPS, half)
    assert torch.equal(pool.vote_QM, POOL.vote_QM[:, :6])
    assert labels.grid == (1, 3, 5)
    assert learning_part(POOL, GRID, EPS, ALL)[1].grid == GRID


@pytest.mark.slow
def test_all_questions_are_the_rows_of_the_comparison() -> None:
    """The same settings, tuned and scored by the same folds: to the last digit."""
    comparison = compare(POOL, LABELS, [source_at(ALL)], 0, SWEEPS)
    limits = {"Utility": 1.0, PLANNED: 2.0, "ASC": math.inf}
    points = [point for point in curve() if point.amount == ALL.name]
    assert {point.policy for point in points} == set(limits)
    for point in points:
        outcome = comparison.outcomes[Key(point.policy, point.source)]
        replay = outcome.limited[Target(0.01, limits[point.policy])]
        gap = 100 * float((replay.correct - comparison.reference.correct).mean())
        assert point.difference.value == pytest.approx(gap, abs=1e-12)
        ratio = float(replay.generated_tokens.mean() / comparison.reference.generated_tokens.mean())
        assert point.ratio.value == pytest.approx(ratio, abs=1e-12)
        assert point.rounds == pytest.approx(float(replay.rounds.mean()))


def test_what_is_compared_with_does_not_move_with_the_amount() -> None:
    """FixedN(N_ref) of all samples; ASC, which learns nothing but its threshold, has one area for every share."""
    questions = {amount.name for amount in QUESTIONS}
    areas = {p.area.value for p in curve() if p.policy == "ASC" and p.amount in questions and p.area}
    assert len(areas) == 1
    assert len({point.n_ref for point in curve()}) == 1
    few = [point for point in curve() if point.amount == "1/4 of the samples"]
    assert few
    assert all(point.ratio.value < 0.5 for point in few), "whoever has three samples draws no more than three"
    assert all(point.rounds == 1 for point in curve() if point.max_rounds == 1)


def test_caps_are_reports_at_that_cap() -> None:
    source = source_at(ALL)
    points = list(by_cap(POOL, GRID, EPS, source, 0, (5, 12), SWEEPS))
    assert {point.x for point in points} == {5.0, 12.0}
    labels = budget_labels(POOL, (1, 3, 5), EPS)
    comparison = compare(POOL, labels, [source.upto(3)], 0, SWEEPS)
    (asc,) = [point for point in points if point.policy == "ASC" and point.x == 5]
    replay = comparison.outcomes[Key("ASC")].limited[Target(0.01, math.inf)]
    ratio = float(replay.generated_tokens.mean() / comparison.reference.generated_tokens.mean())
    assert asc.ratio.value == pytest.approx(ratio, abs=1e-12)
    assert asc.n_ref <= 5


def test_large_caps_plan_for_fewer_priors() -> None:
    assert most_priors(7) == most_priors(64) == MOST_PRIORS
    assert most_priors(96) == 18
    assert most_priors(128) == most_priors(256) == 8


def test_table_and_picture() -> None:
    table = growth_table(curve())
    assert len(table.rows) == len(curve())
    assert table.rows[0][2] == "PriorHead + Utility, one round"
    lines = by_rule([point for point in curve() if point.amount in {a.name for a in QUESTIONS}])
    assert len(lines) == 4
    assert all([p.x for p in own] == sorted(p.x for p in own) for own in lines.values())
    picture = growth_figure({"training questions": list(curve())}, "a $title")
    assert png_of(picture).startswith(b"\x89PNG")


def test_too_few_questions_for_an_eighth() -> None:
    few = [f"k{row}" for row in range(45)]
    with pytest.raises(T2Error, match="Expected questions in every inner fold of 1/8 of the questions, for a learning"):
        check_can_learn(learning_folds(few, 0, QUESTIONS[0]), QUESTIONS[0])


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*options: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["report", "configs/tiny-arith.yaml", *options, "--out", str(tmp_path)])
        assert caught.value.code == 2
        return capsys.readouterr().err

    nowhere = str(tmp_path / "none.safetensors")
    message = fails("--learning_curve", "true", "--predictions", nowhere)
    assert "Expected predictions of heads that learned from less, got no file" in message
    assert "cross_validate --config FILE --learning_curve true" in message
    assert (
        "Expected `--caps` among the budgets of the grid, [1, 3, 5, 7, 9, 12, 16, 24, 32] samples, got 20, 64"
        in fails("--caps", "[16, 20, 64]")
    )
    for beside in (["--learning_curve", "true"], ["--cap", "16"], ["--new_after", "400"]):
        assert "Expected `--learning_curve` or `--caps` alone" in fails("--caps", "[16]", *beside)
    assert not list(tmp_path.iterdir())
