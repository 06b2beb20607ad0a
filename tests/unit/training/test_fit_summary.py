"""The block that ends `fit`: the numbers are those of plain means, and the words say no more than the intervals do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.graded_pools import mixed_pool

from t2.curves.labels import budget_labels
from t2.heads.base import Prediction
from t2.policies.base import Costs, replay_fixed, replay_one_round
from t2.policies.one_round import FixedN, Utility
from t2.policies.stoppers import StopInputs
from t2.stats.bootstrap import Interval
from t2.training.fit_summary import FitSummary

GRID = (1, 3, 5, 7)
POOL = mixed_pool(num=60, samples=14)
LABELS = budget_labels(POOL, GRID, 0.02, first="sampled")
KNOWS = Prediction(LABELS.log_tokens_Q.float(), accuracy_BK=LABELS.acc_QK.float())


def summary(
    split: str = "test", policy: Utility | FixedN | None = None, split_size: int = 60, chose: bool = True
) -> FitSummary:
    given = StopInputs(prediction=KNOWS)
    return FitSummary.of(policy or Utility(2.0), given, POOL, LABELS, 7, split, split_size, chose_checkpoint=chose)


def test_the_numbers_are_plain_means() -> None:
    index_Q = Utility(2.0).choose(KNOWS, Costs.of(KNOWS, GRID))
    samples_Q = torch.tensor(GRID)[index_Q].double()
    lengths_Q = POOL.mean_tokens_Q
    right, at_seven = LABELS.acc_QK.gather(1, index_Q[:, None]).mean(), LABELS.acc_QK[:, 3].mean()
    held_Q = replay_one_round(index_Q, LABELS, POOL).peak_kv
    memory = float(held_Q.mean() / replay_fixed(7, LABELS, POOL).peak_kv.mean())
    saved = 1 - float((samples_Q * lengths_Q).mean() / (7 * lengths_Q).mean())
    title, fixed, head, tokens, points, waits, _ = summary().lines()
    assert title == "What the export is worth, on 60 test questions, which have decided nothing so far:"
    assert " ".join(fixed.split()) == f"one N for all, FixedN(n=7) 7.0 samples a question, {100 * at_seven:.1f}% right"
    assert f"{samples_Q.mean():.1f} samples a question, {100 * right:.1f}% right" in head
    assert f" {100 * saved:.0f}% [" in tokens
    assert f"{100 * (right - at_seven):+.1f} points [" in points
    assert " 1.00 rounds a question; " in waits
    assert waits.endswith(f"{memory:.2f} x the KV tokens at once")


def test_validation_questions_are_said_to_flatter() -> None:
    title = next(summary("validation").lines())
    assert title.endswith("on 60 validation questions, which chose the checkpoint: slightly too good:")
    title = next(summary("validation", chose=False).lines())
    assert title.endswith("on 60 validation questions; no checkpoint was chosen, it has the last weights:")


def test_a_split_that_is_labelled_in_part_is_said_to_be() -> None:
    """Questions with short answers are labelled first: the block may not pass for one on the whole split."""
    assert "on 60 of 75 test questions, which have" in next(summary(split_size=75).lines())


@pytest.mark.parametrize(
    ("ratio", "difference", "verdict"),
    [
        ((0.8, 0.7, 0.9), (-0.2, -0.9, 0.5), "So it saves tokens, and loses at most 0.9 points"),
        ((0.8, 0.7, 0.9), (1.0, 0.5, 1.5), "So it saves tokens, and loses at most 0.0 points"),
        ((0.9, 0.8, 1.1), (-0.2, -0.9, 0.5), "So it is not clear that it saves tokens; it loses at most 0.9 points"),
        ((0.5, 0.4, 0.6), (-4.5, -6.0, -3.0), "It loses more than 1 point, surely: see docs/GUIDE.md"),
        ((1.2, 1.1, 1.3), (-0.2, -0.9, 0.5), "So it spends more tokens than one N for all: do not use it."),
    ],
)
def test_the_verdict_says_what_both_intervals_allow(
    ratio: tuple[float, float, float], difference: tuple[float, float, float], verdict: str
) -> None:
    plain = summary()
    exported = replace(plain.exported, ratio=Interval(*ratio), difference=Interval(*difference))
    assert replace(plain, exported=exported).verdict.startswith(verdict)


def test_the_reference_itself_saves_nothing() -> None:
    lines = list(summary(policy=FixedN(7)).lines())
    assert "0% [0%, 0%]" in lines[3]
    assert "+0.0 points [+0.0, +0.0]" in lines[4]
    assert lines[6].startswith("  So it is not clear that it saves tokens")


def test_what_speaks_against_any_head_stands_below_the_verdict() -> None:
    plain = list(summary().lines())
    warned = list(replace(summary(), warnings=("N* is 1.", "Voting gains nothing.")).lines())
    assert warned == [*plain, "  Beware: N* is 1.", "  Beware: Voting gains nothing."]
