"""From comparisons to statements: rows with intervals, claims, the waste ladder, what could be predicted at all. Pure.

Every interval is a percentile bootstrap over questions (those that share a dedup key together), and everything that is
compared shares its resamples. Fold seeds are shown apart: they are not questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.comparison.claims import Claims, Rivals, claims_of
from t2.comparison.compare import Comparison
from t2.comparison.identity import Key, Role
from t2.comparison.ladder import Rung, named_out_of_fold, rungs
from t2.comparison.limits import Place, Versus, limited_replays, places, versus
from t2.comparison.rows import Row, reference_row, row_of
from t2.comparison.sweeps import Sweeps
from t2.heads.base import concatenated
from t2.stats.reliability import TargetRow, target_rows
from t2.stats.resampled import Resampled


@dataclass(frozen=True)
class Summary:
    """All that a report says of a comparison."""

    n_ref: int
    """the N_ref that most training folds have"""
    label_top: int
    """the largest budget up to M/2, in samples: where `targets` end"""
    controls: tuple[str, ...]
    """sources that are no heads"""
    named: dict[str, tuple[str, ...]]
    """what is called the best of a field -> what that was in the folds"""
    rows: tuple[Row, ...]
    ladder: tuple[Rung, ...]
    """tokens at equal accuracy (-1 point), from what nobody needs to know to what nobody can know"""
    claims: Claims
    """on all questions"""
    repeated: Claims | None
    """on those alone that no choice of a method has seen, if there are some"""
    places: tuple[Place, ...]
    """every rule at every target: an allowance and a limit on rounds"""
    versus: tuple[Versus, ...]
    """claims of planned rounds, at targets"""
    targets: tuple[TargetRow, ...]
    """how far each target can be known and how far heads know it; none if a question has only one sample"""


def summarise(
    comparisons: Sequence[Comparison],
    clusters_Q: Tensor,
    eps: float = 0.02,
    new_rows: Tensor | None = None,
) -> Summary:
    """Rows, ladder, claims and targets of one comparison for each fold seed; intervals are of the first.

    `clusters_Q` has the same number for questions that share a dedup key, `eps` is the tolerance of N* of the labels,
    and on `new_rows` alone the claims are made once more.
    """
    first = comparisons[0]
    n_ref = int(torch.tensor([n for c in comparisons for n in c.n_ref]).mode().values)
    named = [named_out_of_fold(comparison) for comparison in comparisons]
    everyone = [
        {outcome.key: outcome for outcome in (*c.outcomes.values(), *best.values())}
        for c, best in zip(comparisons, named, strict=True)
    ]
    replays = [r for o in everyone[0].values() for r in (*o.tuned, *o.frontier.replays)]
    # Everything of the first fold seed in one matrix: what is compared shares its draws.
    limited = [first.reference, *limited_replays(everyone[0])]
    resampled = Resampled([first.reference, *replays], clusters_Q, first.sweeps.num_resamples, with_axes=limited)
    reference = reference_row(first, resampled)
    rows: dict[Key | Role, Row] = {Role.REFERENCE: reference}
    for key, outcome in everyone[0].items():
        others = [(c, found[key]) for c, found in zip(comparisons[1:], everyone[1:], strict=True) if key in found]
        rows[key] = row_of(outcome, first, others, resampled, n_ref)
    rivals = [Rivals.of(c, best) for c, best in zip(comparisons, named, strict=True)]
    return Summary(
        n_ref=n_ref,
        label_top=first.labels.label_grid[-1],
        controls=first.controls,
        named={outcome.name: outcome.made_of for outcome in named[0].values()},
        rows=(reference, *(rows[key] for key in first.outcomes)),
        ladder=tuple(rungs(rows, named[0])),
        claims=claims_of(rivals[0], rivals[1:], resampled, n_ref),
        repeated=None if new_rows is None else _claims_on(rivals, new_rows, clusters_Q, n_ref, first.sweeps),
        places=tuple(places(everyone[0], first, list(zip(comparisons[1:], everyone[1:], strict=True)), resampled)),
        versus=tuple(versus(everyone[0], everyone[1:], resampled)),
        targets=_targets(first, clusters_Q, eps),
    )


def _claims_on(rivals: Sequence[Rivals], rows: Tensor, clusters_Q: Tensor, n_ref: int, sweeps: Sweeps) -> Claims:
    """The claims on some questions alone, each scored in the fold that decided nothing about it, as before."""
    first, *others = (each.take(rows) for each in rivals)
    resampled = Resampled(first.replays(), clusters_Q[rows], sweeps.num_resamples)
    return claims_of(first, others, resampled, n_ref)


def _targets(first: Comparison, clusters_Q: Tensor, eps: float) -> tuple[TargetRow, ...]:
    """Reliability of what heads learn, and how far their out-of-fold predictions agree with it."""
    if first.halves is None:
        return ()
    predicted = {
        source.name: concatenated([fold.test.prediction for fold in source.folds]).take(first.test_order)
        for source in first.sources
        if source.kind == "head"
    }
    return target_rows(first.halves, first.labels, predicted, clusters_Q, eps, first.sweeps.num_rank_resamples)
