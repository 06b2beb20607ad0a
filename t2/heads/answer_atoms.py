"""Atoms of answer distributions: how often a first and a second answer come, and which of them is correct. Pure.

Atom j has the shares (s1, s2) of its two most frequent answers, the rest r = 1 - s1 - s2, and c, which of the two is
correct (1, 2, or 0: neither). A question with n1 and n2 samples for its two most frequent answers, nr others, and c_i
likewise, has under it the likelihood

    L_ij = s1^n1 s2^n2 r^nr [c_i = c_j]  +  s2^n1 s1^n2 r^nr [c_i with first and second changed = c_j]

up to a factor that is the same for all atoms: either of the question's answers may be the atom's first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from t2.grading.graded import GradedPool
from t2.heads.medoids import medoids

SMOOTHING = 0.5
"""Pseudo-samples added to first, second and rest (Jeffreys' prior for three shares): no answer is impossible."""
EM_STEPS = 5
"""Of `fitted_atoms`: the medoids lie well already, and later steps move little."""


@dataclass(frozen=True)
class AnswerAtoms:
    """J answer distributions: representative ones, or those of J training questions."""

    share_J3: Tensor
    """shares of the most frequent answer, the second, and everything else with abstentions, float64"""
    right_J: Tensor
    """1: the most frequent answer is correct, 2: the second is, 0: neither"""

    def __len__(self) -> int:
        return len(self.right_J)

    def take(self, rows: Tensor) -> AnswerAtoms:
        return AnswerAtoms(self.share_J3[rows], self.right_J[rows])


def atoms_of_counts(count_Q3: Tensor, right_Q: Tensor) -> AnswerAtoms:
    """An atom for each question, with smoothed shares; counts as in `GradedPool.top_counts`."""
    count_Q3 = count_Q3.double()
    return AnswerAtoms((count_Q3 + SMOOTHING) / (count_Q3.sum(1, keepdim=True) + 3 * SMOOTHING), right_Q.long())


def answer_atoms(pool: GradedPool) -> AnswerAtoms:
    """The atoms of graded questions; of equally frequent answers the one seen first comes first."""
    return atoms_of_counts(*pool.top_counts())


def swapped(right_X: Tensor) -> Tensor:
    """Which answer is correct when first and second have changed places."""
    return torch.where(right_X == 1, 2, torch.where(right_X == 2, 1, 0))


def log_likelihoods(atoms: AnswerAtoms, count_Q3: Tensor, right_Q: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of both terms of L_ij, as they stand and changed, (Q, J) float64; -infinity: does not fit."""
    log_3J, count_Q3 = atoms.share_J3.log().T, count_Q3.double()
    same_QJ = (count_Q3 @ log_3J).masked_fill(right_Q[:, None] != atoms.right_J, -torch.inf)
    flip_QJ = (count_Q3[:, [1, 0, 2]] @ log_3J).masked_fill(swapped(right_Q)[:, None] != atoms.right_J, -torch.inf)
    return same_QJ, flip_QJ


def tempered(atoms: AnswerAtoms, count_Q3: Tensor, right_Q: Tensor, tau: float) -> Tensor:
    """Log L_ij / tau, (Q, J): M samples weigh as M / tau."""
    return torch.logaddexp(*log_likelihoods(atoms, count_Q3, right_Q)) / tau


def posterior(log_prior_J: Tensor, tempered_QJ: Tensor) -> Tensor:
    """Of each question over the atoms, (Q, J); a question that fits no atom keeps the prior."""
    log_QJ = log_prior_J.double() + tempered_QJ
    log_QJ = torch.where(log_QJ.amax(1, keepdim=True) == -torch.inf, log_prior_J.double(), log_QJ)
    return log_QJ.softmax(1)


def spread_over_questions(posterior_QJ: Tensor) -> Tensor:
    """Share of each training question in an atom, (J, Q), rows sum to 1; an atom that nobody is like is all of them.

    So weights over atoms become weights over questions, and curves and tables come from real questions.
    """
    posterior_JQ = posterior_QJ.T.double()
    total_J1 = posterior_JQ.sum(1, keepdim=True)
    return torch.where(total_J1 > 1e-9, posterior_JQ / total_J1.clamp(min=1e-9), 1 / posterior_JQ.shape[1])


def fitted_atoms(count_Q3: Tensor, right_Q: Tensor, num_atoms: int, tau: float) -> tuple[AnswerAtoms, Tensor]:
    """At most `num_atoms` atoms that represent the questions, and the share of each, (J,).

    Medoids of (sqrt s1, sqrt s2, sqrt r, one-hot c), where distances of shares are Hellinger's; then a few steps of
    expectation and maximisation move their shares (c stays) towards the questions that are like them.
    """
    own = atoms_of_counts(count_Q3, right_Q)
    points_Q6 = torch.cat([own.share_J3.sqrt(), torch.nn.functional.one_hot(own.right_J, 3).double()], 1)
    chosen = medoids(points_Q6, num_atoms)
    atoms, prior_J = own.take(chosen), torch.full((len(chosen),), 1 / len(chosen), dtype=torch.float64)
    count_Q3 = count_Q3.double()
    for _ in range(EM_STEPS):
        same_QJ, flip_QJ = log_likelihoods(atoms, count_Q3, right_Q)
        both_QJ = torch.logaddexp(same_QJ, flip_QJ)
        weight_QJ = posterior(prior_J.log(), both_QJ / tau)
        unflipped_QJ = (same_QJ - both_QJ).exp().nan_to_num(0.0)
        count_J3 = (weight_QJ * unflipped_QJ).T @ count_Q3
        count_J3 += (weight_QJ * (1 - unflipped_QJ)).T @ count_Q3[:, [1, 0, 2]]
        prior_J = weight_QJ.mean(0).clamp(min=1e-6)
        prior_J = prior_J / prior_J.sum()
        atoms = AnswerAtoms(atoms_of_counts(count_J3, atoms.right_J).share_J3, atoms.right_J)
    return atoms, prior_J


@dataclass(frozen=True)
class PriorFit:
    """What a fitted `PriorHead` makes of weights over its atoms."""

    atoms: AnswerAtoms
    prior_J: Tensor
    """share of the training questions that each atom stands for"""
    tau: float
    """the votes of M samples count as M / tau"""
    lam: float
    """share of the mean of all training questions in a stopping prior"""

    def spread(self, count_Q3: Tensor, right_Q: Tensor) -> Tensor:
        """Share of each training question in an atom, (J, Q); counts as in `GradedPool.top_counts`."""
        tempered_QJ = tempered(self.atoms, count_Q3, right_Q, self.tau)
        return spread_over_questions(posterior(self.prior_J.to(tempered_QJ).log(), tempered_QJ))
