"""Out-of-fold ridge regressions on each layer's activations, and layers that complement each other. Pure.

Targets are what budgets follow from: the level (mean of A(N) over the grid: how often the LLM is right) and the gain
(A at the largest budget - A(1): what voting brings). The score is Spearman's rank correlation over questions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2.comparison.controls import LayerRidge
from t2.comparison.sources import OUTER_FOLDS, Folds
from t2.curves.labels import BudgetLabels
from t2.heads.base import rms_normalised
from t2.layers.rounding import Rounding
from t2.stats.bootstrap import Interval, clusters_of
from t2.stats.reliability import correlations

LEVEL, GAIN = "level", "gain"
MOST_LAYERS = 4
"""Layers that are suggested for a target: more cost a serving engine memory, and heads hardly gain."""
LEAST_GAIN = 0.005
"""Rank correlation that one more layer of the list must bring."""


@dataclass(frozen=True)
class LayerScore:
    """A layer, by the questions that its regressions have not seen; None: nothing to correlate with, all are alike."""

    layer: int
    level: Interval | None
    gain: Interval | None


@dataclass(frozen=True)
class LayerReport:
    """What was measured."""

    num_questions: int
    layers: tuple[LayerScore, ...]
    """rising"""
    suggested: tuple[int, ...]
    """for `model.layers`, rising"""
    together: LayerScore
    """each target by the mean prediction of the layers that were chosen for it, by the same questions; layer 0"""
    rounding: tuple[Rounding, ...] = ()
    """what 16 bits make of each layer; empty: nobody has looked"""

    def as_json(self) -> dict[str, object]:
        rows: list[dict[str, object]] = [
            {"layer": one.layer, "level": _values(one.level), "gain": _values(one.gain)} for one in self.layers
        ]
        if self.rounding:
            for row, each in zip(rows, self.rounding, strict=True):
                row["rounding"] = {"own": each.own, "shared": each.shared}
        together = {"level": _values(self.together.level), "gain": _values(self.together.gain)}
        return {
            "num_questions": self.num_questions,
            "layers": rows,
            "suggested": list(self.suggested),
            "together": together,
        }


def layer_report(
    pooled_QLD: Tensor,
    layers: Sequence[int],
    labels: BudgetLabels,
    dedup_keys: Sequence[str],
    on_fit: Callable[[int], None] = lambda done: None,
) -> LayerReport:
    """Score every layer.

    Args:
        pooled_QLD: activations of questions that may choose: none that a head is later tested on.
        layers: numbers of the L layers.
        labels: of the questions.
        dedup_keys: of the questions; those that share one share a fold.
        on_fit: called with the number of layers that are done.
    """
    targets = {LEVEL: labels.acc_QK.mean(1), GAIN: labels.acc_QK[:, -1] - labels.acc_QK[:, 0]}
    clusters_Q, folds = clusters_of(dedup_keys), Folds.of(dedup_keys, fold_seed=0)
    predicted_LQ2 = torch.zeros(len(layers), len(pooled_QLD), len(targets), dtype=torch.float64)
    target_Q2 = torch.stack(list(targets.values()), 1).double()
    for place in range(len(layers)):
        x_QD = rms_normalised(pooled_QLD[:, place])
        for fold in range(OUTER_FOLDS):
            learn, held = folds.train_rows(fold), folds.test_rows(fold)
            if len(held):
                predicted_LQ2[place, held] = LayerRidge.fit(x_QD[learn], target_Q2[learn]).predict(x_QD[held])
        on_fit(place + 1)
    scores = _scores(dict(zip(layers, predicted_LQ2, strict=True)), targets, clusters_Q)
    chosen = [
        _complementing(predicted_LQ2[:, :, column], target_Q, clusters_Q)
        for column, target_Q in enumerate(targets.values())
    ]
    own_Q2 = torch.stack([predicted_LQ2[places, :, column].mean(0) for column, places in enumerate(chosen)], 1)
    together = _scores({0: own_Q2}, targets, clusters_Q)[0]
    suggested = tuple(sorted({layers[place] for places in chosen for place in places}))
    return LayerReport(len(pooled_QLD), tuple(scores), suggested, together)


def _scores(
    predicted: Mapping[int, Tensor], targets: Mapping[str, Tensor], clusters_Q: Tensor, num_resamples: int = 1000
) -> list[LayerScore]:
    """Of each layer's predictions (Q, targets)."""
    pairs = {
        f"{layer}/{name}": (predicted_Q2[:, column], targets[name])
        for layer, predicted_Q2 in predicted.items()
        for column, name in enumerate(targets)
    }
    found = correlations(pairs, clusters_Q, num_resamples)
    return [LayerScore(layer, found.get(f"{layer}/{LEVEL}"), found.get(f"{layer}/{GAIN}")) for layer in predicted]


def _complementing(predicted_LQ: Tensor, target_Q: Tensor, clusters_Q: Tensor) -> list[int]:
    """Places of layers whose mean prediction of a target ranks best: first the best one, then whichever adds most."""

    def worth(places: list[int]) -> float:
        found = correlations({"": (predicted_LQ[places].mean(0), target_Q)}, clusters_Q, num_resamples=1)
        return found[""].value if found else 0.0

    chosen, reached = list[int](), float("-inf")
    while len(chosen) < min(MOST_LAYERS, len(predicted_LQ)):
        longer = [[*chosen, place] for place in range(len(predicted_LQ)) if place not in chosen]
        best = max(longer, key=worth)
        if worth(best) < reached + LEAST_GAIN:
            break
        chosen, reached = best, worth(best)
    return chosen


def _values(of: Interval | None) -> list[float] | None:
    return None if of is None else [of.value, of.low, of.high]
