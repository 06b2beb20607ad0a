"""How each policy is fitted on training questions, and replayed on others at one setting. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from t2.comparison.bins import fit_bins
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.curves.labels import cut_grid
from t2.heads.base import Prediction
from t2.policies.base import Costs, OneRound, Replay, replay_greedy, replay_one_round
from t2.policies.batch_budget import BatchBudget
from t2.policies.dsc import DSC, replay_other_half
from t2.policies.one_round import FixedN, Utility
from t2.policies.oracle import BayesOracle, OwnOracle
from t2.policies.stopping import Sequential
from t2.policies.then_stop import HeadThenStop, answer_atoms, no_head, softened, stop_model

Run = Callable[[Slice, Known, float], Replay]
"""Replay on some questions, given what is known of them, at one setting."""
Fit = Callable[[Slice, Known, int], Run]
"""(training questions, what is known of them, cap in samples) -> how the fitted policy is replayed."""


def one_round(policy: OneRound, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """Choose among budgets up to `cap` by predicted costs, score by A(N) and actual tokens."""
    grid = cut_grid(on.labels.grid, cap)
    index_Q = policy.choose(prediction.upto(len(grid)), Costs.of(prediction, grid))
    return replay_one_round(index_Q, on.labels.acc_QK, grid, on.pool)


# References: nothing is known of a question, or too much


def greedy(train: Slice, known: Known, cap: int) -> Run:
    """One answer at temperature 0."""
    return lambda on, _, __: replay_greedy(on.pool)


def fixed_n(train: Slice, known: Known, cap: int) -> Run:
    """`FixedN` at each budget, its own cap."""
    return lambda on, k, n: one_round(FixedN(int(n)), k.prediction, on, int(n))


def no_head_then_stop(train: Slice, known: Known, cap: int) -> Run:
    """`NoHeadThenStop`: one prior, all training questions."""
    model, tokens_P = no_head(answer_atoms(train.pool), cap), train.pool.mean_tokens_Q.mean()[None]
    return lambda on, _, price: HeadThenStop(model, price, tokens_P).replay(on.orders)


def bayes_oracle(train: Slice, known: Known, cap: int) -> Run:
    """`BayesOracle`, whose prior is the training questions."""
    atoms = answer_atoms(train.pool)

    def run(on: Slice, _: Known, price: float) -> Replay:
        assert on.halves is not None
        return BayesOracle(price).replay(on.halves.upto(cap), on.pool, atoms, train.labels.acc_QK)

    return run


def own_oracle(train: Slice, known: Known, cap: int) -> Run:
    """`OwnOracle`, which learns nothing from training questions."""

    def run(on: Slice, _: Known, price: float) -> Replay:
        assert on.halves is not None
        return OwnOracle(price).replay(on.halves.upto(cap), on.pool)

    return run


def dsc_by_other_half(train: Slice, known: Known, cap: int) -> Run:
    """`DSC` on either half of the samples, ordered by the other."""

    def run(on: Slice, _: Known, threshold: float) -> Replay:
        assert on.halves is not None
        assert on.half_orders is not None
        return replay_other_half(on.halves, on.half_orders, threshold, cap)

    return run


def capped(build: Callable[[float, int], Sequential]) -> Fit:
    """A sequential rule with the reference budget as its cap."""
    return lambda train, known, cap: lambda on, _, setting: build(setting, cap).replay(on.orders)


def binned_utility(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer: score -> bin -> mean training curve of the bin -> `Utility`."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    return lambda on, k, price: one_round(Utility(price), bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)


def then_stop_rules(train: Slice, known: Known, cap: int) -> Callable[[Known, float], HeadThenStop]:
    """`HeadThenStop` whose prior is half the training questions of the bin, half all of them, for others at a price."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    member_PQ = torch.nn.functional.one_hot(bins.bin_of(known.score_B), len(bins.acc_NK)).T.double()
    model = stop_model(answer_atoms(train.pool), softened(member_PQ), cap)
    # Inside an inner fold a bin may have no training question: it costs what a question costs on average.
    tokens_P = (member_PQ @ train.pool.mean_tokens_Q) / member_PQ.sum(1).clamp(min=1)
    tokens_P = torch.where(member_PQ.sum(1) > 0, tokens_P, train.pool.mean_tokens_Q.mean())
    return lambda others, price: HeadThenStop(model, price, tokens_P, bins.bin_of(others.score_B))


def head_then_stop(train: Slice, known: Known, cap: int) -> Run:
    """`HeadThenStop` with the priors of `then_stop_rules`."""
    rules = then_stop_rules(train, known, cap)
    return lambda on, k, price: rules(k, price).replay(on.orders)


def dsc(train: Slice, known: Known, cap: int) -> Run:
    """`DSC`, hardest first by the score; which end of it is hard is read off the training questions."""
    # A score may say how easy or how hard: the sign of its covariance with A(1) tells which.
    first_Q, score_Q = train.labels.acc_QK[:, 0], known.score_B.double()
    sign = 1.0 if float(((first_Q - first_Q.mean()) * (score_Q - score_Q.mean())).sum()) >= 0 else -1.0
    return lambda on, k, threshold: DSC(-sign * k.score_B, threshold, cap).replay(on.orders)


def batch_budget(n: float, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """`BatchBudget` over the questions replayed together, with the total that `FixedN(n)` is predicted to spend."""
    return one_round(BatchBudget.like_fixed(n, prediction.log_tokens_B.double().exp()), prediction, on, cap)


def binned_batch(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer with `BatchBudget`."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)
    return lambda on, k, n: batch_budget(n, bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)


def native_batch(train: Slice, known: Known, cap: int) -> Run:
    """`BatchBudget` on the head's own curve."""
    return lambda on, k, n: batch_budget(n, k.prediction, on, cap)


def native(build: Callable[[float], OneRound]) -> Fit:
    """A one-round policy on the head's own prediction."""
    return lambda train, known, cap: lambda on, k, setting: one_round(build(setting), k.prediction, on, cap)


def blended_utility(train: Slice, known: Known, cap: int) -> Run:
    """`Utility` on the mean of the head's own curve and its bin's: one says more of a question, one is calibrated."""
    bins = fit_bins(known.score_B, train.labels.acc_QK)

    def run(on: Slice, k: Known, price: float) -> Replay:
        assert k.prediction.accuracy_BK is not None
        mean_BK = (k.prediction.accuracy_BK.double() + bins.acc_NK[bins.bin_of(k.score_B)]) / 2
        return one_round(Utility(price), replace(k.prediction, accuracy_BK=mean_BK), on, cap)

    return run
