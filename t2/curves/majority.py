"""Exact accuracy of majority voting over N of a question's M samples, for all wanted N at once.

Draw N of the M samples uniformly without replacement and take the majority over answer classes. A tie among s + 1
classes pays 1/(s+1) if one is correct; no votes pay 0. With class counts c_i, c_0 abstentions, a correct class r:

    A(N) = 1/C(M,N) * sum_{v>=1} C(c_r,v) * sum_s 1/(1+s)
           * [z^(N-v) y^s] (1+z)^c_0 * prod_{i != r} ( sum_{t<v} C(c_i,t) z^t + y C(c_i,v) z^v )

v is the number of votes for r, s the number of classes that tie with it. All terms are positive, so nothing cancels.
The estimate is a U-statistic: its mean over pools is the model's true maj@N (the pass@k estimator of Chen et al. 2021,
arXiv 2107.03374, is the same idea for "any sample right").

Two observations make it fast. Classes with c_i < v contribute (1+z)^c_i, exactly like abstentions; so for each v only
the classes with at least v votes need work, and there are at most M/v of them. And questions that share that multiset
share the work.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SAMPLES = 512
"""Largest M: beyond it binomials come near the range of float64 and would need scaling."""
_ROWS_AT_ONCE = 2048


def majority_accuracy(
    counts_QC: Tensor, correct_QC: Tensor, abstained_Q: Tensor, budgets: Sequence[int] | None = None
) -> Tensor:
    """A(N) for N in `budgets`; NaN where N exceeds a question's own pool.

    Args:
        counts_QC: votes of each answer class, integer, zero-padded.
        correct_QC: which classes are correct, bool; several, one or none.
        abstained_Q: samples without a vote, integer.
        budgets: each at least 1, in any order; None: 1..M, where M is the largest pool. Few and small ones cost less.

    Returns:
        acc_QK, float64; column k is A(budgets[k]).

    Raises:
        ValueError: negative counts, a question without samples or with more than `MAX_SAMPLES`, a budget below 1.
    """
    counts_QC, abstained_Q = counts_QC.long(), abstained_Q.long()
    if counts_QC.numel() and (int(counts_QC.min()) < 0 or int(abstained_Q.min()) < 0):
        raise ValueError("Expected counts >= 0, got a negative count.")
    pool_Q = counts_QC.sum(1) + abstained_Q
    if len(pool_Q) == 0 or int(pool_Q.min()) < 1 or int(pool_Q.max()) > MAX_SAMPLES:
        raise ValueError(f"Expected 1 to {MAX_SAMPLES} samples of each question, got {sorted(set(pool_Q.tolist()))}.")
    wanted_K = torch.arange(1, int(pool_Q.max()) + 1) if budgets is None else torch.tensor(budgets, dtype=torch.long)
    if not len(wanted_K) or int(wanted_K.min()) < 1:
        raise ValueError(f"Expected budgets of at least 1 sample, got {budgets}.")
    largest = min(int(wanted_K.max()), int(pool_Q.max()))
    choose = binomials(int(pool_Q.max()))[:, : largest + 1]
    question_R, class_R = torch.nonzero(correct_QC & (counts_QC > 0), as_tuple=True)
    votes_R = counts_QC[question_R, class_R]
    # One row for each correct class, not for each question: each adds the draws that it wins, and its share of ties.
    others_RC = counts_QC[question_R].clone()
    others_RC[torch.arange(len(question_R)), class_R] = 0
    others_RC = others_RC.sort(1, descending=True).values
    ways_QK = torch.zeros(len(pool_Q), len(wanted_K), dtype=torch.float64)
    for votes in range(1, min(int(votes_R.max()), largest) + 1 if len(votes_R) else 1):
        rows = torch.nonzero(votes_R >= votes).squeeze(1)
        columns = torch.nonzero((votes <= wanted_K) & (wanted_K <= largest)).squeeze(1)
        ways_RK = choose[votes_R[rows], votes, None] * _ways_of_others(
            others_RC[rows], abstained_Q[question_R[rows]], votes, wanted_K[columns] - votes, choose
        )
        ways_QK[:, columns] = ways_QK[:, columns].index_add_(0, question_R[rows], ways_RK)
    acc_QK = ways_QK / choose[pool_Q][:, wanted_K.clamp(max=largest)]
    return acc_QK.masked_fill(wanted_K > pool_Q[:, None], math.nan)


def binomials(largest: int) -> Tensor:
    """C(n, k) for n, k = 0..largest, float64, each correctly rounded."""
    table = [[float(math.comb(n, k)) for k in range(largest + 1)] for n in range(largest + 1)]
    return torch.tensor(table, dtype=torch.float64)


def _ways_of_others(others_RC: Tensor, abstained_R: Tensor, votes: int, drawn_K: Tensor, choose: Tensor) -> Tensor:
    """Weighted ways to draw d samples besides `votes` correct ones so that no other class has more, for d in `drawn_K`.

    Each way counts 1/(1+s), s the number of classes that tie. Shape (R, K).
    """
    rivals_RC = torch.where(others_RC >= votes, others_RC, 0)
    free_R = abstained_R + others_RC.sum(1) - rivals_RC.sum(1)
    rivals_RC = rivals_RC[:, : max(1, int((rivals_RC > 0).sum(1).max()))]
    unique_UC, which_R = torch.unique(rivals_RC, dim=0, return_inverse=True)
    # Rows with more rivals first, so that each step of the product works on a leading block.
    order = torch.argsort((unique_UC > 0).sum(1), descending=True, stable=True)
    chunks = unique_UC[order].split(_ROWS_AT_ONCE)
    product_UD = torch.cat([_rival_product(chunk, votes, choose) for chunk in chunks])
    return _times_free(product_UD[order.argsort()[which_R]], free_R, drawn_K, choose)


def _rival_product(rivals_UC: Tensor, votes: int, choose: Tensor) -> Tensor:
    """prod_i (sum_{t<v} C(c_i,t) z^t + y C(c_i,v) z^v), with 1/(1+s) for y^s; coefficients of z, shape (U, D).

    Rows must be sorted by descending number of rivals; a rival count of 0 is no rival.

    The product is built rival by rival, for all rows at once. `poly_USD[u, s, d]` counts the ways in which the rivals
    so far drew d samples and s of them tie (drew v). The next one, with c votes, stays behind with t of them, or ties:

        new[s,     d + t] += C(c, t) * old[s, d]     t = 0 .. v-1
        new[s + 1, d + v] += C(c, v) * old[s, d]

    After n rivals at most n tie and at most n * v samples are drawn, so only that corner is touched. A row without a
    next rival keeps what it has; as rows with many rivals come first, those that go on are a leading block.
    """
    width = choose.shape[1]
    num_rivals_U = (rivals_UC > 0).sum(1)
    most = int(num_rivals_U.max())
    degree = min(width - 1, int(rivals_UC.clamp(max=width).sum(1).max()))  # nobody asks for more samples
    poly_USD = torch.zeros(len(rivals_UC), most + 1, degree + 1, dtype=torch.float64)
    poly_USD[:, 0, 0] = 1.0
    reached = 0
    for index in range(most):
        active = int((num_rivals_U > index).sum())
        count_A = rivals_UC[:active, index]
        old = poly_USD[:active, : index + 1, : reached + 1].clone()
        reached = min(degree, reached + votes)
        new = poly_USD[:active, : index + 2, : reached + 1]
        new.zero_()
        for taken in range(votes):
            length = min(old.shape[2], reached + 1 - taken)
            if length > 0:
                new[:, :-1, taken : taken + length] += choose[count_A, taken, None, None] * old[:, :, :length]
        length = min(old.shape[2], reached + 1 - votes)
        if length > 0:
            new[:, 1:, votes : votes + length] += choose[count_A, votes, None, None] * old[:, :, :length]
    share_S = 1.0 / torch.arange(1, most + 2, dtype=torch.float64)
    product_UD = torch.zeros(len(rivals_UC), width, dtype=torch.float64)
    product_UD[:, : degree + 1] = torch.einsum("usd,s->ud", poly_USD, share_S)
    return product_UD


def _times_free(product_RD: Tensor, free_R: Tensor, drawn_K: Tensor, choose: Tensor) -> Tensor:
    """The coefficients of z^d, d in `drawn_K`, of row r times (1+z)^free_r; shape (R, K)."""
    shift_DK = drawn_K - torch.arange(product_RD.shape[1])[:, None]
    result_RK = product_RD.new_empty(len(product_RD), len(drawn_K))
    for free in sorted(set(free_R.tolist())):
        rows = torch.nonzero(free_R == free).squeeze(1)
        ways_DK = torch.where(shift_DK >= 0, choose[free, shift_DK.clamp(min=0)], 0.0)
        result_RK[rows] = product_RD[rows] @ ways_DK
    return result_RK
