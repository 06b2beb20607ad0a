"""Which rule should be exported: a head or none, at which prices, said by questions that were held out. Pure.

Four kinds are weighed against FixedN(N_ref), each at every setting of its sweep: the head in one round, planned rounds
with the head's prior, planned rounds without a head, and ASC. Each question is replayed by a fit to the other folds.

    candidate     its cheapest setting that loses no more than allowed and waits no more often than allowed
    best          the cheapest candidate that keeps to both and is cheaper than FixedN(N_ref); none is: FixedN(N_ref)
    what it loses the same choice made once for each fold, by the other folds' questions, and scored on that fold's

Whoever chooses by some questions and reports the loss on the same ones reports too little. N_ref alone is settled on
all of them, which flatters FixedN(N_ref): the loss that is reported is rather too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.calibration.betting import MAX_SETTINGS
from t2.comparison.contenders import Contender, of_head, references
from t2.comparison.identity import PLANNED, Key
from t2.comparison.slices import Slice
from t2.comparison.sources import Known, joined
from t2.comparison.sweeps import FULL, Sweeps
from t2.comparison.tuning import Target, held_out_frontier, in_order, inner_folds, pick_for
from t2.curves.labels import BudgetLabels, reference_budget
from t2.grading.graded import GradedPool
from t2.policies.base import Replay, replay_fixed
from t2.policies.one_round import PredictedN, Utility
from t2.policies.record import Policy
from t2.policies.stoppers import ONE_ROUND_PRICE, PlanWithHead, PlanWithoutHead, StopByVotes
from t2.policies.then_stop import Prices
from t2.splits import fold_of
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.frontier import Frontier, Setting
from t2.stats.resampled import Resampled

FOLDS = 5
FEWEST = 40
"""Questions below which nothing is weighed."""
_SOURCE = "head"


@dataclass(frozen=True)
class Weighed:
    """A rule at a setting, replayed out of fold, against FixedN(N_ref)."""

    policy: Policy
    difference: Interval
    """accuracy points"""
    ratio: Interval
    """of generated tokens"""
    path_ratio: Interval
    """of the critical path: what a question waits for"""
    memory_ratio: Interval
    """of the KV tokens held at once"""
    rounds: float
    """mean of a question"""


@dataclass(frozen=True)
class Candidate:
    """A kind of rule at the setting that the questions prefer."""

    weighed: Weighed
    within: bool
    """it loses no more than allowed on these questions, and spends less than FixedN(N_ref)"""
    settings: tuple[Weighed, ...]
    """at most 15 settings that wait no more often than allowed, dearest first, down to this one: for calibration"""


@dataclass(frozen=True)
class Recommendation:
    """What the questions say."""

    n_ref: int
    """samples"""
    num_questions: int
    target: Target
    candidates: tuple[Candidate, ...]
    """those that are `within` first, of these the cheapest first"""
    chosen_like_this: Weighed | None
    """what choosing in this way gives on questions that have not chosen; None: no candidate is `within`. Its policy is
    the best candidate's"""

    @property
    def best(self) -> Candidate | None:
        first = self.candidates[0] if self.candidates else None
        return first if first is not None and first.within else None


def folds_of(dedup_keys: Sequence[str]) -> Tensor:
    """Fold of each question, (Q,), for the fits that hold it out."""
    return torch.tensor([fold_of(key, FOLDS, seed=7) for key in dedup_keys])


def enough(dedup_keys: Sequence[str]) -> bool:
    """Whether there are questions enough to weigh anything, of more than one fold."""
    return len(dedup_keys) >= FEWEST and len(torch.unique(folds_of(dedup_keys))) > 1


def recommend(
    pool: GradedPool, labels: BudgetLabels, known: Sequence[Known], target: Target, sweeps: Sweeps = FULL
) -> Recommendation | None:
    """Weigh all kinds.

    Args:
        pool: of questions that may choose.
        labels: of the pool.
        known: what a head that was fitted to the other folds says of each fold's questions, by `folds_of`.
        target: accuracy (a share) that may be lost, and mean rounds that a question may take.
        sweeps: what is tried.

    Returns:
        None where there are too few questions, see `enough`.
    """
    if not enough(pool.dedup_keys):
        return None
    fold_Q = folds_of(pool.dedup_keys)
    on = Slice.of(pool, labels, seed=0, num_orders=sweeps.num_orders)
    folds = inner_folds(on, fold_Q)
    order = torch.cat([fold.held_rows for fold in folds]).argsort()
    all_known = joined(known).take(order)
    n_ref = reference_budget(labels)
    frontiers = [
        # What decides beforehand is served with the whole grid; what looks at answers draws no more than N_ref.
        held_out_frontier(one, folds, all_known, labels.grid[-1] if one.kind == "one round" else n_ref)
        for one in _contenders(labels.grid, all_known, sweeps.priced_for(pool))
    ]
    fixed = replay_fixed(n_ref, labels, pool, on.axes)
    weigh = _Scales(fixed, pool, n_ref)
    found = [candidate for frontier in frontiers if (candidate := _candidate(frontier, fixed, target, weigh))]
    found.sort(key=lambda one: (not one.within, one.weighed.ratio.value))
    loss = None
    if found and found[0].within:
        parts = [chosen_elsewhere(frontiers, fixed, fold.learn_rows, fold.held_rows, target) for fold in folds]
        loss = weigh(found[0].weighed.policy, in_order(parts, order))
    return Recommendation(n_ref, len(pool), target, tuple(found), loss)


def _contenders(grid: tuple[int, ...], known: Known, sweeps: Sweeps) -> list[Contender]:
    """All that can be exported; of a head's one-round policies the first that it has the parts for."""
    without = [one for one in references(grid, sweeps) if one.key in (Key("ASC"), Key(PLANNED))]
    own = [one for one in of_head(_SOURCE, known, grid, sweeps) if not one.key.in_bins]
    planned = [one for one in own if one.key.policy == PLANNED]
    at_once = [one for one in own if one.key.policy in ("Utility", "PredictedN")]
    return [*without, *planned, *at_once[:1]]


def policy_of(frontier: Frontier, setting: Setting, cap: int) -> Policy:
    """A contender's setting as something to export."""
    if isinstance(setting, Prices):
        kind = PlanWithHead if frontier.source else PlanWithoutHead
        return kind(cap, setting.price, min(setting.round_price, ONE_ROUND_PRICE))
    if frontier.policy == "ASC":
        return StopByVotes(cap, setting)
    return Utility(setting) if frontier.policy == "Utility" else PredictedN(setting)


class _Scales:
    """Sets replays beside FixedN(N_ref)."""

    def __init__(self, fixed: Replay, pool: GradedPool, n_ref: int) -> None:
        self._fixed, self._clusters_Q, self.n_ref = fixed, clusters_of(pool.dedup_keys), n_ref

    def __call__(self, policy: Policy, replay: Replay) -> Weighed:
        pair = (replay, self._fixed)
        resampled = Resampled(pair, self._clusters_Q, with_axes=pair)
        return Weighed(
            policy,
            difference=resampled.difference(*pair),
            ratio=resampled.ratio(*pair),
            path_ratio=resampled.path_ratio(*pair),
            memory_ratio=resampled.memory_ratio(*pair),
            rounds=float(replay.rounds.mean()),
        )


def _candidate(frontier: Frontier, fixed: Replay, target: Target, weigh: _Scales) -> Candidate | None:
    """None: no setting waits so little."""
    if (pick := pick_for(target, frontier, float(fixed.correct.mean()))) is None:
        return None

    def at(place: int) -> Weighed:
        return weigh(policy_of(frontier, frontier.settings[place], weigh.n_ref), frontier.replays[place])

    most = float(fixed.generated_tokens.mean())
    listed = _dearest_first(frontier, pick.tokens, most, target.max_rounds)
    return Candidate(at(pick.place), pick.within and _saves(pick.tokens, most), tuple(at(place) for place in listed))


def _saves(tokens: float, most: float) -> bool:
    return tokens < most * (1 - 1e-9)


def _dearest_first(frontier: Frontier, least_tokens: float, most_tokens: float, max_rounds: float) -> list[int]:
    """At most 15 settings worth choosing, evenly spaced on the log token axis, dearest first.

    Worth choosing: none that is cheaper is as accurate, it spends no less than the candidate (what is cheaper loses too
    much) and no more than FixedN(N_ref), and it waits little enough.
    """
    few_P = (frontier.rounds_P <= max_rounds + 1e-9) & (frontier.tokens_P <= most_tokens * (1 + 1e-9))
    few_P &= frontier.tokens_P >= least_tokens * (1 - 1e-9)
    tokens, accuracy = frontier.tokens_P.tolist(), frontier.accuracy_P.tolist()
    kept: list[int] = []
    best = float("-inf")
    for place in sorted(torch.nonzero(few_P)[:, 0].tolist(), key=lambda p: (tokens[p], -accuracy[p])):
        if accuracy[place] > best + 1e-12:
            kept.append(place)
            best = accuracy[place]
    if len(kept) <= MAX_SETTINGS:
        return kept[::-1]
    log_P = torch.tensor([tokens[place] for place in kept], dtype=torch.float64).clamp(min=1e-9).log()
    targets = torch.linspace(float(log_P[-1]), float(log_P[0]), MAX_SETTINGS, dtype=torch.float64)
    picked = {int((log_P - aim).abs().argmin()) for aim in targets}  # a set: two aims may be nearest to one setting
    return [kept[place] for place in sorted(picked, reverse=True)]


def chosen_elsewhere(
    frontiers: Sequence[Frontier], fixed: Replay, learn_rows: Tensor, held_rows: Tensor, target: Target
) -> Replay:
    """The candidate and setting that some questions prefer, on others; FixedN(N_ref) where none is `within`."""
    reference, most = float(fixed.correct[learn_rows].mean()), float(fixed.generated_tokens[learn_rows].mean())
    picks = [(frontier, pick_for(target, frontier.take(learn_rows), reference)) for frontier in frontiers]
    good = [(frontier, pick) for frontier, pick in picks if pick and pick.within and _saves(pick.tokens, most)]
    if not good:
        return fixed.take(held_rows)
    frontier, pick = min(good, key=lambda one: one[1].tokens)
    return frontier.replays[pick.place].take(held_rows)
