"""How each policy is fitted on training questions, and replayed on others at one setting. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from t2.comparison.bins import BinnedCurves, fit_bins
from t2.comparison.slices import Slice
from t2.comparison.sources import Known
from t2.curves.labels import cut_grid
from t2.heads.answer_atoms import answer_atoms
from t2.heads.base import Prediction
from t2.heads.medoids import medoids
from t2.heads.training_votes import TrainingVotes
from t2.policies.base import OneRound, Replay, choices, replay_greedy, replay_one_round, replay_sampled, where
from t2.policies.batch_budget import BatchBudget
from t2.policies.dsc import DSC, replay_other_half
from t2.policies.one_round import FixedN, Utility
from t2.policies.oracle import BayesOracle, OwnOracle
from t2.policies.stopping import DrawTable, Sequential, TableRule
from t2.policies.then_stop import (
    HeadThenStop,
    Prices,
    Priors,
    priors_of_everyone,
    priors_of_weights,
    softened,
    stop_model,
    weights_with_everyone,
)
from t2.policies.windows import ESC
from t2.stats.frontier import Setting

EASY = 0.9
"""Share of right samples from which a training question counts as easy, in `actsc`."""
MOST_PRIORS, PRIORS_UP_TO = 64, 64
"""Priors of a comparison, up to a cap of so many samples: planning for each question would take minutes."""
FEWEST_PRIORS = 8
AtNumber = Callable[[float], Replay]
AtSetting = Callable[[Setting], Replay]
Run = Callable[[Slice, Known], AtSetting]
"""Replay on some questions, given what is known of them, at one setting after the other."""
Fit = Callable[[Slice, Known, int], Run]
"""(training questions, what is known of them, cap in samples) -> how the fitted policy is replayed."""


def numbered(at: AtNumber) -> AtSetting:
    """A policy whose knob is a single number."""

    def at_setting(setting: Setting) -> Replay:
        assert not isinstance(setting, Prices)
        return at(setting)

    return at_setting


def one_round(policy: OneRound, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """Choose among budgets up to `cap` by predicted costs, score by A(N) and actual tokens."""
    index_Q = choices(policy, prediction, cut_grid(on.labels.grid, cap))
    return replay_one_round(index_Q, on.labels, on.pool, on.axes)


# References: nothing is known of a question, or too much


def greedy(train: Slice, known: Known, cap: int) -> Run:
    """One answer at temperature 0."""
    return lambda on, _: lambda __: replay_greedy(on.pool)


def one_sample(train: Slice, known: Known, cap: int) -> Run:
    """One random answer."""
    first_Q = torch.zeros(1, dtype=torch.long)
    return lambda on, _: (
        lambda __: replay_sampled(first_Q.expand(len(on.pool)), on.labels.acc_QK, on.labels.grid, on.pool, on.axes)
    )


def fixed_n(train: Slice, known: Known, cap: int) -> Run:
    """`FixedN` at each budget, its own cap."""
    return lambda on, k: numbered(lambda n: one_round(FixedN(int(n)), k.prediction, on, int(n)))


def no_head_planned(plans: Sequence[Setting]) -> Fit:
    """`NoHeadThenStop`, or planned rounds without a head: one prior, all training questions."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        tables = Planned(no_head_priors(train, cap), plans)
        return lambda on, _: tables.replayed(on)

    return fit


def no_head_priors(train: Slice, cap: int) -> Priors:
    """One prior: all training questions."""
    return priors_of_everyone(TrainingVotes.of(train.pool, train.labels), cap)


def bayes_oracle(train: Slice, known: Known, cap: int) -> Run:
    """`BayesOracle`, whose prior is the training questions."""
    atoms = answer_atoms(train.pool)

    def run(on: Slice, _: Known) -> AtSetting:
        halves = on.halves
        assert halves is not None
        return numbered(
            lambda price: BayesOracle(price).replay(halves.upto(cap), on.pool, atoms, train.labels.acc_QK, on.axes)
        )

    return run


def own_oracle(train: Slice, known: Known, cap: int) -> Run:
    """`OwnOracle`, which learns nothing from training questions."""

    def run(on: Slice, _: Known) -> AtSetting:
        halves = on.halves
        assert halves is not None
        return numbered(lambda price: OwnOracle(price).replay(halves.upto(cap), on.pool, on.axes))

    return run


def dsc_by_other_half(train: Slice, known: Known, cap: int) -> Run:
    """`DSC` on either half of the samples, ordered by the other."""

    def run(on: Slice, _: Known) -> AtSetting:
        halves, orders = on.halves, on.half_orders
        assert halves is not None
        assert orders is not None
        return numbered(lambda threshold: replay_other_half(halves, orders, threshold, cap))

    return run


def capped(build: Callable[[float, int], Sequential]) -> Fit:
    """A sequential rule with the reference budget as its cap."""
    return lambda train, known, cap: lambda on, _: numbered(lambda setting: build(setting, cap).replay(on.orders))


def all_at_once(build: Callable[[float, int], TableRule]) -> Fit:
    """A sequential rule whose samples all start at once; those that still run when it stops are aborted."""
    return lambda train, known, cap: (
        lambda on, _: numbered(lambda setting: build(setting, cap).replay_concurrent(on.arrivals(cap)))
    )


def no_head_at_once(train: Slice, known: Known, cap: int) -> Run:
    """`NoHeadThenStop` with all samples started at once: it looks at each answer as it comes."""
    priors = no_head_priors(train, cap)
    return lambda on, _: numbered(lambda price: HeadThenStop(priors, Prices(price)).replay_concurrent(on.arrivals(cap)))


def actsc(train: Slice, known: Known, cap: int) -> Run:
    """ACTSC (arXiv 2602.09438), as far as its abstract says; the rest is our reading.

    A binary probe of the prompt's activations calls a question easy or hard. Easy ones get one sample, hard ones
    windows of samples until one agrees (`ESC`). A training question is easy if `EASY` of its samples are right, and a
    question is called easy if most training questions of its bin are.
    """
    bins = fit_bins(known.score_B, train.labels.served_QK)
    easy_Q, bin_Q = train.labels.acc_QK[:, 0] >= EASY, bins.bin_of(known.score_B)
    share_N = torch.stack([easy_Q[bin_Q == b].double().mean() for b in range(len(bins.acc_NK))]).nan_to_num(0.0)

    def run(on: Slice, k: Known) -> AtSetting:
        is_easy_B = share_N[bins.bin_of(k.score_B)] > 0.5
        alone = one_round(FixedN(1), k.prediction, on, 1)
        return numbered(lambda window: where(is_easy_B, alone, ESC(int(window), cap).replay(on.orders)))

    return run


def binned_utility(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer: score -> bin -> mean training curve of the bin -> `Utility`."""
    bins = fit_bins(known.score_B, train.labels.served_QK)
    return lambda on, k: numbered(
        lambda price: one_round(Utility(price), bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)
    )


class Planned:
    """The tables of all plans that a contender tries, made when the first is asked for: together they are fast.

    A setting that is a number is a price per token, and waiting costs nothing.
    """

    def __init__(self, priors: Priors, plans: Sequence[Setting]) -> None:
        self._priors, self._plans = priors, tuple(plans)

    @cached_property
    def _tables(self) -> dict[Setting, DrawTable]:
        prices = [plan if isinstance(plan, Prices) else Prices(plan) for plan in self._plans]
        return dict(zip(self._plans, self._priors.tables(prices), strict=True))

    def replayed(self, on: Slice, prior_Q: Tensor | None = None) -> AtSetting:
        """Replay on questions with these priors."""
        return lambda setting: TableRule(self._tables[setting], prior_Q).replay(on.orders)


def means_of(train: Slice, weight_PA: Tensor) -> tuple[Tensor, Tensor | None]:
    """Tokens of a sample and correctness of the greedy answer, means over training questions with these weights."""
    share_PA = weight_PA.double() / weight_PA.sum(1, keepdim=True)
    right_A = train.labels.greedy_right_Q
    return share_PA @ train.pool.mean_tokens_Q, None if right_A is None else share_PA @ right_A.double()


def bin_priors(train: Slice, known: Known, cap: int) -> tuple[Priors, BinnedCurves]:
    """A prior for each bin of scores: half the training questions of the bin, half all of them."""
    bins = fit_bins(known.score_B, train.labels.served_QK)
    member_PQ = torch.nn.functional.one_hot(bins.bin_of(known.score_B), len(bins.acc_NK)).T.double()
    # Inside an inner fold a bin may have no training question: it is then like all of them.
    group_PQ, prior_PQ = softened(member_PQ, 0.0), softened(member_PQ)
    tokens_P, _ = means_of(train, group_PQ)
    _, greedy_right_P = means_of(train, prior_PQ)
    return Priors(stop_model(answer_atoms(train.pool), prior_PQ, cap), tokens_P, greedy_right_P), bins


def binned_planned(plans: Sequence[Setting]) -> Fit:
    """`HeadThenStop`, or planned rounds, with `bin_priors`."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        priors, bins = bin_priors(train, known, cap)
        tables = Planned(priors, plans)
        return lambda on, k: tables.replayed(on, bins.bin_of(k.score_B))

    return fit


def prior_planned(plans: Sequence[Setting]) -> Fit:
    """Planned rounds with a prior for each question, from the weights of a `PriorHead`."""

    def fit(train: Slice, known: Known, cap: int) -> Run:
        def run(on: Slice, k: Known) -> AtSetting:
            priors, prior_B = question_priors(train, k, cap)
            return Planned(priors, plans).replayed(on, prior_B)

        return run

    return fit


def question_priors(train: Slice, known: Known, cap: int) -> tuple[Priors, Tensor]:
    """A prior for each question (or for those alike), and which each has; `train` is what the head was fitted to."""
    weight_BJ, fit_B = known.prediction.atom_weights_BJ, known.fit_B
    assert fit_B is not None
    assert weight_BJ is not None
    (number,) = set(fit_B.tolist())  # questions that are replayed together were held out by one fit
    fit = known.fits[number]
    votes, spread_JQ = TrainingVotes.of(train.pool, train.labels), fit.spread(*train.pool.top_counts())
    prior_B = alike(weights_with_everyone(weight_BJ, fit.lam), most_priors(cap))
    member_PB = torch.nn.functional.one_hot(prior_B).T.double()
    member_PB = member_PB / member_PB.sum(1, keepdim=True)
    tokens_P = member_PB @ known.prediction.log_tokens_B.double().exp()
    return priors_of_weights(votes, spread_JQ, member_PB @ weight_BJ.double(), fit.lam, tokens_P, cap), prior_B


def most_priors(cap: int) -> int:
    """Priors that are planned for at a cap: the time of a plan grows with the cube of the cap."""
    return max(FEWEST_PRIORS, min(MOST_PRIORS, int(MOST_PRIORS * (PRIORS_UP_TO / cap) ** 3)))


def alike(weight_BJ: Tensor, most: int) -> Tensor:
    """Which of at most so many groups each question belongs to, by its prior.

    Planning costs the same for each prior, and those of two questions that a head finds alike hardly differ.
    """
    if len(weight_BJ) <= most:
        return torch.arange(len(weight_BJ))
    root_BJ = weight_BJ.sqrt()  # distances are Hellinger's
    return torch.cdist(root_BJ, root_BJ[medoids(root_BJ, most)]).argmin(1)


def dsc(train: Slice, known: Known, cap: int) -> Run:
    """`DSC`, hardest first by the score; which end of it is hard is read off the training questions."""
    # A score may say how easy or how hard: the sign of its covariance with A(1) tells which.
    first_Q, score_Q = train.labels.acc_QK[:, 0], known.score_B.double()
    sign = 1.0 if float(((first_Q - first_Q.mean()) * (score_Q - score_Q.mean())).sum()) >= 0 else -1.0
    return lambda on, k: numbered(lambda threshold: DSC(-sign * k.score_B, threshold, cap).replay(on.orders))


def batch_budget(n: float, prediction: Prediction, on: Slice, cap: int) -> Replay:
    """`BatchBudget` over the questions replayed together, with the total that `FixedN(n)` is predicted to spend."""
    return one_round(BatchBudget.like_fixed(n, prediction.log_tokens_B.double().exp()), prediction, on, cap)


def binned_batch(train: Slice, known: Known, cap: int) -> Run:
    """The common decision layer with `BatchBudget`."""
    bins = fit_bins(known.score_B, train.labels.served_QK)
    return lambda on, k: numbered(
        lambda n: batch_budget(n, bins.predict(k.score_B, k.prediction.log_tokens_B), on, cap)
    )


def native_batch(train: Slice, known: Known, cap: int) -> Run:
    """`BatchBudget` on the head's own curve."""
    return lambda on, k: numbered(lambda n: batch_budget(n, k.prediction, on, cap))


def native(build: Callable[[float], OneRound]) -> Fit:
    """A one-round policy on the head's own prediction."""
    return lambda train, known, cap: (
        lambda on, k: numbered(lambda setting: one_round(build(setting), k.prediction, on, cap))
    )


def blended_utility(train: Slice, known: Known, cap: int) -> Run:
    """`Utility` on the mean of the head's own curve and its bin's: one says more of a question, one is calibrated."""
    bins = fit_bins(known.score_B, train.labels.served_QK)

    def run(on: Slice, k: Known) -> AtSetting:
        assert k.prediction.accuracy_BK is not None
        mean_BK = (k.prediction.accuracy_BK.double() + bins.acc_NK[bins.bin_of(k.score_B)]) / 2
        prediction = replace(k.prediction, accuracy_BK=mean_BK)
        return numbered(lambda price: one_round(Utility(price), prediction, on, cap))

    return run
