"""Is "right with probability 0.8" right four times in five? Final answers of served rules on stored samples. Pure.

A rule is walked over random orders of a question's samples, as it would be served, and asked at its stop how sure the
answer is: P(right | votes) of the posterior that planned it. Held-out questions alone say whether that is so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from t2.heads.answer_atoms import AnswerAtoms
from t2.policies.orders import Orders
from t2.policies.planning import StopModel
from t2.policies.states import VoteStates
from t2.policies.stopping import DrawTable
from t2.stats.bootstrap import Interval, interval, resampled_means

BINS = 10
"""Of equal width, from 0 to 1."""


@dataclass(frozen=True)
class Answers:
    """Final answers, each (X,): of every question one in each order."""

    confidence: Tensor
    """probability that the answer is right, as a server says it, float64"""
    right: Tensor
    """1: it is right, 0: it is not, float64"""
    question: Tensor
    """that it answers, an index from 0 on"""
    samples: Tensor
    """that were drawn"""
    state: Tensor
    """of the votes, a number of `VoteStates`; -1: a greedy answer"""


def joined_answers(parts: Sequence[Answers], rows: Sequence[Tensor]) -> Answers:
    """Those of several sets of questions, of which `rows` say which of all questions they are."""
    questions = torch.cat([row_Q[part.question] for part, row_Q in zip(parts, rows, strict=True)])
    confidence, right, samples, state = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("confidence", "right", "samples", "state")
    )
    return Answers(confidence, right, questions, samples, state)


def final_answers(
    table: DrawTable, model: StopModel, orders: Orders, prior_Q: Tensor, greedy_right_P: Tensor | None
) -> Answers:
    """What a rule answers and how sure it is; answers that nobody has voted for, which are none, are left out.

    Args:
        table: of the rule, a row a prior; the model's priors, or one for all.
        model: of the posterior that says how sure an answer is, up to the table's cap.
        orders: of the questions' samples.
        prior_Q: of each question in the model.
        greedy_right_P: how sure a greedy answer is under each prior; None: nobody gets one.
    """
    rows_Q = prior_Q if len(table.batch_PS) > 1 else torch.zeros_like(prior_Q)
    drawn_RQ = stops(table, orders, rows_Q)
    first_RQ, second_RQ, right_RQ = _at(orders, drawn_RQ)
    state_RQ = model.states.index_NVV[drawn_RQ, first_RQ, second_RQ]
    confidence_RQ = model.right_PS[prior_Q, state_RQ]
    has_answer_RQ = first_RQ > 0
    if table.greedy_P is not None and greedy_right_P is not None:
        greedy_Q = table.greedy_P[rows_Q]
        confidence_RQ = torch.where(greedy_Q, greedy_right_P[prior_Q], confidence_RQ)
        right_RQ = torch.where(greedy_Q, orders.greedy_right_Q.double(), right_RQ)
        drawn_RQ, state_RQ = torch.where(greedy_Q, 1, drawn_RQ), torch.where(greedy_Q, -1, state_RQ)
        has_answer_RQ = has_answer_RQ | greedy_Q
    question_RQ = torch.arange(len(prior_Q)).expand(drawn_RQ.shape)
    return Answers(*(part[has_answer_RQ] for part in (confidence_RQ, right_RQ, question_RQ, drawn_RQ, state_RQ)))


def stops(table: DrawTable, orders: Orders, row_Q: Tensor) -> Tensor:
    """Samples after which a rule stops, (R, Q): from batch to batch, as it is served; the last is cut short."""
    limit_Q = orders.limit_Q.clamp(max=table.states.cap)
    drawn_RQ = torch.zeros(orders.vote_RQM.shape[:2], dtype=torch.long)
    while True:
        first_RQ, second_RQ, _ = _at(orders, drawn_RQ)
        batch_RQ = table.batch_PS[row_Q, table.states.index_NVV[drawn_RQ, first_RQ, second_RQ]].long()
        batch_RQ = torch.minimum(batch_RQ, limit_Q - drawn_RQ)
        if not bool(batch_RQ.any()):
            return drawn_RQ
        drawn_RQ = drawn_RQ + batch_RQ


def _at(orders: Orders, drawn_RQ: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Votes of leader and runner-up after so many samples, and whether the leader is right (float64)."""
    last_RQ1 = (drawn_RQ - 1).clamp(min=0)[..., None]
    has_begun_RQ = drawn_RQ > 0
    first_RQ, second_RQ, right_RQ = (
        part.gather(2, last_RQ1)[..., 0] * has_begun_RQ
        for part in (orders.first_RQM, orders.second_RQM, orders.leader_right_RQM)
    )
    return first_RQ.long(), second_RQ.long(), right_RQ.double()


def tempered_right(
    atoms: AnswerAtoms, mixture_JA: Tensor, weight_PJ: Tensor, states: VoteStates, power: float
) -> Tensor:
    """P(right | votes) of each state, (P, S), where every vote counts as so many: at 1 that of a `StopModel`.

    Args:
        atoms: of the training questions.
        mixture_JA: weights of each of J mixtures over them.
        weight_PJ: of each prior over the mixtures.
        states: of the votes.
        power: of the likelihood; above 1 votes say more than they do under the atoms, below 1 less.
    """
    rest_S = states.drawn_S - states.first_S - states.second_S
    came_3S = power * torch.stack([states.first_S, states.second_S, rest_S]).double()
    log_A3 = atoms.share_J3.log()
    as_is_AS, changed_AS = (log_A3 @ came_3S).exp_(), (log_A3[:, [1, 0, 2]] @ came_3S).exp_()
    right_AS = as_is_AS * (atoms.right_J == 1)[:, None] + changed_AS * (atoms.right_J == 2)[:, None]
    weight_PA = weight_PJ.double() @ mixture_JA
    right_PS = (weight_PA @ right_AS) / (weight_PA @ (as_is_AS + changed_AS)).clamp(min=torch.finfo(torch.float64).tiny)
    return right_PS * (states.first_S > 0)


@dataclass(frozen=True)
class Bin:
    """Answers of similar confidence. Intervals: 95% bootstrap over questions."""

    low: float
    high: float
    share: float
    """of all answers"""
    confidence: float
    """mean"""
    right: Interval
    """share"""


@dataclass(frozen=True)
class Reliability:
    """How far confidence can be believed. Intervals: 95% bootstrap over questions."""

    questions: int
    samples: float
    """mean of an answer"""
    right: Interval
    """share of the answers"""
    gap: Interval
    """mean confidence minus the share that is right: above 0 too sure"""
    calibration_error: float
    """expected calibration error: mean distance of confidence and share right over bins, by their share"""
    brier: Interval
    """mean squared distance of confidence and 0 or 1"""
    base_brier: float
    """that of a constant: the share right for every answer"""
    auroc: float
    """how well confidence tells right answers from wrong ones: 0.5 not at all, 1 always"""
    bins: tuple[Bin, ...]

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def reliability(answers: Answers, clusters_Q: Tensor, num_resamples: int = 2000) -> Reliability:
    """Measure answers; `clusters_Q` has the same number for questions that are drawn together."""
    confidence, right, num = answers.confidence, answers.right, len(clusters_Q)
    bin_X = (confidence * BINS).long().clamp(max=BINS - 1)
    one_hot_XB = torch.nn.functional.one_hot(bin_X, BINS).double()
    columns_XP = torch.cat(
        [
            torch.stack([torch.ones_like(confidence), confidence, right, (confidence - right).square()], 1),
            one_hot_XB,
            one_hot_XB * right[:, None],
        ],
        1,
    )
    # Sums of each question, so that resamples draw questions with all their answers.
    sums_QP = torch.zeros(num, columns_XP.shape[1], dtype=torch.float64).index_add_(0, answers.question, columns_XP)
    means_RP, mean_P = resampled_means(sums_QP, num_resamples, clusters_Q=clusters_Q), sums_QP.mean(0)

    def ratio(over: int, under: int = 0) -> Interval:
        return interval(float(mean_P[over] / mean_P[under]), means_RP[:, over] / means_RP[:, under])

    gap_R = (means_RP[:, 1] - means_RP[:, 2]) / means_RP[:, 0]
    share, target = ratio(2), right.int()
    found = [place for place in range(BINS) if mean_P[4 + place] > 0]
    return Reliability(
        questions=len(set(answers.question.tolist())),
        samples=float(answers.samples.double().mean()),
        right=share,
        gap=interval(float((mean_P[1] - mean_P[2]) / mean_P[0]), gap_R),
        calibration_error=float(binary_calibration_error(confidence, target, n_bins=BINS, norm="l1")),
        brier=ratio(3),
        base_brier=share.value * (1 - share.value),
        auroc=float(binary_auroc(confidence, target)) if 0 < share.value < 1 else float("nan"),
        bins=tuple(
            Bin(
                low=place / BINS,
                high=(place + 1) / BINS,
                share=float(mean_P[4 + place] / mean_P[0]),
                confidence=float(confidence[bin_X == place].mean()),
                right=ratio(4 + BINS + place, 4 + place),
            )
            for place in found
        ),
    )
