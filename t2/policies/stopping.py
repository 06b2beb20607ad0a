"""Sequential rules as tables over vote states: how many samples to draw next, and their replay. Pure.

A table serves replay and serving alike: look up (samples drawn, leader's votes, runner-up's votes), get "stop" or how
many samples to draw before the next look. Tables come from `stop_table` (a rule that may stop after any sample) or from
`planning.plan` (the best batches for a price per token and one per wait).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.policies.base import Replay, replay_greedy, where
from t2.policies.engine_axes import held_tokens
from t2.policies.orders import Orders
from t2.policies.states import VoteStates


@dataclass(frozen=True)
class DrawTable:
    """A rule for each of P priors (one, if it treats all questions alike)."""

    states: VoteStates
    batch_PS: Tensor
    """samples to draw next; 0 where the rule stops, as it does at the cap and never before the first sample"""
    greedy_P: Tensor | None = None
    """bool: such a question gets the greedy answer and nothing else; None: no question does"""

    @property
    def stop_PS(self) -> Tensor:
        """bool: the rule stops in this state."""
        return self.batch_PS == 0

    def extra(self, prior: int, drawn: int, first: int, second: int) -> int:
        if drawn >= self.states.cap:
            return 0
        return int(self.batch_PS[prior, self.states.index_NVV[drawn, first, second]])

    def without_greedy(self) -> DrawTable:
        """The same plan where there are no greedy answers: the best batches are in the table all the same."""
        return DrawTable(self.states, self.batch_PS)

    def is_greedy(self, prior: int) -> bool:
        return self.greedy_P is not None and bool(self.greedy_P[prior])


def stop_table(stop_PS: Tensor, states: VoteStates) -> DrawTable:
    """The batches of a rule that may stop after any sample: m(stop) = 0, m(s) = 1 + the least m of its successors.

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
    return DrawTable(states, batch_PS)


class Sequential(ABC):
    """Looks at the answers so far. Cost is the tokens of every sample started."""

    cap: int
    """most samples of a question"""

    @abstractmethod
    def replay(self, orders: Orders) -> Replay:
        """Mean over the orders; a pool smaller than the cap caps itself."""


class TableRule(Sequential):
    """A sequential rule that is a table; `prior_Q` says which of its priors a question has, None: all the first."""

    def __init__(self, table: DrawTable, prior_Q: Tensor | None = None) -> None:
        self.table, self.prior_Q, self.cap = table, prior_Q, table.states.cap

    def replay(self, orders: Orders) -> Replay:
        """Walk from batch to batch, as a server would, every question in every order at once.

        A question that has stopped leaves the walk, so late rounds, which few reach, cost little. The end of a
        question's samples cuts its last batch short.
        """
        shape = orders.vote_RQM.shape[:2]
        num = min(self.cap, orders.vote_RQM.shape[2])
        first_XN, second_XN, tokens_XN = (
            part[..., :num].flatten(0, 1) for part in (orders.first_RQM, orders.second_RQM, orders.tokens_RQM)
        )
        limit_X = orders.limit_Q.clamp(max=num).expand(shape).flatten()
        prior_X = self.prior_of(shape[1]).expand(shape).flatten()
        drawn_X, rounds_X, peak_X, path_X, held_X = (torch.zeros_like(limit_X) for _ in range(5))
        going = torch.arange(len(limit_X))
        while len(going):
            drawn = drawn_X[going]
            last = (drawn - 1).clamp(min=0)[:, None]
            votes = [part[going].gather(1, last)[:, 0].long() * (drawn > 0) for part in (first_XN, second_XN)]
            state = self.table.states.index_NVV[drawn, votes[0], votes[1]]
            batch = torch.minimum(self.table.batch_PS[prior_X[going], state].long(), limit_X[going] - drawn)
            going, drawn, batch = going[batch > 0], drawn[batch > 0], batch[batch > 0]
            if not len(going):
                break
            longest, held = round_memory(tokens_XN[going], drawn, batch)
            path_X[going] += longest
            held_X[going] = torch.maximum(held_X[going], held)
            peak_X[going] = torch.maximum(peak_X[going], batch)
            rounds_X[going] += 1
            drawn_X[going] = drawn + batch
        last_X1 = (drawn_X - 1)[:, None]
        correct_X = orders.leader_right_RQM[..., :num].flatten(0, 1).gather(1, last_X1)[:, 0]
        spent_X = tokens_XN.cumsum(1).gather(1, last_X1)[:, 0]
        parts = (correct_X, drawn_X, spent_X, rounds_X, peak_X, path_X, held_X)
        correct, samples, tokens, rounds, peak, path, held = (part.view(shape) for part in parts)
        replay = replay_of(
            orders,
            correct=correct,
            samples=samples,
            tokens=tokens,
            rounds=rounds,
            peak=peak,
            critical_path=path,
            held_tokens=held,
        )
        return self._with_greedy(replay, orders)

    def _with_greedy(self, replay: Replay, orders: Orders) -> Replay:
        """Questions whose prior has the greedy answer get it instead."""
        if self.table.greedy_P is None:
            return replay
        return where(self.table.greedy_P[self.prior_of(len(orders.limit_Q))], replay_greedy(orders), replay)

    def replay_concurrent(self, arrivals: Orders) -> Replay:
        """All samples start at once and vote as they finish, short answers first; at a stop the rest is aborted.

        Args:
            arrivals: from `Orders.of_arrivals` with at most `cap` samples. A sample that is aborted costs the tokens
                it had when the last vote came in.
        """
        stop_RQN = self._stops(arrivals)
        last_RQ = stop_RQN.int().argmax(2)
        until_RQ = arrivals.tokens_RQM.gather(2, last_RQ[..., None])
        spent_RQM = torch.minimum(arrivals.tokens_RQM, until_RQ)  # padding has 0 tokens
        started_RQ = arrivals.limit_Q.expand(last_RQ.shape)
        return replay_of(
            arrivals,
            correct=arrivals.leader_right_RQM.gather(2, last_RQ[..., None])[..., 0],
            samples=started_RQ,
            tokens=spent_RQM.sum(2),
            rounds=torch.ones_like(started_RQ),
            peak=started_RQ,
            critical_path=until_RQ[..., 0],
            held_tokens=held_tokens(spent_RQM),
        )

    def _stops(self, orders: Orders) -> Tensor:
        """Whether the rule stops after each sample."""
        num = min(self.cap, orders.vote_RQM.shape[2])
        drawn_N = torch.arange(1, num + 1)
        first_RQN, second_RQN = orders.first_RQM[..., :num].long(), orders.second_RQM[..., :num].long()
        state_RQN = self.table.states.index_NVV[drawn_N, first_RQN, second_RQN]
        stop_RQN = self.table.stop_PS[self.prior_of(len(orders.limit_Q))[None, :, None], state_RQN]
        return stop_RQN | (drawn_N >= orders.limit_Q[:, None])

    def prior_of(self, num: int) -> Tensor:
        """Prior of each of so many questions, (Q,)."""
        return torch.zeros(num, dtype=torch.long) if self.prior_Q is None else self.prior_Q

    def without_greedy(self) -> TableRule:
        """The same where there are no greedy answers."""
        return TableRule(self.table.without_greedy(), self.prior_Q)


def round_memory(tokens_XN: Tensor, start_X: Tensor, batch_X: Tensor) -> tuple[Tensor, Tensor]:
    """Longest sample, and most tokens held at once (`held_tokens`), of the round `start <= n < start + batch`; (X,)."""
    width = int(batch_X.max())
    place_XW = start_X[:, None] + torch.arange(width)
    inside_XW = torch.arange(width) < batch_X[:, None]
    lengths_XW = tokens_XN.gather(1, place_XW.clamp(max=tokens_XN.shape[1] - 1)) * inside_XW
    return lengths_XW.amax(1).long(), held_tokens(lengths_XW).long()


def replay_of(
    orders: Orders,
    correct: Tensor,
    samples: Tensor,
    tokens: Tensor,
    rounds: Tensor,
    peak: Tensor,
    critical_path: Tensor,
    held_tokens: Tensor,
) -> Replay:
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
        critical_path=critical_path.double().mean(0),
        peak_kv=held_tokens.double().mean(0) + orders.prompt_tokens_Q,
        order_variance=spread_Q,
    )
