"""Answers of plans on stored samples of held-out questions: how sure a server would be, and whether it is so. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from t2.answering.plan import QuestionPlan
from t2.grading.graded import GradedPool
from t2.voting import ABSTAINED, majority

Answer = tuple[float, bool]
"""How sure, and whether it is right."""


def stored_answers(plans: Sequence[QuestionPlan], pool: GradedPool, num_orders: int, seed: int = 0) -> list[Answer]:
    """Each question is answered by its plan over random orders of its samples, as a server would walk it.

    Args:
        plans: one for each question.
        pool: of the questions.
        num_orders: random orders of each question's samples.
        seed: of the orders.

    Returns:
        (confidence, whether the answer is right) of every walk that has come to an answer with a confidence.
    """
    generator, answers = torch.Generator().manual_seed(seed), list[Answer]()
    for row, plan in enumerate(plans):
        if plan.is_greedy:
            confidence = plan.confidence([0])
            if confidence is not None and bool(pool.greedy_present_Q[row]):
                # The same in every order: a question counts as much, whatever its plan is.
                answers += [(confidence, bool(pool.greedy_right_Q[row]))] * num_orders
            continue
        present = int(pool.present_QM[row].sum())
        votes_M, right_M = pool.vote_QM[row, :present], pool.right_QM[row, :present]
        for _ in range(num_orders):
            order_M = torch.randperm(present, generator=generator)
            votes = [None if vote == ABSTAINED else vote for vote in votes_M[order_M].tolist()]
            drawn = votes[: _drawn(plan, votes)]
            leader, confidence = majority(drawn), plan.confidence(drawn)
            if leader is not None and confidence is not None:
                answers.append((confidence, bool(right_M[order_M[drawn.index(leader)]])))
    return answers


def _drawn(plan: QuestionPlan, votes: Sequence[int | None]) -> int:
    """Samples after which the plan stops; the last round is cut short where the stored samples end."""
    drawn = rounds = 0
    while drawn < len(votes) and (extra := plan.extra(votes[:drawn], rounds)):
        drawn, rounds = min(drawn + extra, len(votes)), rounds + 1
    return drawn
