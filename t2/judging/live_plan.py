"""Which rules run live, question by question, and what replay says of them on the same questions. Pure.

All that is fitted or tuned (N_ref, ASC's threshold, bins, atoms and price of `HeadThenStop`) comes from
questions that are not asked live; settings are chosen on questions that the fit they are replayed by has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.comparison.as_served import replay_as_served, rules_as_served
from t2.comparison.contenders import Contender
from t2.comparison.fits import Fit, bin_priors, binned_planned, capped
from t2.comparison.identity import Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Folds, Known
from t2.comparison.sweeps import FULL
from t2.comparison.tuning import cheapest_within, held_out_frontier, inner_folds
from t2.curves.labels import BudgetLabels, reference_budget
from t2.grading.graded import GradedPool
from t2.hashing import unit_interval
from t2.policies.asc import ASC
from t2.policies.base import Replay
from t2.policies.one_round import FixedN
from t2.policies.orders import Orders
from t2.policies.record import Policy, in_words
from t2.policies.rules import Rule, table_rules
from t2.policies.stoppers import StopInputs
from t2.policies.stopping import TableRule
from t2.policies.then_stop import HeadThenStop, Prices

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
        return Questions(self.pool.take(rows), self.labels.take(rows), self.known.take(rows))


def live_rows(question_ids: Sequence[str], dedup_keys: Sequence[str], num_live: int) -> tuple[Tensor, Tensor]:
    """Rows of the questions that are asked live, and of those that share no key with them; by hash, not by label."""
    ranked = sorted(range(len(question_ids)), key=lambda row: (unit_interval("t2-live", question_ids[row]), row))
    keys = {dedup_keys[row] for row in ranked[:num_live]}
    others = sorted(row for row in ranked[num_live:] if dedup_keys[row] not in keys)
    return torch.tensor(sorted(ranked[:num_live])), torch.tensor(others, dtype=torch.long)


def enough_to_fit(others: Questions) -> bool:
    """Whether tables and settings can be fitted on these questions: many, and of more than one inner fold."""
    return len(others.pool) >= MIN_FITTED and len(set(Folds.of(others.pool.dedup_keys, 0).inner_Q.tolist())) > 1


def plan(
    live: Questions, others: Questions, policy: Policy, n_ref: int, given: StopInputs | None = None
) -> dict[str, Planned]:
    """The contenders by name, the exported policy first.

    Args:
        live: questions that are asked.
        others: questions that everything else is fitted and tuned on.
        policy: that was exported.
        n_ref: samples; counts where `others` are too few to give one.
        given: what the policy decides about the live questions with; None: what is known of them.
    """
    grid, enough = live.labels.grid, enough_to_fit(others)
    if enough:
        n_ref = reference_budget(others.labels)
    given = given or StopInputs(prediction=live.known.prediction)
    on = Slice.of(live.pool, live.labels, seed=0)
    planned = {
        f"{in_words(policy)}, as exported": _served(policy, on, given),
        f"FixedN({n_ref})": _served(FixedN(n_ref), on, given),
    }
    orders = on.orders
    if not enough:
        return planned | {f"ASC({DEFAULT_THRESHOLD:g})": _by_table(ASC(DEFAULT_THRESHOLD, n_ref), orders)}
    # Live questions must stay unknown to all that is fitted, and a setting must be chosen on questions that its own fit
    # has not seen, or it looks better than it will be:
    #
    #     others, inner folds   fit on the rest -> frontier on the fold -> the cheapest setting near the reference
    #     others, all of them   fit -> tables of that setting
    #     live                  the tables alone; replayed here on stored samples, then run on the engine
    fit = Slice.of(others.pool, others.labels, seed=0)
    reference = float(others.labels.served_QK[:, grid.index(n_ref)].mean())
    inner = inner_folds(fit, Folds.of(others.pool.dedup_keys, fold_seed=0).inner_Q)

    def tuned(policy: str, settings: tuple[float, ...], how: Fit) -> float:
        contender = Contender(Key(policy), "sequential", settings, how)
        frontier = held_out_frontier(contender, inner, others.known, n_ref)
        return settings[cheapest_within(frontier, reference)]

    threshold = tuned("ASC", FULL.thresholds, capped(ASC))
    planned[f"ASC({threshold:g})"] = _by_table(ASC(threshold, n_ref), orders)
    if not live.known.says_something:  # bins of a score that is the same for all are no prior
        return planned
    prices = FULL.priced_for(others.pool).prices
    price = tuned("HeadThenStop", prices, binned_planned(prices))
    priors, bins = bin_priors(fit, others.known, n_ref)
    then_stop = HeadThenStop(priors, Prices(price), bins.bin_of(live.known.score_B))
    planned[f"HeadThenStop({price:g})"] = _by_table(then_stop, orders)
    return planned


def _served(policy: Policy, on: Slice, given: StopInputs) -> Planned:
    """Rules and replay from the same table, or the same budgets."""
    rules = rules_as_served(policy, len(on.pool), given, on.labels.grid, on.labels.greedy_right_Q is not None)
    return Planned(tuple(rules), replay_as_served(policy, on, given))


def _by_table(rule: TableRule, orders: Orders) -> Planned:
    return Planned(tuple(table_rules(rule.table, rule.prior_of(len(orders.limit_Q)))), rule.replay(orders))
