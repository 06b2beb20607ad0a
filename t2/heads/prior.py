"""`PriorHead`: a prior over a question's answer distribution, from which curve, stopping and confidence all follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from t2.errors import T2Error
from t2.heads.answer_atoms import AnswerAtoms, PriorFit, fitted_atoms, tempered
from t2.heads.base import MAX_OUTPUTS, Head, HeadShape, Prediction, Targets, Trunk
from t2.heads.folded_prior import FoldedPrior
from t2.heads.training_votes import TrainingVotes

_FIRST_DEVIATION = 8.0
"""Of the first component: the rate at which members learn is set by the size of what they read."""
MOST_MEMBERS = 64
"""Each is a network of its own: a damaged record must not ask for millions."""
_BY_QUESTION = ("curve_QK", "spread_JQ", "count_Q3", "right_Q", "tokens_Q", "greedy_right_Q")
"""Buffers with a place for each training question."""


class PriorHead(Head):
    """Softmax weights over J atoms of answer distributions, see `answer_atoms`, trained on the votes themselves.

    Loss: the marginal likelihood -log sum_j w_j(x) L_j^(1/tau) of a question's votes. Each member reads the principal
    components of the activations through one hidden layer; the head's weights are the mean of the members'. The
    posterior of the training questions spreads weights over atoms to weights over questions, and the predicted curve is
    the questions' own curves under these.
    """

    gives_curve: ClassVar[bool] = True
    basis_FC: Tensor
    """principal directions of the standardised activations (F = layers x width), scaled"""
    share_J3: Tensor
    right_J: Tensor
    prior_J: Tensor
    """share of the training questions that each atom stands for"""
    curve_QK: Tensor
    """A(N) of each training question on the grid, at N = 1 the greedy answer's where there is one"""
    spread_JQ: Tensor
    """share of each training question in an atom"""
    count_Q3: Tensor
    right_Q: Tensor
    tokens_Q: Tensor
    """mean tokens of a sample of each training question"""
    greedy_right_Q: Tensor
    """1: the greedy answer is correct, 0: it is not, NaN: there is none"""
    fresh: Tensor
    """bool: no stage has started yet"""

    def __init__(
        self,
        shape: HeadShape,
        num_atoms: int = 48,
        tau: float = 2.0,
        lam: float = 0.4,
        components: int = 64,
        hidden: int = 64,
        members: int = 3,
        dropout: float = 0.2,
        eps: float = 0.02,
    ) -> None:
        """Set sizes.

        Args:
            shape: of features and grid.
            num_atoms: J, answer distributions in the mixture.
            tau: the votes of M samples count as M / tau, so that a question is not a class of its own.
            lam: share of the training questions' own mean in the prior that stopping plans with.
            components: principal components of the activations that are read.
            hidden: width of each member's hidden layer.
            members: small networks whose weights are averaged.
            dropout: on components and hidden layer.
            eps: accuracy given up when a predicted curve is turned into a predicted N*.
        """
        super().__init__(shape)
        if not 2 <= num_atoms < MAX_OUTPUTS:
            raise T2Error(f"Expected `num_atoms` from 2 to {MAX_OUTPUTS - 1}, got {num_atoms}.")
        if not (tau >= 1 and 0 <= lam <= 1 and components >= 1 and members >= 1):
            raise T2Error(
                "Expected `tau` of at least 1, `lam` in [0, 1], `components` and `members` of at least 1, got "
                f"{tau}, {lam}, {components} and {members}."
            )
        if members > MOST_MEMBERS:
            raise T2Error(f"Expected `members` of at most {MOST_MEMBERS}, got {members}.")
        self.num_atoms, self.tau, self.lam, self.components = num_atoms, tau, lam, components
        self.hidden, self.dropout, self.eps = hidden, dropout, eps
        reads = replace(shape, num_layers=1, width=components)
        self.members = nn.ModuleList(Trunk(reads, hidden, num_atoms + 1, dropout) for _ in range(members))
        self.register_buffer("basis_FC", torch.zeros(shape.num_layers * shape.width, components))
        self.register_buffer("share_J3", torch.full((num_atoms, 3), 1 / 3, dtype=torch.float64))
        self.register_buffer("right_J", torch.zeros(num_atoms, dtype=torch.long))
        self.register_buffer("prior_J", torch.full((num_atoms,), 1 / num_atoms, dtype=torch.float64))
        self.register_buffer("fresh", torch.ones((), dtype=torch.bool))
        self._make_room(1)

    def _make_room(self, questions: int) -> None:
        """Buffers for so many training questions, which say nothing as yet."""

        def filled(value: float, *shape: int) -> Tensor:
            return torch.full(shape, value, dtype=torch.float64, device=self.fresh.device)

        self.register_buffer("curve_QK", filled(0.5, questions, len(self.shape.grid)))
        self.register_buffer("spread_JQ", filled(1 / questions, self.num_atoms, questions))
        self.register_buffer("count_Q3", filled(1.0, questions, 3))
        self.register_buffer("right_Q", filled(0.0, questions).long())
        self.register_buffer("tokens_Q", filled(1.0, questions))
        self.register_buffer("greedy_right_Q", filled(torch.nan, questions))

    def make_room(self, state: Mapping[str, Tensor]) -> None:
        """As many training questions as a state that is about to be loaded has."""
        if (right_Q := state.get("right_Q")) is not None and right_Q.shape != self.right_Q.shape:
            self._make_room(len(right_Q))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        self.make_room({name: state_dict[prefix + name] for name in _BY_QUESTION if prefix + name in state_dict})
        super()._load_from_state_dict(state_dict, prefix, *args)

    @property
    def arguments(self) -> dict[str, Any]:
        names = ("num_atoms", "tau", "lam", "components", "hidden", "dropout", "eps")
        return {**{name: getattr(self, name) for name in names}, "members": len(self.members)}

    @property
    def num_outputs(self) -> int:
        """J log weights and the length."""
        return self.num_atoms + 1

    @property
    def atoms(self) -> AnswerAtoms:
        return AnswerAtoms(self.share_J3, self.right_J)

    @property
    def prior_fit(self) -> PriorFit:
        """What turns weights over atoms into weights over any questions that the head learned from."""
        return PriorFit(self.atoms, self.prior_J, self.tau, self.lam)

    @property
    def votes(self) -> TrainingVotes:
        """What stopping rules take from the training questions."""
        return TrainingVotes(self.count_Q3, self.right_Q, self.tokens_Q, self.greedy_right_Q)

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        """Log weights and length, (B, J+1): of the mean of the members, in training of each member, (B, E, J+1)."""
        x_BC = self.standardise(pooled_BLD).flatten(1) @ self.basis_FC
        raw_BEO = torch.stack([member(x_BC[:, None]) for member in self.members], 1)
        return raw_BEO if self.training else self._mean_of_members(raw_BEO)

    def folded(self) -> Callable[[Tensor], Tensor]:
        return FoldedPrior(
            self.standardise, self.basis_FC, [trunk for trunk in self.members if isinstance(trunk, Trunk)]
        )

    def _mean_of_members(self, raw_BEO: Tensor) -> Tensor:
        log_BJ = raw_BEO[..., :-1].log_softmax(2).logsumexp(1) - torch.tensor(float(len(self.members))).log()
        return torch.cat([log_BJ, raw_BEO[..., -1].mean(1, keepdim=True)], 1)

    def loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """Mean loss; of members it is the mean of their own, so that they differ as if trained alone."""
        if raw_BO.dim() == 3:
            targets = Targets(*(value.repeat_interleave(raw_BO.shape[1], 0) for value in targets))
            raw_BO = raw_BO.flatten(0, 1)
        return super().loss(raw_BO, targets)

    def budget_loss(self, raw_BO: Tensor, targets: Targets) -> Tensor:
        """-log sum_j w_j L_j^(1/tau), mean over questions."""
        fits_BJ = tempered(self.atoms, targets.count_B3, targets.right_B, self.tau)
        # A question that fits no atom says nothing about the weights; its loss is 0, and so is its gradient.
        known_B = fits_BJ.amax(1) > -torch.inf
        fits_BJ = torch.where(known_B[:, None], fits_BJ, 0.0)
        log_B = torch.logsumexp(raw_BO[:, : self.num_atoms].double().log_softmax(1) + fits_BJ, 1)
        return -(log_B * known_B).mean().to(raw_BO)

    def predict(self, raw_BO: Tensor) -> Prediction:
        """Weights, the curve of the training questions under them, and N* as it would be read off it."""
        if raw_BO.dim() == 3:  # in training mode: the mean of the members
            raw_BO = self._mean_of_members(raw_BO)
        weight_BJ = self.weights(raw_BO)
        curve_BK = (weight_BJ.double() @ self.spread_JQ @ self.curve_QK).float()
        return Prediction(
            log_tokens_B=self.log_tokens(raw_BO),
            accuracy_BK=curve_BK,
            log2_n_B=self.log2_n_off(curve_BK, self.eps),
            atom_weights_BJ=weight_BJ,
        )

    def weights(self, raw_BO: Tensor) -> Tensor:
        """Over the atoms, (B, J), rows sum to 1."""
        return raw_BO[:, : self.num_atoms].softmax(1)

    def score(self, prediction: Prediction) -> Tensor:
        """Predicted accuracy, mean over the grid: higher is easier."""
        assert prediction.accuracy_BK is not None
        return prediction.accuracy_BK.mean(1)

    def start_stage(self, pooled_QLD: Tensor, targets: Targets) -> None:
        """Choose components and atoms, and keep the training questions' curves and counts.

        A fresh head starts from the atoms' own shares of the training questions; later, what the members have learned
        of the old components and atoms goes to the new ones that are nearest.
        """
        super().start_stage(pooled_QLD, targets)
        self._fit_basis(pooled_QLD)
        # On the CPU: medoids are drawn by a seeded generator of its, and there is little to compute.
        old = AnswerAtoms(self.share_J3.cpu(), self.right_J.cpu())
        fitted = fitted_atoms(targets.count_B3.double().cpu(), targets.right_B.cpu(), self.num_atoms, self.tau)
        atoms, prior_J = _padded(*fitted, self.num_atoms)
        with torch.no_grad():
            for member in self.members:
                assert isinstance(member, Trunk)
                if self.fresh:
                    member.out.bias[:-1] = prior_J.log().to(member.out.bias)
                else:
                    same_JJ = atoms.right_J[:, None] == old.right_J
                    gap_JJ = torch.cdist(atoms.share_J3.sqrt(), old.share_J3.sqrt()) + 2.0 * ~same_JJ
                    nearest_J = gap_JJ.argmin(1)
                    rows = torch.cat([nearest_J, nearest_J.new_tensor([self.num_atoms])]).to(self.fresh.device)
                    member.out.weight.copy_(member.out.weight[rows])
                    member.out.bias.copy_(member.out.bias[rows])
        self.share_J3.copy_(atoms.share_J3)
        self.right_J.copy_(atoms.right_J)
        self.prior_J.copy_(prior_J)
        self.fresh.zero_()
        self._keep(targets)

    def _fit_basis(self, pooled_QLD: Tensor) -> None:
        """Principal directions, scaled so that the first component has deviation `_FIRST_DEVIATION`, others less."""
        x_QF = self.standardise(pooled_QLD).flatten(1).double()
        # By the smaller of the two Gram matrices. Of that over questions a direction is X' u / singular value.
        few_questions = len(x_QF) < x_QF.shape[1]
        values, vectors = torch.linalg.eigh(x_QF @ x_QF.T if few_questions else x_QF.T @ x_QF)
        values_C, vectors_XC = values.flip(0)[: self.components], vectors.flip(1)[:, : self.components]
        singular_C = values_C.clamp(min=0).sqrt()
        keep_C = singular_C > 1e-6 * singular_C[0]  # beyond the rank there are no directions
        direction_FC = x_QF.T @ vectors_XC / singular_C.clamp(min=1e-12) if few_questions else vectors_XC
        direction_FC = direction_FC * keep_C
        # A vector's sign is arbitrary: fixed, so that the same features give the same head.
        direction_FC = direction_FC * direction_FC.gather(0, direction_FC.abs().argmax(0)[None]).sign()
        scaled_FC = direction_FC * _FIRST_DEVIATION / (singular_C[0] / len(x_QF) ** 0.5).clamp(min=1e-12)
        basis_FC = torch.nn.functional.pad(scaled_FC, (0, self.components - scaled_FC.shape[1])).to(self.basis_FC)
        if not self.fresh:
            # What a member computes from the old components it goes on computing, as far as the new ones can say it.
            change_CC = torch.linalg.lstsq(
                basis_FC.double().cpu(), self.basis_FC.double().cpu(), driver="gelsd"
            ).solution
            with torch.no_grad():
                for member in self.members:
                    assert isinstance(member, Trunk)
                    member.project.weight.copy_(member.project.weight @ change_CC.T.to(member.project.weight))
        self.basis_FC.copy_(basis_FC)

    def _keep(self, targets: Targets) -> None:
        """What predictions and stopping rules take from the training questions."""
        self._make_room(len(targets.right_B))
        self.spread_JQ.copy_(self.prior_fit.spread(targets.count_B3, targets.right_B))
        greedy_Q = targets.greedy_right_B.double()
        first_Q = torch.where(greedy_Q.isnan(), targets.acc_BK[:, 0].double(), greedy_Q)
        self.curve_QK.copy_(torch.cat([first_Q[:, None], targets.acc_BK[:, 1:].double()], 1))
        self.count_Q3.copy_(targets.count_B3)
        self.right_Q.copy_(targets.right_B)
        self.tokens_Q.copy_(targets.log_tokens_B.double().exp())
        self.greedy_right_Q.copy_(greedy_Q)


def _padded(atoms: AnswerAtoms, prior_J: Tensor, num_atoms: int) -> tuple[AnswerAtoms, Tensor]:
    """Fewer distinct questions than atoms: repeat them, which a mixture does not mind."""
    rows = torch.arange(num_atoms, device=prior_J.device) % len(prior_J)
    copies_J = torch.bincount(rows, minlength=len(prior_J))
    return atoms.take(rows), (prior_J / copies_J)[rows]
