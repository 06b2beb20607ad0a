"""The honest comparison: every contender fitted and tuned in the other folds, scored once on each question. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from t2.comparison.contenders import (
    Contender,
    dsc_by_other_half,
    of_actsc,
    of_control,
    of_dsc,
    of_head,
    references,
)
from t2.comparison.identity import BEST_LAYER, PROMPT_LENGTH, TFIDF, Key, Role
from t2.comparison.outer_fold import ALLOWANCES, FoldOutcome, OuterFold, limited, outcomes_of, swept
from t2.comparison.slices import Slice
from t2.comparison.sources import OUTER_FOLDS, Folds, Source
from t2.comparison.sweeps import FULL, Sweeps
from t2.comparison.tuning import Target, in_order
from t2.curves.halves import Halves
from t2.curves.labels import BudgetLabels, reference_budget
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.policies.base import Replay
from t2.stats.frontier import Frontier, Setting

DSC_SOURCES = (PROMPT_LENGTH, TFIDF)
"""Sources whose score orders `DSC`, besides the first head."""


@dataclass(frozen=True)
class Outcome:
    """A contender on all questions, each scored in the fold that decided nothing about it."""

    key: Key | Role
    kind: str
    folds: tuple[FoldOutcome, ...]
    tuned: tuple[Replay, ...]
    """for each of `ALLOWANCES`"""
    frontier: Frontier
    """at every setting, to be described, not chosen from; settings are those of the first fold: prices follow the mean
    tokens of each fold's training questions. It says policy, source and bins, also of the best of a field: policy "" if
    there are several, the source of the first fold, in bins if all are"""
    made_of: tuple[str, ...] = ()
    """display names of what the folds chose, each once, if this is the best of a field"""
    limited: Mapping[Target, Replay] = field(default_factory=dict)
    """for each of `TARGETS` that every fold has a setting for"""

    @property
    def name(self) -> str:
        return self.key.display_name

    @property
    def chosen(self) -> tuple[Setting, ...]:
        """The leading tuned setting of each fold."""
        return tuple(fold.setting for fold in self.folds)


@dataclass(frozen=True)
class Comparison:
    """All contenders at one fold seed."""

    fold_seed: int
    n_ref: tuple[int, ...]
    """N_D of the training questions of each fold: reference budget and cap"""
    sources: tuple[Source, ...]
    sweeps: Sweeps
    outcomes: dict[Key, Outcome]
    reference: Replay
    """FixedN(N_ref), N_ref from the training questions of each fold"""
    test_order: Tensor
    """puts the folds' test questions into the order of the pool, see `Folds.test_order`"""
    labels: BudgetLabels
    """of all questions"""
    halves: Halves | None
    """of all questions; None if a question has only one sample"""

    @property
    def heads(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources if source.kind == "head")

    @property
    def controls(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources if source.kind != "head")


def compare(
    pool: GradedPool, labels: BudgetLabels, sources: Sequence[Source], fold_seed: int, sweeps: Sweeps = FULL
) -> Comparison:
    """Run all contenders that pool and sources allow.

    In each of five outer folds, with T its training questions (four fifths) and the rest its test questions:

        N_ref      from the labels of T: reference budget, and cap of every rule
        prices     scaled to the mean tokens of T
        setting    each contender fitted to two thirds of T and replayed on the third, three times: the cheapest setting
                   that loses no more than allowed against FixedN(N_ref) on T
        fit        to all of T, replayed on the test questions at *every* setting

    So nothing that a test question's samples say decides what is tried, fitted or chosen for it. The folds' test
    questions are then put together, in the order of the pool: each question is scored once, in its own fold. Sources
    must be out of fold at `fold_seed`, which the random orders of samples are drawn with too.

    Raises:
        T2Error: no sample has a token, so that nothing has a cost.
    """
    if not int(pool.tokens_QM.sum()):
        raise T2Error(
            "Expected generated tokens in the pool, got 0 for every sample. Leave `tokens` out of the imported file: "
            "cost is then counted in samples."
        )
    folds = Folds.of(pool.dedup_keys, fold_seed)
    n_ref = tuple(reference_budget(labels.take(folds.train_rows(fold))) for fold in range(OUTER_FOLDS))
    # Orders are drawn once for the whole pool and then cut: a question's orders do not depend on the fold it is in.
    whole = Slice.of(pool, labels, fold_seed, sweeps.num_orders).with_half_orders(fold_seed)
    whole = whole.with_arrivals(n_ref, fold_seed)
    outcomes: dict[Key, Outcome] = {}
    sides = [OuterFold.of(whole, whole, folds, fold, n_ref[fold]) for fold in range(OUTER_FOLDS)]
    order = folds.test_order
    greedy = bool(pool.greedy_present_Q.all())
    halves = whole.halves is not None
    # The same contenders in every fold, in the same order, but with prices of that fold's training questions.
    jobs = [_jobs(labels.grid, sweeps.priced_for(side.train.pool), sources, halves, greedy) for side in sides]
    for same in zip(*jobs, strict=True):
        contender, source = same[0]
        results = outcomes_of(sides, [own for own, _ in same], source)
        frontier, limit = contender.frontier(swept(results, order)), limited([results], order)
        outcomes[contender.key] = Outcome(
            contender.key, contender.kind, results, _tuned(results, order), frontier, limited=limit
        )
    fixed = outcomes[Key("FixedN")]
    at_ref = [fold.test[labels.grid.index(n)] for fold, n in zip(fixed.folds, n_ref, strict=True)]
    return Comparison(
        fold_seed, n_ref, tuple(sources), sweeps, outcomes, in_order(at_ref, order), order, labels, whole.halves
    )


def _jobs(
    grid: tuple[int, ...], sweeps: Sweeps, sources: Sequence[Source], halves: bool, greedy: bool
) -> Iterator[tuple[Contender, Source | None]]:
    """Every contender with the source that it asks; DSC needs greedy answers, so it is left out where some lack."""
    yield from ((contender, None) for contender in references(grid, sweeps, halves, greedy))
    if halves and greedy:
        yield dsc_by_other_half(sweeps), None
    first_head = next((source.name for source in sources if source.kind == "head"), None)
    for source in sources:
        is_head = source.kind == "head"
        known = source.folds[0].train
        if is_head:
            contenders = of_head(source.name, known, grid, sweeps)
        else:
            contenders = of_control(source.name, known, grid, sweeps)
        yield from ((contender, source) for contender in contenders)
        if greedy and source.name in (first_head, *DSC_SOURCES):
            yield of_dsc(source.name, sweeps), source
        if source.name == BEST_LAYER:
            yield of_actsc(source.name, sweeps), source


def _tuned(results: Sequence[FoldOutcome], order: Tensor) -> tuple[Replay, ...]:
    return tuple(in_order([fold.test[fold.chosen[a]] for fold in results], order) for a in range(len(ALLOWANCES)))


def best_of(comparison: Comparison, contenders: Sequence[Key], by: Callable[[FoldOutcome], Any], role: Role) -> Outcome:
    """The contender that each fold's training questions prefer: named out of fold, so it may be called the best.

    Whoever looks best on the questions that are reported looks better than it is. Here each fold picks by its training
    questions alone, and gives its test questions from the one that it picked, at the setting tuned there:

        fold        1    2    3    4    5
        pick        ASC  ESC  ASC  ASC  Doubling
        test from   ASC  ESC  ASC  ASC  Doubling    put together: one outcome on all questions

    The smaller `by` of a fold, the better, of equals the first of the contenders.
    """
    order = comparison.test_order
    picks = [min(contenders, key=lambda key: by(comparison.outcomes[key].folds[fold])) for fold in range(OUTER_FOLDS)]
    folds = [comparison.outcomes[key].folds[fold] for fold, key in enumerate(picks)]
    first, tuned = comparison.outcomes[picks[0]], _tuned(folds, order)
    policies = {key.policy for key in picks}
    policy, in_bins = policies.pop() if len(policies) == 1 else "", all(key.in_bins for key in picks)
    # Settings are joined by index, which means something only if the folds have one knob.
    has_one_knob = all(comparison.outcomes[key].frontier.settings == first.frontier.settings for key in picks)
    settings = first.frontier.settings if has_one_knob else (float("nan"),)
    sweep = swept(folds, order) if has_one_knob else tuned[-1:]
    frontier = Frontier(role.display_name, settings, sweep, policy, picks[0].source, in_bins)
    limit = limited([comparison.outcomes[key].folds for key in contenders], order)
    made_of = tuple(sorted({key.display_name for key in picks}))
    return Outcome(role, first.kind, tuple(folds), tuned, frontier, made_of, limit)
