"""Stopping rules as tables over vote states, drawn in batches that never overshoot, and their replay. Pure.

A table serves replay and serving alike: look up (samples drawn, leader's votes, runner-up's votes), get "stop" or how
many samples to draw next.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.policies.base import Replay
from t2.policies.orders import Orders
from t2.policies.states import VoteStates


@dataclass(frozen=True)
class StopTable:
    """A rule for each of P priors (one, if it treats all questions alike)."""

    states: VoteStates
    stop_PS: Tensor
    """bool: the rule stops in this state"""
    batch_PS: Tensor
    """samples to draw next, as many as must come before the rule can stop; 0 where it stops"""

    def extra(self, prior: int, drawn: int, first: int, second: int) -> int:
        if drawn >= self.states.cap:
            return 0
        return int(self.batch_PS[prior, self.states.index_NVV[drawn, first, second]])


def stop_table(stop_PS: Tensor, states: VoteStates) -> StopTable:
    """Add the batches: m(stop) = 0, m(s) = 1 + the least m of its three successors.

    m(s) is the length of the shortest way from s to a state that stops: on no way does the rule stop earlier, so
    drawing m(s) samples at once is what drawing one by one would have done, whatever they say. For a rule that stops
    with two votes for one answer, at a cap of 3 (states as drawn, leader, runner-up):

        0,0,0 m=2 -> 1,1,0 m=1 -> 2,2,0 stop
                               -> 2,1,1 m=1 -> 3 stop

    The rule never stops before the first sample and always at the cap.
    """
    stop_PS = stop_PS | (states.drawn_S == states.cap)
    stop_PS[:, states.drawn_S == 0] = False
    batch_PS = torch.zeros(stop_PS.shape, dtype=torch.int16)
    for drawn in range(states.cap - 1, -1, -1):  # successors have one sample more: from the cap down they are done
        here = states.level(drawn)
        after = [batch_PS[:, successor[here]] for successor in (states.lead_S, states.run_S, states.rest_S)]
        least = torch.minimum(torch.minimum(after[0], after[1]), after[2])
        batch_PS[:, here] = torch.where(stop_PS[:, here], 0, 1 + least).to(torch.int16)
    return StopTable(states, stop_PS, batch_PS)


class Sequential(ABC):
    """Looks at the answers so far. Cost is the tokens of every sample started."""

    cap: int
    """most samples of a question"""

    @abstractmethod
    def replay(self, orders: Orders) -> Replay:
        """Mean over the orders; a pool smaller than the cap caps itself."""


class TableRule(Sequential):
    """A sequential rule that is a table; `prior_Q` says which of its priors a question has, None: all the first."""

    def __init__(self, table: StopTable, prior_Q: Tensor | None = None) -> None:
        self.table, self.prior_Q, self.cap = table, prior_Q, table.states.cap

    def replay(self, orders: Orders) -> Replay:
        """Samples are drawn in batches, see `stop_table`."""
        stop_RQN, state_RQN = self._stops(orders)
        last_RQ = stop_RQN.int().argmax(2)
        rounds_RQ, peak_RQ = self._batches(state_RQN, last_RQ + 1, orders)
        spent_RQN = orders.tokens_RQM[..., : state_RQN.shape[2]].cumsum(2)
        return replay_of(
            orders,
            correct=_at(orders.leader_right_RQM, last_RQ),
            samples=last_RQ + 1,
            tokens=_at(spent_RQN, last_RQ),
            rounds=rounds_RQ,
            peak=peak_RQ,
        )

    def replay_concurrent(self, arrivals: Orders) -> Replay:
        """All samples start at once and vote as they finish, short answers first; at a stop the rest is aborted.

        Args:
            arrivals: from `Orders.of_arrivals` with at most `cap` samples. A sample that is aborted costs the tokens
                it had when the last vote came in.
        """
        stop_RQN, _ = self._stops(arrivals)
        last_RQ = stop_RQN.int().argmax(2)
        until_RQ = _at(arrivals.tokens_RQM, last_RQ)
        spent_RQ = torch.minimum(arrivals.tokens_RQM, until_RQ[..., None]).sum(2)  # padding has 0 tokens
        started_RQ = arrivals.limit_Q.expand(len(spent_RQ), -1)
        return replay_of(
            arrivals,
            correct=_at(arrivals.leader_right_RQM, last_RQ),
            samples=started_RQ,
            tokens=spent_RQ,
            rounds=torch.ones_like(started_RQ),
            peak=started_RQ,
        )

    def _stops(self, orders: Orders) -> tuple[Tensor, Tensor]:
        """Whether the rule stops after each sample, and the states it sees."""
        num = min(self.cap, orders.vote_RQM.shape[2])
        drawn_N = torch.arange(1, num + 1)
        first_RQN, second_RQN = orders.first_RQM[..., :num].long(), orders.second_RQM[..., :num].long()
        state_RQN = self.table.states.index_NVV[drawn_N, first_RQN, second_RQN]
        stop_RQN = self.table.stop_PS[self._prior(orders)[None, :, None], state_RQN]
        return stop_RQN | (drawn_N >= orders.limit_Q[:, None]), state_RQN

    def _prior(self, orders: Orders) -> Tensor:
        return torch.zeros_like(orders.limit_Q) if self.prior_Q is None else self.prior_Q

    def _batches(self, state_RQN: Tensor, stop_after_RQ: Tensor, orders: Orders) -> tuple[Tensor, Tensor]:
        # Batches never overshoot (`stop_table`), so walking along them meets the sample after which the rule stops;
        # only the end of a question's samples can cut the last one short.
        prior_RQ = self._prior(orders).expand(stop_after_RQ.shape)
        drawn_RQ = torch.zeros_like(stop_after_RQ)
        rounds_RQ, peak_RQ = torch.zeros_like(drawn_RQ), torch.zeros_like(drawn_RQ)
        start = self.table.states.index_NVV[0, 0, 0]
        while bool((going_RQ := drawn_RQ < stop_after_RQ).any()):
            state_RQ = torch.where(drawn_RQ > 0, _at(state_RQN, (drawn_RQ - 1).clamp(min=0)), start)
            batch_RQ = torch.minimum(self.table.batch_PS[prior_RQ, state_RQ].long(), orders.limit_Q - drawn_RQ)
            batch_RQ = torch.where(going_RQ, batch_RQ.clamp(min=1), 0)
            drawn_RQ, rounds_RQ = drawn_RQ + batch_RQ, rounds_RQ + going_RQ.long()
            peak_RQ = torch.maximum(peak_RQ, batch_RQ)
        return rounds_RQ, peak_RQ


def replay_of(orders: Orders, correct: Tensor, samples: Tensor, tokens: Tensor, rounds: Tensor, peak: Tensor) -> Replay:
    """Means over orders of (R, Q) results, and the variance of the mean that the choice of orders leaves."""
    right_RQ = correct.double()
    spread_Q = right_RQ.var(0) / len(right_RQ) if len(right_RQ) > 1 else torch.zeros(right_RQ.shape[1]).double()
    return Replay(
        correct=right_RQ.mean(0),
        samples=samples.double().mean(0),
        generated_tokens=tokens.double().mean(0),
        prompt_tokens=orders.prompt_tokens_Q.double(),
        rounds=rounds.double().mean(0),
        peak=peak.double().mean(0),
        order_variance=spread_Q,
    )


def _at(values_RQN: Tensor, position_RQ: Tensor) -> Tensor:
    return values_RQN.gather(2, position_RQ[..., None]).squeeze(2)
