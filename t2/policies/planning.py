"""Planned rounds: how many samples to draw at once before the next look, for a price per token and one per wait. Pure.

In a vote state s (samples drawn, votes of leader and runner-up), with P(next | s) from the posterior of a `StopModel`:

    W_0(s) = V(s)
    W_m(s) = sum_next P(next | s) W_{m-1}(next)                        m more samples drawn at once, then a look
    V(s)   = max( P_right(s), max_m W_m(s) - m * cost of a sample - cost of a round )

`plan` gives the m of every state, 0 where stopping is best: no other way to choose the next batch from the votes so far
is worth more under that posterior. A round that costs nothing gives the optimal stopping rule, one that costs more than
a right answer a single round.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.policies.states import VoteStates
from t2.policies.stopping import DrawTable

_TIE = 1e-12
"""Values closer than this are equal: rounding must not decide."""
LEAST_COST = 1e-9
"""Of a sample, in accuracy (a share): where samples are free, those that change nothing are still not drawn."""
_STATES_AT_ONCE = 1 << 21
"""States times priors of `plan_each`: 64 MiB for the four tables of a model."""
_ELEMENTS_AT_ONCE = 1 << 17
"""Of the largest table of one block of priors: 1 MiB, about what a core's cache holds."""


@dataclass(frozen=True)
class StopModel:
    """What each state means under each of P priors; shapes (P, S)."""

    states: VoteStates
    right_PS: Tensor
    """probability that the leader is correct"""
    lead_PS: Tensor
    """probability that the next sample votes for the leader"""
    run_PS: Tensor
    """probability that it votes for the runner-up"""
    rest_PS: Tensor
    """probability that it votes for neither or abstains"""

    def __len__(self) -> int:
        return len(self.right_PS)

    def take(self, priors: slice) -> StopModel:
        return StopModel(self.states, *(part[priors] for part in self._parts))

    def repeated(self, times: int) -> StopModel:
        """All priors, then all again, so many times."""
        return StopModel(self.states, *(part.repeat(times, 1) for part in self._parts))

    @property
    def shares(self) -> tuple[Tensor, Tensor, Tensor]:
        """Probabilities of the next sample, in the order of `VoteStates.successors`."""
        return self.lead_PS, self.run_PS, self.rest_PS

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.right_PS, self.lead_PS, self.run_PS, self.rest_PS


@dataclass(frozen=True)
class Expected:
    """What a table does under the model that it is judged by, each (P,) float64."""

    right: Tensor
    """probability that the answer is correct"""
    samples: Tensor
    rounds: Tensor


def plan(
    model: StopModel, cost_P: Tensor, round_cost: Tensor | float = 0.0, greedy_right_P: Tensor | None = None
) -> DrawTable:
    """The best number of samples to draw next in every state, for each prior; of equals the largest.

    Args:
        model: up to the cap.
        cost_P: of one more sample, in accuracy (a share, not points).
        round_cost: of one more wait, in accuracy; may be infinite: then there is one round.
        greedy_right_P: probability that the greedy answer is correct, which a question may get instead of samples;
            None: there is no greedy answer.
    """
    size = (model.states.cap + 1) ** 3 // 32 + 1  # about the largest rows x states of a level
    block = max(1, _ELEMENTS_AT_ONCE // size)
    cost_P, round_P = cost_P.double(), torch.as_tensor(round_cost).double().expand(len(model))
    batches, roots = [], []
    for start in range(0, len(model), block):
        part = slice(start, start + block)
        batch_PS, root_P = _planned(model.take(part), cost_P[part].clamp(min=LEAST_COST), round_P[part])
        batches.append(batch_PS)
        roots.append(root_P)
    batch_PS, root_P = torch.cat(batches), torch.cat(roots)
    if greedy_right_P is None:
        return DrawTable(model.states, batch_PS)
    # Either way costs a round, and so the first round's cost is left out of both.
    return DrawTable(model.states, batch_PS, greedy_right_P.double() - cost_P > root_P + _TIE)


def last_batches(model: StopModel, cost_P: Tensor) -> DrawTable:
    """The best number of samples to draw in every state if something is drawn and no look comes after it.

    For a last round: W_m(s) = E[P_right after m more samples], and the batch is argmax_m W_m(s) - m * cost of a sample,
    at least 1. The price of the round is paid either way.
    """
    never = torch.full((len(model),), torch.inf, dtype=torch.float64)
    batch_PS, _ = _planned(model, cost_P.double().clamp(min=LEAST_COST), never, must_draw=True)
    return DrawTable(model.states, batch_PS)


def plan_each(
    model: StopModel, cost_NP: Tensor, round_cost_N: Tensor, greedy_right_P: Tensor | None = None
) -> list[DrawTable]:
    """`plan` at N pairs of costs; all at once where there are few priors, since the steps are many and small."""
    together = max(1, _STATES_AT_ONCE // (len(model) * len(model.states)))
    tables: list[DrawTable] = []
    for cost_GP, round_G in zip(*(torch.split(part, together) for part in (cost_NP, round_cost_N)), strict=True):
        num = len(cost_GP)
        greedy_right_X = None if greedy_right_P is None else greedy_right_P.repeat(num)
        table = plan(model.repeated(num), cost_GP.flatten(), round_G.repeat_interleave(len(model)), greedy_right_X)
        greedy = [None] * num if table.greedy_P is None else table.greedy_P.chunk(num)
        batches = table.batch_PS.chunk(num)
        tables += [DrawTable(model.states, *parts) for parts in zip(batches, greedy, strict=True)]
    return tables


def right_at_once(model: StopModel) -> Tensor:
    """Probability that the answer is right after m samples that were drawn at once, (P, cap + 1), m from 0: W_m(root).

    Which answer leads depends on the votes alone, so under a mixture of priors this is the mixture of theirs. What the
    best single batch is worth is never more than what the best plan is worth, which may look in between.
    """
    states, right = model.states, []
    at_PX = torch.ones(len(model), 1, dtype=torch.float64)
    for drawn in range(states.cap + 1):
        here = states.level(drawn)
        right.append((at_PX * model.right_PS[:, here]).sum(1))
        if drawn == states.cap:
            break
        after = states.level(drawn + 1)
        next_PX = at_PX.new_zeros(len(model), after.stop - after.start)
        for share_PS, after_X in zip(model.shares, states.successors(drawn), strict=True):
            next_PX.index_add_(1, after_X, at_PX * share_PS[:, here])
        at_PX = next_PX
    return torch.stack(right, 1)


def _planned(model: StopModel, cost_P: Tensor, round_P: Tensor, must_draw: bool = False) -> tuple[Tensor, Tensor]:
    r"""Batches (P, S), int16, and the value (P,) of the best first batch, the cost of its own round left out.

    One pass from the cap down. Column m of `value_XMP` holds W_m of the states X of one level, which are those with the
    same number of samples drawn, less what its m samples cost. Column 0 is V, and one level up every column moves by
    one place, because W_m of a level comes from W_{m-1} of the next:

        level 3 (the cap)   W_0
                             |  \
        level 2             W_0  W_1          W_0 = V: the better of stopping and of the best column besides it
                             |  \  |  \
        level 1             W_0  W_1  W_2

    So all m are settled at once, in as many steps as there are levels. At the root something is drawn whatever it
    costs. A round costs at least `_TIE`: of batches that are worth the same the larger one waits less, and is taken.

    With `must_draw` every state below the cap has its best batch, also where stopping is worth more.
    """
    states, cap = model.states, model.states.cap
    # States first: a successor's values are then one run of memory, and copying runs is what this loop does most.
    right_SP, lead_SP, run_SP, rest_SP = (
        part.T.contiguous() for part in (model.right_PS, model.lead_PS, model.run_PS, model.rest_PS)
    )
    round_P = round_P.clamp(min=_TIE)
    value_XMP = right_SP[states.level(cap)][:, None]
    going, batches = [], []
    for drawn in range(cap - 1, -1, -1):
        here, (lead_X, run_X, rest_X) = states.level(drawn), states.successors(drawn)
        above_XMP = value_XMP.new_empty(len(lead_X), cap - drawn + 1, len(model))
        later_XMP = above_XMP[:, 1:]  # column m - 1: m samples from here
        torch.mul(value_XMP.index_select(0, lead_X), lead_SP[here].unsqueeze(1), out=later_XMP)
        later_XMP.addcmul_(value_XMP.index_select(0, run_X), run_SP[here].unsqueeze(1))
        later_XMP.addcmul_(value_XMP.index_select(0, rest_X), rest_SP[here].unsqueeze(1))
        later_XMP -= cost_P
        best_XP, which_XP = later_XMP.max(1)
        go_on_XP = best_XP - round_P
        torch.maximum(go_on_XP, right_SP[here], out=above_XMP[:, 0])
        going.append(go_on_XP)
        batches.append(which_XP)
        value_XMP = above_XMP
    # What each state does is settled for all levels together: for one prior the number of steps is what takes time.
    go_on_SP, which_SP = torch.cat(going[::-1]), torch.cat(batches[::-1])
    go_SP = (go_on_SP > right_SP[: len(go_on_SP)] + _TIE) | must_draw
    go_SP[0] = True  # the root
    batch_SP = torch.zeros(right_SP.shape, dtype=torch.int16)
    batch_SP[: len(go_on_SP)] = torch.where(go_SP, which_SP + 1, 0)
    return batch_SP.T.contiguous(), best_XP[0]


def expected(model: StopModel, table: DrawTable) -> Expected:
    """What a table does under a model, by one pass from the root up; greedy answers are not looked at.

    Row m of `flight_MPX` is the probability to be in a state with m samples of the running batch still to come. Those
    with none look: they stop, or start the batch that the table names.
    """
    states, num = model.states, len(model)
    right_P, samples_P, rounds_P = torch.zeros(3, num, dtype=torch.float64).unbind()
    flight_MPX = torch.zeros(states.cap + 1, num, 1, dtype=torch.float64)
    flight_MPX[0] = 1.0
    for drawn in range(states.cap + 1):
        here = states.level(drawn)
        batch_PX, looking_PX = table.batch_PS[:, here].long(), flight_MPX[0].clone()
        stopped_PX = looking_PX * (batch_PX == 0)
        right_P = right_P + (stopped_PX * model.right_PS[:, here]).sum(1)
        samples_P, rounds_P = samples_P + drawn * stopped_PX.sum(1), rounds_P + (looking_PX - stopped_PX).sum(1)
        flight_MPX[0] = 0.0
        flight_MPX.scatter_add_(0, batch_PX[None], (looking_PX - stopped_PX)[None])
        if drawn == states.cap:
            break
        after = states.level(drawn + 1)
        next_MPX = flight_MPX.new_zeros(states.cap + 1, num, after.stop - after.start)
        for share_PS, after_X in zip(model.shares, states.successors(drawn), strict=True):
            next_MPX[:-1].index_add_(2, after_X, flight_MPX[1:] * share_PS[:, here])
        flight_MPX = next_MPX
    return Expected(right_P, samples_P, rounds_P)
