"""Which rules run live, question by question, and what replay says of them on the same questions. Pure.

All that is fitted or tuned (N_ref, ASC's threshold, bins, atoms and price of `HeadThenStop`) comes from
questions that are not asked live.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.curves.labels import BudgetLabels, dataset_optimum
from t2.evaluation.contenders import NUM_ORDERS, PRICES, THRESHOLDS, Slice
from t2.evaluation.decision import fit_bins
from t2.evaluation.exported import chosen_budgets
from t2.evaluation.frontier import Frontier
from t2.evaluation.policy_calibration import in_words
from t2.evaluation.sources import Known
from t2.evaluation.tuning import cheapest_within
from t2.grading.graded import GradedPool
from t2.hashing import unit_interval
from t2.policies.asc import ASC
from t2.policies.base import OneRound, Replay, replay_one_round
from t2.policies.orders import Orders
from t2.policies.rules import Rule, one_batch_rules, table_rules
from t2.policies.stopping import TableRule
from t2.policies.then_stop import HeadThenStop, answer_atoms, stop_model

MIN_FITTED = 40
"""Fewest questions besides the live ones that tables and settings are fitted on."""
DEFAULT_THRESHOLD = 0.95
"""ASC's threshold where too few questions are left to choose one: that of its authors."""


@dataclass(frozen=True)
class Planned:
    """A contender of a live run."""

    rules: tuple[Rule, ...]
    """one a question"""
    replay: Replay
    """of the same rules on the stored samples of the same questions"""


@dataclass(frozen=True)
class Questions:
    """Some questions with what is known of them."""

    pool: GradedPool
    labels: BudgetLabels
    known: Known

    def take(self, rows: Tensor) -> Questions:
        """Some of them."""
        return Questions(self.pool.take(rows), self.labels.take(rows), self.known.take(rows))


def live_rows(question_ids: tuple[str, ...], num_live: int) -> tuple[Tensor, Tensor]:
    """Rows of the questions that are asked live, and of the others; by hash, so that no label has a say."""
    ranked = sorted(range(len(question_ids)), key=lambda row: (unit_interval("t2-live", question_ids[row]), row))
    return torch.tensor(sorted(ranked[:num_live])), torch.tensor(sorted(ranked[num_live:]), dtype=torch.long)


def plan(live: Questions, others: Questions, policy: OneRound, n_ref: int) -> dict[str, Planned]:
    """The contenders by name, the cheapest to run first.

    Args:
        live: what is asked.
        others: what may be fitted on; fewer than `MIN_FITTED` are not used.
        policy: of the exported head.
        n_ref: reference budget, used where `others` are too few to give one.
    """
    grid, enough = live.labels.grid, len(others.pool) >= MIN_FITTED
    if enough:
        n_ref = grid[dataset_optimum(others.labels.acc_QK)]
    own_Q = chosen_budgets(policy, live.known.prediction, grid)
    fixed_Q = torch.full_like(own_Q, grid.index(n_ref))
    planned = {
        f"{in_words(policy)}, as exported": _one_round(own_Q, live),
        f"FixedN({n_ref})": _one_round(fixed_Q, live),
    }
    orders = Orders.of(live.pool, NUM_ORDERS, seed=0)
    if not enough:
        return planned | {f"ASC({DEFAULT_THRESHOLD:g})": _by_table(ASC(DEFAULT_THRESHOLD, n_ref), orders)}
    fit = Slice.of(others.pool, others.labels, n_ref, seed=0)
    reference = float(others.labels.acc_QK[:, grid.index(n_ref)].mean())
    threshold = _tuned(lambda setting: ASC(setting, n_ref), THRESHOLDS, fit.orders, reference)
    planned[f"ASC({threshold:g})"] = _by_table(ASC(threshold, n_ref), orders)
    then_stop = then_stop_of(others, n_ref)
    price = _tuned(lambda setting: then_stop(others.known, setting), PRICES, fit.orders, reference)
    planned[f"HeadThenStop({price:g})"] = _by_table(then_stop(live.known, price), orders)
    return planned


def then_stop_of(fit: Questions, cap: int) -> Callable[[Known, float], HeadThenStop]:
    """`HeadThenStop` whose prior is the fitted questions of the bin: (what is known of others, price) -> rule."""
    bins = fit_bins(fit.known.score_B, fit.labels.acc_QK)
    member_PQ = torch.nn.functional.one_hot(bins.bin_of(fit.known.score_B), len(bins.acc_NK)).T.double()
    model = stop_model(answer_atoms(fit.pool), member_PQ, cap)
    tokens_P = (member_PQ @ fit.pool.mean_tokens_Q) / member_PQ.sum(1).clamp(min=1)
    tokens_P = torch.where(member_PQ.sum(1) > 0, tokens_P, fit.pool.mean_tokens_Q.mean())
    return lambda known, price: HeadThenStop(model, price, tokens_P, bins.bin_of(known.score_B))


def _tuned(build: Callable[[float], TableRule], settings: tuple[float, ...], orders: Orders, reference: float) -> float:
    """The cheapest setting that loses at most a point against the reference."""
    replays = tuple(build(setting).replay(orders) for setting in settings)
    return settings[cheapest_within(Frontier("", settings, replays), reference)]


def _one_round(index_Q: Tensor, on: Questions) -> Planned:
    labels = on.labels
    replay = replay_one_round(index_Q, labels.acc_QK, labels.grid, on.pool)
    return Planned(tuple(one_batch_rules(torch.tensor(labels.grid)[index_Q])), replay)


def _by_table(rule: TableRule, orders: Orders) -> Planned:
    prior_Q = torch.zeros(len(orders.limit_Q)) if rule.prior_Q is None else rule.prior_Q
    return Planned(tuple(table_rules(rule.table, prior_Q)), rule.replay(orders))
