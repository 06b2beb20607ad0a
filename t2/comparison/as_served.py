"""A policy that an export can hold, replayed as it is served: at its setting, with what it was exported with. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from t2.comparison.slices import Slice
from t2.heads.base import unpredicted
from t2.policies.base import Replay, choices, replay_one_round
from t2.policies.record import Policy
from t2.policies.rules import Rule, one_batch_rules, table_rules
from t2.policies.stoppers import StopInputs, Stopper


def replay_as_served(policy: Policy, on: Slice, given: StopInputs) -> Replay:
    """Replay on some questions, of which `given` holds the prediction.

    Raises:
        T2Error: what the policy needs is not given.
    """
    if isinstance(policy, Stopper):
        rule = policy.rule(given)
        # Where nobody has a greedy answer there is none to replay.
        return (rule if on.labels.greedy_right_Q is not None else rule.without_greedy()).replay(on.orders)
    index_Q = choices(policy, given.prediction or unpredicted(len(on.pool)), on.labels.grid)
    return replay_one_round(index_Q, on.labels, on.pool, on.axes)


def rules_as_served(policy: Policy, num: int, given: StopInputs, grid: Sequence[int], greedy: bool) -> list[Rule]:
    """A rule for each of `num` questions, as `replay_as_served` takes it; `greedy`: a single answer is the greedy one.

    Raises:
        T2Error: what the policy needs is not given.
    """
    if isinstance(policy, Stopper):
        rule = policy.rule(given) if greedy else policy.rule(given).without_greedy()
        return table_rules(rule.table, rule.prior_of(num))
    budget_Q = torch.tensor(grid)[choices(policy, given.prediction or unpredicted(num), tuple(grid))]
    return one_batch_rules(budget_Q, greedy_first=greedy)
