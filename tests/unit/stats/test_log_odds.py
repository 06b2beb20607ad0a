"""The line on the log odds: scikit-learn's unpenalised regression, known lines recovered, and nothing where none is."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from t2.stats.log_odds import LogOddsLine, fitted_line


def said(num: int, intercept: float, slope: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities, and what happened if the line were the truth."""
    generator = torch.Generator().manual_seed(seed)
    said_X = torch.rand(num, generator=generator, dtype=torch.float64)
    true_X = (intercept + slope * said_X.clamp(1e-4, 1 - 1e-4).logit()).sigmoid()
    return said_X, (torch.rand(num, generator=generator, dtype=torch.float64) < true_X).double()


@pytest.mark.parametrize(("intercept", "slope"), [(0.0, 1.0), (0.7, 0.5), (-1.2, 2.5)])
def test_it_is_the_regression_of_scikit_learn(intercept: float, slope: float) -> None:
    said_X, happened_X = said(400, intercept, slope)
    line = fitted_line(said_X, happened_X)
    assert line is not None
    x_X1 = said_X.clamp(1e-4, 1 - 1e-4).logit()[:, None].numpy()
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x_X1, happened_X.numpy())
    assert line.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert line.intercept == pytest.approx(reference.intercept_[0], rel=1e-4, abs=1e-4)
    for place in (0, 7, 99):
        mine = line.of(float(said_X[place]))
        assert mine == pytest.approx(reference.predict_proba(x_X1[place : place + 1])[0, 1], abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([0.1, 0.35, 1.0, 3.0, 6.0]),
    st.floats(-2.0, 2.0),
    st.sampled_from([0.3, 1.0, 3.0]),
    st.floats(-2.0, 2.0),
    st.integers(0, 10_000),
)
def test_no_other_line_is_likelier(slope: float, intercept: float, spread: float, middle: float, seed: int) -> None:
    """Also of probabilities that are sharp, or all alike, or much too sure, where Newton's steps alone overshoot."""
    generator = torch.Generator().manual_seed(seed)
    odds_X = middle + spread * torch.randn(300, generator=generator, dtype=torch.float64)
    said_X = odds_X.sigmoid().clamp(1e-4, 1 - 1e-4)
    true_X = (intercept + slope * said_X.logit()).sigmoid()
    happened_X = (torch.rand(300, generator=generator, dtype=torch.float64) < true_X).double()
    line = fitted_line(said_X, happened_X)
    if line is None:
        return
    x_X1 = said_X.logit()[:, None].numpy()
    reference = LogisticRegression(C=1e12, tol=1e-10, max_iter=2000).fit(x_X1, happened_X.numpy())

    def loss(own_intercept: float, own_slope: float) -> float:
        odds = own_intercept + own_slope * said_X.logit()
        return float(torch.nn.functional.binary_cross_entropy_with_logits(odds, happened_X, reduction="sum"))

    fitted = loss(line.intercept, line.slope)
    assert fitted <= loss(float(reference.intercept_[0]), float(reference.coef_[0, 0])) + 1e-6
    assert fitted <= loss(0.0, 1.0) + 1e-9


def test_a_posterior_that_is_much_too_sure_gets_its_line() -> None:
    generator = torch.Generator().manual_seed(3)
    said_X = (3 * torch.randn(800, generator=generator, dtype=torch.float64)).sigmoid()
    true_X = (0.2 + 0.35 * said_X.clamp(1e-4, 1 - 1e-4).logit()).sigmoid()
    line = fitted_line(said_X, (torch.rand(800, generator=generator, dtype=torch.float64) < true_X).double())
    assert line is not None
    assert (line.intercept, line.slope) == (pytest.approx(0.2, abs=0.2), pytest.approx(0.35, abs=0.1))


def test_a_known_line_is_recovered() -> None:
    line = fitted_line(*said(200_000, 0.4, 1.6))
    assert line is not None
    assert (line.intercept, line.slope) == (pytest.approx(0.4, abs=0.03), pytest.approx(1.6, abs=0.03))


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(-3.0, 3.0), st.floats(0.1, 4.0))
def test_what_was_more_probable_stays_so(first: float, second: float, intercept: float, slope: float) -> None:
    line = LogOddsLine(intercept, slope)
    low, high = sorted((first, second))
    assert 0 < line.of(low) <= line.of(high) < 1


def test_the_line_that_changes_nothing() -> None:
    assert LogOddsLine(0.0, 1.0).of(0.3) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("said_X", "happened_X"),
    [
        ([0.2, 0.7, 0.9], [1.0, 1.0, 1.0]),
        ([0.2, 0.7, 0.9], [0.0, 0.0, 0.0]),
        ([0.6, 0.6, 0.6], [0.0, 1.0, 1.0]),
        ([0.1, 0.2, 0.8, 0.9], [0.0, 0.0, 1.0, 1.0]),  # separated: the likelihood has no largest slope
        ([0.1, 0.2, 0.3, 0.8, 0.9], [1.0, 1.0, 0.0, 0.0, 1.0]),  # the other way round
    ],
)
def test_where_there_is_no_line(said_X: list[float], happened_X: list[float]) -> None:
    assert fitted_line(torch.tensor(said_X), torch.tensor(happened_X)) is None
