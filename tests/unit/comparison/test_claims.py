"""Claims, ladder and targets of a comparison: by hand, at other fold seeds, and on some questions alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.compared import FEWER, FOLDS, GRID, LABELS, POOL, SMALL, SOURCE, compared, knowing, summarised
from helpers.reliability import reliability
from scipy.stats import spearmanr

from t2.comparison.claims import Claim, Claims
from t2.comparison.compare import compare
from t2.comparison.identity import ORACLES, TFIDF, Key, Role
from t2.comparison.ladder import KNOWS, named_out_of_fold
from t2.comparison.ladder_figure import ladder_figure
from t2.comparison.report import markdown
from t2.comparison.sources import OUTER_FOLDS, Folds, Known
from t2.comparison.summary import summarise
from t2.heads.base import concatenated
from t2.pages.text import span
from t2.stats.bootstrap import clusters_of
from t2.stats.frontier import area
from t2.stats.reliability import spearman_brown
from t2.stats.resampled import Resampled


def with_letter(claims: Claims, letter: str) -> list[Claim]:
    return [claim for claim in claims.claims if claim.letter == letter]


def test_a_head_that_knows_beats_one_that_guesses() -> None:
    clusters = clusters_of(POOL.dedup_keys)
    guess = replace(knowing(0.0), name="Shuffled", kind="nothing")
    guess = replace(
        guess,
        folds=tuple(
            replace(f, train=Known(f.train.score_B.flip(0), f.train.prediction), test=f.test) for f in guess.folds
        ),
    )
    sources = [knowing(0.02), guess]
    comparison = compare(POOL, LABELS, sources, 0, FEWER)
    summary = summarise([comparison], clusters)
    rows = {row.name: row for row in summary.rows}
    assert rows["FixedN(N_ref)"].ratio.value == 1
    assert rows["Oracle head + Utility"].ratio.high < 1
    area = rows["Oracle head + bins + Utility"].area
    assert area is not None
    assert area.low > 0
    for letter in ("d", "d, in bins"):
        for claim in with_letter(summary.claims, letter):
            assert claim.area is not None
            assert claim.area.low > 0
    text = markdown(summary, "header")
    assert all(f"| {name} |" in text for name in rows)


def test_ladder() -> None:
    names = [rung.name for rung in summarised().ladder]
    best = ["best one-round head", "NoHeadThenStop", "best HeadThenStop"]
    assert names == ["FixedN(N_ref)", *best, "BayesOracle", "OwnOracle"]
    which: list[Key | Role] = [Role.REFERENCE, Role.ONE_ROUND, Key("NoHeadThenStop"), Role.THEN_STOP]
    expected = [KNOWS[each] for each in (*which, *map(Key, ORACLES))]
    assert [rung.knows for rung in summarised().ladder] == expected
    (then_stop,) = [rung for rung in summarised().ladder if rung.name == "best HeadThenStop"]
    assert then_stop.made_of == ("Oracle head + HeadThenStop",)
    assert summarised().ladder[0].made_of == ()
    rows = {row.name: row for row in summarised().rows}
    for rung in summarised().ladder:
        if not rung.made_of:
            assert rung.row == rows[rung.name]
    (axes,) = ladder_figure(summarised().ladder, "pool").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{r.name}\n({r.knows})" for r in summarised().ladder
    ]
    dots = [line.get_xdata()[0] for line, _, _ in axes.containers]
    assert dots == [rung.row.ratio.value for rung in summarised().ladder]
    ends = [bars[0].get_segments()[0][:, 0].tolist() for _, _, bars in axes.containers]
    assert ends == [pytest.approx([rung.row.ratio.low, rung.row.ratio.high]) for rung in summarised().ladder]
    points = [span(rung.row.difference) for rung in summarised().ladder]
    assert [text.get_text() for text in axes.texts] == [
        *points,
        "against FixedN(N_ref), points",
        "references, no policies",
    ]
    assert names.index("BayesOracle") - 0.5 <= axes.texts[-1].get_position()[1] <= names.index("BayesOracle")
    bars = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "|" and line.get_markersize() == 11]
    assert bars == [rung.row.same_accuracy.value for rung in summarised().ladder]


def test_text_and_generator_rungs_are_the_best_of_their_own_field() -> None:
    """A one-round policy of a control competes on the control's rung, never on that of the heads."""
    text = {
        (of_text := key._replace(source=TFIDF)): replace(outcome, key=of_text)
        for key, outcome in compared().outcomes.items()
        if key.source
    }
    sources = (SOURCE, replace(SOURCE, name=TFIDF, kind="text"))
    named = named_out_of_fold(replace(compared(), outcomes={**compared().outcomes, **text}, sources=sources))
    found = named[Role.TEXT_ONE_ROUND]
    assert not [name for name in named[Role.ONE_ROUND].made_of if "TF-IDF" in name]
    for fold in range(OUTER_FOLDS):
        field = [outcome.folds[fold] for outcome in text.values() if outcome.kind == "one round"]
        assert len(field) >= 4
        assert found.folds[fold] is min(field, key=lambda side: (not side.within, side.train_tokens))
    assert Role.GENERATOR_ONE_ROUND not in named


def test_targets_are_read_against_their_reliability() -> None:
    """Reliability is that of `reliability`, correlations are SciPy's on predictions in the order of the pool."""
    rows = {row.name: row for row in summarised().targets}
    assert {name: row.half for name, row in rows.items()} == reliability(POOL, GRID, 0.02, FEWER.num_rank_resamples)
    predicted = concatenated([fold.test.prediction for fold in SOURCE.folds]).take(FOLDS.test_order)
    assert predicted.accuracy_BK is not None
    curve_QK = predicted.accuracy_BK.double()
    top = len(LABELS.label_grid) - 1
    assert summarised().label_top == LABELS.label_grid[top] == 7
    said, truth = (
        {"first_accuracy": part[:, 0], "top_accuracy": part[:, top], "gain": part[:, top] - part[:, 0]}
        for part in (curve_QK, LABELS.acc_QK)
    )
    for name, mine in said.items():
        found = rows[name].heads["Oracle head"]
        assert found.value == pytest.approx(spearmanr(mine.round(decimals=9), truth[name].round(decimals=9)).statistic)
        assert found.low < found.value < found.high
        whole = rows[name].whole
        assert whole == spearman_brown(rows[name].half)
        assert rows[name].ceiling == pytest.approx(max(0.0, whole.value) ** 0.5)
    assert rows["n_star"].heads == {}, "this head has no N*"


def test_then_stop_is_paired_with_the_prior_of_every_control() -> None:
    sources = [SOURCE, replace(SOURCE, name="Same", kind="text")]
    summary = summarise([compare(POOL, LABELS, sources, 0, SMALL)], clusters_of(POOL.dedup_keys), 0.02)
    best, only = with_letter(summary.claims, "e")
    assert (best.second, only.second) == ("best control's HeadThenStop", "Same + HeadThenStop")
    for claim in (best, only):  # the same source under another name
        assert (claim.ratio.low, claim.ratio.high, claim.difference.value) == (1, 1, 0)
        assert claim.area is not None
        assert (claim.area.low, claim.area.high) == (0, 0)
    assert "| e | best HeadThenStop | Same + HeadThenStop | 1.00 [1.00, 1.00] |" in markdown(summary, "header")


def test_claims_repeated_on_all_questions_are_the_claims() -> None:
    every = summarise([compared()], clusters_of(POOL.dedup_keys), 0.02, torch.arange(len(POOL)))
    assert every.repeated == every.claims == summarised().claims
    assert summarised().repeated is None


def test_claims_on_some_questions_choose_nothing_anew() -> None:
    rows, control = torch.arange(40, len(POOL)), replace(SOURCE, name="Same", kind="text")
    comparison = compare(POOL, LABELS, [SOURCE, control], 0, SMALL)
    clusters_Q = torch.arange(len(POOL)) // 2  # pairs share a key
    summary = summarise([comparison], clusters_Q, 0.02, rows)
    outcomes, again = comparison.outcomes, summary.repeated
    assert again is not None
    mine, theirs = (
        outcomes[key].tuned[-1].take(rows) for key in (Key("HeadThenStop", "Oracle head"), Key("NoHeadThenStop"))
    )
    resampled = Resampled([mine, theirs], clusters_Q[rows], SMALL.num_resamples)
    (b,) = with_letter(again, "b")
    assert b.ratio == resampled.ratio(mine, theirs)
    assert b.difference == resampled.difference(mine, theirs)
    assert b.ratio != Resampled([mine, theirs], num_resamples=SMALL.num_resamples).ratio(mine, theirs)
    named = named_out_of_fold(comparison)
    fixed = outcomes[Key("FixedN")].frontier.take(rows)
    in_bins = Key("Utility", "Same", in_bins=True)
    best, other = (frontier.take(rows) for frontier in (named[Role.BY_AREA].frontier, outcomes[in_bins].frontier))
    gap = 100 * (area(best, fixed, summary.n_ref) - area(other, fixed, summary.n_ref))
    assert [c.second for c in with_letter(again, "d")] == ["best control in bins by area", "Same + bins + Utility"]
    for claim in with_letter(again, "d"):
        assert claim.area is not None
        assert claim.area.value == pytest.approx(gap, abs=1e-12)
    assert "The same claims on 50 new questions alone" in markdown(summary, "header")


def test_other_fold_seeds_make_the_same_claims_with_names_and_settings_of_their_own() -> None:
    """The best of a field had no other fold seeds, and claims were shown at the first alone."""
    seeds = (0, 1)
    heads = [knowing(0.1, folds=Folds.of(POOL.dedup_keys, seed)) for seed in seeds]
    sources = [[head, replace(head, name="Same", kind="text")] for head in heads]
    comparisons = [compare(POOL, LABELS, both, seed, SMALL) for both, seed in zip(sources, seeds, strict=True)]
    summary = summarise(comparisons, clusters_of(POOL.dedup_keys), 0.02)
    other = comparisons[1]
    named = named_out_of_fold(other)
    mine, theirs = named[Role.THEN_STOP].tuned[-1], named[Role.STOPPER].tuned[-1]
    (a,) = with_letter(summary.claims, "a")
    ((points, ratio, _),) = a.other_seeds
    assert points == pytest.approx(100 * float((mine.correct - theirs.correct).mean()))
    assert ratio == pytest.approx(float(mine.generated_tokens.sum() / theirs.generated_tokens.sum()))
    _, d = with_letter(summary.claims, "d")
    fixed, utility = (other.outcomes[key].frontier for key in (Key("FixedN"), Key("Utility", "Same", in_bins=True)))
    expected = 100 * (area(named[Role.BY_AREA].frontier, fixed, summary.n_ref) - area(utility, fixed, summary.n_ref))
    assert d.other_seeds[0][2] == pytest.approx(expected)
    (rung,) = [rung for rung in summary.ladder if rung.name == "best one-round head"]
    best, reference = named[Role.ONE_ROUND].tuned[-1], other.reference
    assert rung.row.other_seeds[0][0] == pytest.approx(100 * float((best.correct - reference.correct).mean()))
    text = markdown(summary, "header")
    assert f"| {ratio:.2f} / {points:.2f} / " in text
    assert f"| Same + bins + Utility | {span(d.ratio)} | {span(d.difference)} | {span(d.area)} |" in text
