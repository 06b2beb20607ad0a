"""`DSC`: difficulty-adaptive self-consistency (Wang et al. 2024, arXiv 2408.13457), without an LLM as judge.

Questions are ordered by a score. From the hardest on, each draws `JUDGE_SAMPLES` answers; it is easy if ASC's rule
would stop on them at `EASY_THRESHOLD`, whatever threshold is set. After `EASY_IN_A_ROW` easy ones in a row, these and
all easier questions get one greedy answer. The others, from easy to hard, first draw a window as large as their
neighbours needed, then windows of `WINDOW` until ASC's rule stops or the cap is reached. The judging draws are charged,
and reused where sampling goes on.

`replay_other_half` is a reference that no one can deploy: the score is the mean correctness of half of a question's own
samples, the replay runs on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from t2.curves.halves import Halves
from t2.grading.graded import GradedPool
from t2.policies.asc import beta_stops, check_threshold
from t2.policies.base import Replay, mean_of
from t2.policies.orders import Orders
from t2.policies.states import vote_states
from t2.policies.stopping import Sequential, replay_of, round_memory

JUDGE_SAMPLES = 4
EASY_THRESHOLD = 0.95
"""Of ASC's rule on the judging draws: four answers must agree."""
EASY_IN_A_ROW = 32
"""Questions, hardest first, after which all that are easier count as easy too."""
WINDOW = 4
"""Samples that a hard question draws at a time."""
NEIGHBOURS = 16
"""Questions whose mean stop count sets the first window."""


class DSC(Sequential):
    """Sequential over questions as well as samples: it needs the whole batch before it starts.

    `hardness_Q` (higher is harder) is of the questions of the orders that are replayed; `threshold`, in (0.5, 1), is of
    ASC's rule that ends sampling.
    """

    def __init__(self, hardness_Q: Tensor, threshold: float = 0.95, cap: int = 32) -> None:
        self.threshold = check_threshold(threshold, "DSC")
        self.easy_to_hard = hardness_Q.double().argsort(dim=0, stable=True).tolist()
        self.cap = cap

    def replay(self, orders: Orders) -> Replay:
        """Mean over the orders; each order is one pass over all questions."""
        # What a question has drawn decides what the next ones draw, so a pass is a plain loop (`_one_pass`). All that
        # it asks of the samples is settled before, for all orders at once: whether a rule would stop after n of them.
        num = min(self.cap, orders.vote_RQM.shape[2])
        states = vote_states(num)
        state_RQN = states.index_NVV[
            torch.arange(1, num + 1), orders.first_RQM[..., :num].long(), orders.second_RQM[..., :num].long()
        ]
        stop_RQN, easy_RQN = (beta_stops(states, p)[state_RQN] for p in (self.threshold, EASY_THRESHOLD))
        judge = min(JUDGE_SAMPLES, num)
        limit_Q = orders.limit_Q.clamp(max=num)
        needed_RQ = _needed(stop_RQN, limit_Q.clamp(max=WINDOW))
        plans = [
            _one_pass(self.easy_to_hard, easy_Q.tolist(), stop_QN.tolist(), needed_Q.tolist(), limit_Q.tolist())
            for easy_Q, stop_QN, needed_Q in zip(easy_RQN[..., judge - 1], stop_RQN, needed_RQ, strict=True)
        ]
        drawn_RQ, rounds_RQ, peak_RQ, greedy_RQ = (
            torch.tensor(part)
            for part in zip(*((plan.drawn, plan.rounds, plan.peak, plan.greedy) for plan in plans), strict=True)
        )
        path_RQ, held_RQ = _axes(orders.tokens_RQM[..., :num], [plan.ends for plan in plans])
        # Column n holds the tokens of n samples. A greedy answer decides alone, but costs on top of what was drawn.
        spent_RQN = torch.nn.functional.pad(orders.tokens_RQM[..., :num].cumsum(2), (1, 0))
        right_RQ = orders.leader_right_RQM.gather(2, (drawn_RQ - 1).clamp(min=0)[..., None]).squeeze(2)
        is_greedy_RQ = greedy_RQ.bool()
        return replay_of(
            orders,
            correct=torch.where(is_greedy_RQ, orders.greedy_right_Q.bool(), right_RQ),
            samples=drawn_RQ + greedy_RQ,
            tokens=spent_RQN.gather(2, drawn_RQ[..., None]).squeeze(2) + greedy_RQ * orders.greedy_tokens_Q,
            rounds=rounds_RQ,
            peak=peak_RQ,
            critical_path=path_RQ + greedy_RQ * orders.greedy_tokens_Q,
            held_tokens=torch.maximum(held_RQ, greedy_RQ * orders.greedy_tokens_Q),
        )


def half_orders(pool: GradedPool, num_orders: int, seed: int) -> tuple[Orders, Orders]:
    """Random orders of each half's samples (`GradedPool.fold_QM`) alone; every question must have samples in both."""
    fold_QM = pool.fold_QM()
    first, second = (Orders.of(pool.only(fold_QM == half), num_orders, seed + half) for half in (0, 1))
    return first, second


def replay_other_half(halves: Halves, orders: tuple[Orders, Orders], threshold: float, cap: int) -> Replay:
    """`DSC` in the order of one half's mean correctness, replayed on the other half: mean of the two directions.

    `orders` are the `half_orders` of the questions; a half smaller than `cap` caps itself.
    """
    replays = [
        DSC(-halves.acc_QK[chooser][:, 0], threshold, min(cap, halves.samples)).replay(orders[scorer])
        for chooser, scorer in ((0, 1), (1, 0))
    ]
    return mean_of(replays)


def _needed(stop_RQN: Tensor, fewest_Q: Tensor) -> Tensor:
    """Samples, from `fewest_Q` on, after which the rule stops first, (R, Q); more than there are: it never does."""
    num = stop_RQN.shape[2]
    n_N = torch.arange(1, num + 1)
    return torch.where(stop_RQN & (n_N >= fewest_Q[:, None]), n_N, num + 1).amin(2)


def _one_pass(
    easy_to_hard: list[int], easy_Q: list[bool], stop_QN: list[list[bool]], needed_Q: list[int], limit: list[int]
) -> _Pass:
    """One pass over all questions in one order of their samples: first from hard to easy, then the hard ones back.

    With h for judged hard, e for judged easy, . for not judged, and a run of 2 instead of `EASY_IN_A_ROW`:

        easy_to_hard     .  .  .  e  e | h  e  h  h
        1. judge                  <----------------     until a run of easy ones is met: the rest is easier still
        2. one greedy answer each      |
        3.                             | windows -->    the first as large as the last questions needed

    The run lies left of the bar: its judging draws are paid, and its answers are greedy. Without a run the bar is at
    the left end, and every question gets windows.

    Args:
        easy_to_hard: questions in the order of the score.
        easy_Q: whether the judging draws of a question agree.
        stop_QN: whether the rule stops after n + 1 samples.
        needed_Q: samples after which it stops first, one window at least; more than there are if it never does.
        limit: samples of each question.
    """
    num_questions = len(easy_to_hard)
    greedy, ends = [0] * num_questions, [[0] for _ in range(num_questions)]
    in_a_row, hard_from = 0, 0
    for place in range(num_questions - 1, -1, -1):
        q = easy_to_hard[place]
        ends[q].append(min(JUDGE_SAMPLES, limit[q]))
        in_a_row = in_a_row + 1 if easy_Q[q] else 0
        if in_a_row == EASY_IN_A_ROW:
            hard_from = place + EASY_IN_A_ROW
            break
    for q in easy_to_hard[:hard_from]:
        greedy[q] = 1
    stops: list[int] = []
    for q in easy_to_hard[hard_from:]:
        recent = stops[-NEIGHBOURS:]
        target = max(WINDOW, WINDOW * round(sum(recent) / len(recent) / WINDOW)) if recent else WINDOW
        # Drawn up to the target before the rule is asked again; the judging draws may be enough.
        while (drawn := ends[q][-1]) < limit[q] and not (drawn and stop_QN[q][drawn - 1]):
            end = max(drawn, min(target, limit[q]))
            if end > drawn:
                ends[q].append(end)
            target = end + WINDOW
        # What it needed, not what its window made it draw: else a window that was too large could never shrink.
        stops.append(min(needed_Q[q], ends[q][-1]))
    return _Pass(ends, greedy)


@dataclass(frozen=True)
class _Pass:
    """What one pass draws of each question."""

    ends: list[list[int]]
    """samples drawn before the first round, which is 0, and after each round"""
    greedy: list[int]
    """1: it gets a greedy answer besides, in a round of its own"""

    @property
    def drawn(self) -> list[int]:
        return [ends[-1] for ends in self.ends]

    @property
    def rounds(self) -> list[int]:
        return [len(ends) - 1 + greedy for ends, greedy in zip(self.ends, self.greedy, strict=True)]

    @property
    def peak(self) -> list[int]:
        batches = ([after - before for before, after in pairwise(ends)] for ends in self.ends)
        return [max([greedy, *own]) for own, greedy in zip(batches, self.greedy, strict=True)]


def _axes(tokens_RQN: Tensor, ends: list[list[list[int]]]) -> tuple[Tensor, Tensor]:
    """Critical path and most tokens held of the sampled rounds, (R, Q)."""
    shape, tokens_XN = tokens_RQN.shape[:2], tokens_RQN.flatten(0, 1)
    ends_X = [own for one in ends for own in one]
    most = max(map(len, ends_X))
    ends_XW = torch.tensor([own + own[-1:] * (most - len(own)) for own in ends_X])
    path_X, held_X = torch.zeros(2, len(ends_X), dtype=torch.long).unbind()
    for start_X, end_X in pairwise(ends_XW.unbind(1)):
        longest_X, own_X = round_memory(tokens_XN, start_X, end_X - start_X)
        path_X, held_X = path_X + longest_X, torch.maximum(held_X, own_X)
    return path_X.view(shape), held_X.view(shape)
