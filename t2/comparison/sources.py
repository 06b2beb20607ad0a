"""What a comparison may know of each question beforehand, always out of fold. Pure.

A *source* is anything that looks at a question before decoding: a head, or a control that uses text alone. Per outer
fold it says something about the test questions (fitted on all training questions) and about the training questions
(out of fold inside them), so that bins, tables and settings are chosen without a look at the test questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from t2.errors import T2Error
from t2.heads import PriorHead
from t2.heads.answer_atoms import PriorFit
from t2.heads.base import Head, Prediction, concatenated
from t2.splits import fold_of

OUTER_FOLDS = 5
INNER_FOLDS = 3
"""Inside the training questions of an outer fold: what is tuned on them was fitted to the others."""
FOLD_SEEDS = (0, 1, 2)
"""One 5-fold comparison for each, where nobody asks for others."""
MIN_QUESTIONS = 40
"""Fewest questions for the outer folds with the inner folds inside each."""
SourceKind = Literal["head", "activations", "text", "generator", "nothing"]
"""What a source looks at. All but heads are controls."""


@dataclass(frozen=True)
class Known:
    """What a source says of B questions."""

    score_B: Tensor
    """one number, for the common decision layer; only its order matters"""
    prediction: Prediction
    """at least the length; a curve or N* where the source has them"""
    fits: tuple[PriorFit, ...] = ()
    """of the heads that the predictions are from, if these are `PriorHead`s"""
    fit_B: Tensor | None = None
    """which of `fits` each is from"""

    @staticmethod
    def of_head(head: Head, pooled_BLD: Tensor) -> Known:
        """What a trained head says of questions."""
        with torch.no_grad():
            return Known.of_prediction(head, head.predict(head(pooled_BLD)))

    @staticmethod
    def of_prediction(head: Head, prediction: Prediction) -> Known:
        """What a head's prediction says of questions."""
        score_B = head.score(prediction).double()
        if not isinstance(head, PriorHead):
            return Known(score_B, prediction)
        return Known(score_B, prediction, (head.prior_fit,), torch.zeros(len(score_B), dtype=torch.long))

    @property
    def says_something(self) -> bool:
        """Whether it tells questions apart."""
        return bool((self.score_B != self.score_B[:1]).any())

    def upto(self, num_budgets: int) -> Known:
        """The same on the first budgets of the grid."""
        return replace(self, prediction=self.prediction.upto(num_budgets))

    def take(self, rows: Tensor) -> Known:
        fit_B = None if self.fit_B is None else self.fit_B[rows]
        return Known(self.score_B[rows], self.prediction.take(rows), self.fits, fit_B)


def joined(parts: Sequence[Known]) -> Known:
    """What is known of several sets of questions, one after the other."""
    fits = [fit for known in parts for fit in known.fits]
    offsets = [sum(len(known.fits) for known in parts[:place]) for place in range(len(parts))]
    fit_B = (
        torch.cat([k.fit_B + o for k, o in zip(parts, offsets, strict=True) if k.fit_B is not None]) if fits else None
    )
    score_B = torch.cat([known.score_B for known in parts])
    return Known(score_B, concatenated([known.prediction for known in parts]), tuple(fits), fit_B)


@dataclass(frozen=True)
class FoldKnown:
    """What a source says of the questions of one outer fold."""

    train: Known
    """of the training questions (`Folds.train_rows`), out of fold inside them"""
    test: Known
    """of the test questions (`Folds.test_rows`)"""


@dataclass(frozen=True)
class Source:
    """A source on all outer folds."""

    name: str
    kind: SourceKind
    folds: tuple[FoldKnown, ...]

    def upto(self, num_budgets: int) -> Source:
        """The same on the first budgets of the grid, for a comparison with a cap."""
        cut = (FoldKnown(fold.train.upto(num_budgets), fold.test.upto(num_budgets)) for fold in self.folds)
        return replace(self, folds=tuple(cut))


@dataclass(frozen=True)
class Folds:
    """Outer and inner folds of Q questions; those that share a dedup key share both."""

    outer_Q: Tensor
    inner_Q: Tensor
    learn_Q: Tensor | None = None
    """bool: the question may be learned from, where it is not tested; None: all may"""

    @staticmethod
    def of(dedup_keys: Sequence[str], fold_seed: int) -> Folds:
        """By hash: they depend on keys and seed alone."""
        # Another seed for the inner folds: with the same hash they would follow from the outer ones.
        return Folds(
            torch.tensor([fold_of(key, OUTER_FOLDS, fold_seed) for key in dedup_keys]),
            torch.tensor([fold_of(key, INNER_FOLDS, 1000 + fold_seed) for key in dedup_keys]),
        )

    def test_rows(self, fold: int) -> Tensor:
        return torch.nonzero(self.outer_Q == fold).squeeze(1)

    @property
    def test_order(self) -> Tensor:
        """What puts the folds' test questions, one fold after the other, back into the order of the pool."""
        return torch.cat([self.test_rows(fold) for fold in range(OUTER_FOLDS)]).argsort()

    def train_rows(self, fold: int) -> Tensor:
        """Rows of the questions that everything in a fold is fitted and tuned on: all that it does not test."""
        train_Q = self.outer_Q != fold
        return torch.nonzero(train_Q if self.learn_Q is None else train_Q & self.learn_Q).squeeze(1)


def enough_for_folds(folds: Folds) -> bool:
    """Whether each outer fold has questions to test, and to fit on in each inner fold of the others."""
    return all(
        len(folds.test_rows(fold)) > 0 and len(set(folds.inner_Q[folds.train_rows(fold)].tolist())) == INNER_FOLDS
        for fold in range(OUTER_FOLDS)
    )


def check_enough(
    dedup_keys: Sequence[str], fold_seeds: Iterable[int], kind: str, pool: object, besides: str = ""
) -> None:
    """Make sure that questions can fill the folds of every seed, before anything is fitted.

    For the error: `kind` is what they are, as "labelled questions", `pool` where they lie, and `besides` what the pool
    has that does not count, as " and 30 that ...".

    Raises:
        T2Error: too few questions, or too many that share their dedup key.
    """
    if len(dedup_keys) < MIN_QUESTIONS:
        raise T2Error(
            f"Expected at least {MIN_QUESTIONS} {kind}, for {OUTER_FOLDS} folds, got {len(dedup_keys)}{besides} in "
            f"pool {pool}. Label or import more questions, or name another pool."
        )
    if not all(enough_for_folds(Folds.of(dedup_keys, seed)) for seed in fold_seeds):
        raise T2Error(
            f"Expected questions in each of {OUTER_FOLDS} folds and of {INNER_FOLDS} inside them, got "
            f"{len(dedup_keys)} {kind} with only {len(set(dedup_keys))} dedup keys in pool {pool}: equal keys share a "
            "fold. Label or import questions with other keys."
        )


FitPredict = Callable[[Tensor, Tensor], Known]
"""(rows to learn from, rows to predict) -> what is known of the latter."""
RunFits = Callable[[FitPredict, Sequence[tuple[Tensor, Tensor]]], Sequence[Known]]
"""Calls a `FitPredict` with each pair of arguments, in any order or at once; results are in the order of the pairs."""


def one_by_one(fit_predict: FitPredict, fits: Sequence[tuple[Tensor, Tensor]]) -> list[Known]:
    """A `RunFits` that makes one fit after the other."""
    return [fit_predict(learn, held) for learn, held in fits]


def cross_fitted(fit_predict: FitPredict, folds: Folds, run_fits: RunFits = one_by_one) -> tuple[FoldKnown, ...]:
    """All outer folds of a source: 1 + `INNER_FOLDS` fits each."""
    plans = [_fits_of(folds, fold) for fold in range(OUTER_FOLDS)]
    results = iter(run_fits(fit_predict, [fit for plan in plans for fit in plan]))
    return tuple(_fold_known(plan, [next(results) for _ in plan]) for plan in plans)


def _fits_of(folds: Folds, fold: int) -> list[tuple[Tensor, Tensor]]:
    """The fits inside the training questions of an outer fold, then the one on all of them."""
    train_rows = folds.train_rows(fold)
    inner_T = folds.inner_Q[train_rows]
    inside = [(train_rows[inner_T != inner], train_rows[inner_T == inner]) for inner in range(INNER_FOLDS)]
    return [*(fit for fit in inside if len(fit[1])), (train_rows, folds.test_rows(fold))]


def _fold_known(plan: Sequence[tuple[Tensor, Tensor]], results: Sequence[Known]) -> FoldKnown:
    """The results of a plan from `_fits_of`; those inside the training questions go back into the order of the pool."""
    *inside, test = results
    # Every training question is held out once, so sorting the held rows puts all of them back.
    order = torch.cat([held for _, held in plan[:-1]]).argsort()
    return FoldKnown(joined(inside).take(order), test)


@dataclass(frozen=True)
class Unfitted:
    """A source before it has learned anything."""

    name: str
    kind: SourceKind
    fit_predict: FitPredict
    folds: Folds | None = None
    """its own, where it may learn from a part of the questions alone"""

    def fitted(self, folds: Folds, run_fits: RunFits = one_by_one) -> Source:
        return Source(self.name, self.kind, cross_fitted(self.fit_predict, self.folds or folds, run_fits))
