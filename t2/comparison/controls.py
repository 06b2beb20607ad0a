"""Controls that a head must beat: sources without an LLM's activations, and the plainest use of them. Pure.

All go through the common decision layer. Targets are the mean of A(N) over the grid (the score) and the log length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from t2.comparison.identity import BEST_LAYER, GENERATOR, PROMPT_LENGTH, TFIDF
from t2.comparison.sources import FitPredict, Known, Unfitted
from t2.curves.labels import BudgetLabels
from t2.grading.graded import GradedPool
from t2.heads.base import Prediction, rms_normalised

ALPHAS = tuple(10.0**power for power in range(-2, 6))
"""Ridge penalties; chosen by leave-one-out inside the questions that are learned from."""
CELL_SHRINKAGE = 4.0
"""Questions of the overall mean that a cell of (family, size) starts with."""


def controls_of(
    pool: GradedPool, labels: BudgetLabels, texts: Sequence[str], pooled_QLD: Tensor | None
) -> tuple[Unfitted, ...]:
    """Every control that these questions allow; all learn from the questions of the folds. None: no activations."""
    level_Q, length_Q = labels.acc_QK.mean(1), labels.log_tokens_Q
    controls = [Unfitted(TFIDF, "text", tfidf_ridge(texts, level_Q, length_Q))]
    if pooled_QLD is not None:
        controls.insert(0, Unfitted(BEST_LAYER, "activations", best_layer_ridge(pooled_QLD, level_Q, length_Q)))
    if bool((pool.prompt_tokens_Q > 0).any()):
        controls.append(Unfitted(PROMPT_LENGTH, "text", prompt_length(pool.prompt_tokens_Q, length_Q)))
    if any(pool.families):
        difficulty = generator_difficulty(pool.families, pool.sizes, level_Q, length_Q)
        controls.append(Unfitted(GENERATOR, "generator", difficulty))
    return tuple(controls)


def prompt_length(prompt_tokens_Q: Tensor, log_tokens_Q: Tensor) -> FitPredict:
    """The score is the number of prompt tokens; the length is the training mean."""

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        return _known(prompt_tokens_Q[held].double(), log_tokens_Q[learn].mean().expand(len(held)))

    return fit_predict


def generator_difficulty(
    families: Sequence[str], sizes: Sequence[int], level_Q: Tensor, log_tokens_Q: Tensor
) -> FitPredict:
    """Mean level and length of the training questions of the same family and size, shrunk to the overall means."""
    cells = list(zip(families, sizes, strict=True))
    target_Q2 = torch.stack([level_Q.double(), log_tokens_Q.double()], 1)

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        members: dict[tuple[str, int], list[int]] = defaultdict(list)
        for row in learn.tolist():
            members[cells[row]].append(row)
        overall_2 = target_Q2[learn].mean(0)
        rows = [members.get(cells[row], []) for row in held.tolist()]
        mean_B2 = torch.stack(
            [(target_Q2[own].sum(0) + CELL_SHRINKAGE * overall_2) / (len(own) + CELL_SHRINKAGE) for own in rows]
        )
        return _known(mean_B2[:, 0], mean_B2[:, 1])

    return fit_predict


def tfidf_ridge(texts: Sequence[str], level_Q: Tensor, log_tokens_Q: Tensor) -> FitPredict:
    """Ridge regression on TF-IDF of words and word pairs of the question (scikit-learn)."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline

    target_Q2 = torch.stack([level_Q, log_tokens_Q], 1).double().numpy()

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        # Single letters and digits are words too, and so are signs: the default pattern drops them all.
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b|[^\w\s]")
        model = make_pipeline(words, RidgeCV(ALPHAS))
        model.fit([texts[row] for row in learn.tolist()], target_Q2[learn.numpy()])
        predicted_B2 = torch.from_numpy(np.asarray(model.predict([texts[row] for row in held.tolist()])))
        return _known(predicted_B2[:, 0], predicted_B2[:, 1])

    return fit_predict


class LayerRidge:
    """Ridge regression on one layer's normalised activations (scikit-learn); its penalty by leave-one-out."""

    def __init__(self, width: int) -> None:
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # Features are standardised, so useful penalties grow with their number.
        self._model = make_pipeline(StandardScaler(), RidgeCV([alpha * width for alpha in ALPHAS]))

    @classmethod
    def fit(cls, x_QD: Tensor, target_Q: Tensor) -> LayerRidge:
        """On targets (Q,), or several at once, (Q, targets), which then share the penalty."""
        ridge = cls(x_QD.shape[1])
        ridge._model.fit(x_QD.numpy(), target_Q.numpy())
        return ridge

    @property
    def score(self) -> float:
        """Minus the leave-one-out squared error."""
        return float(self._model[-1].best_score_)

    def predict(self, x_QD: Tensor) -> Tensor:
        return torch.from_numpy(np.asarray(self._model.predict(x_QD.numpy()))).double()


def best_layer_ridge(pooled_QLD: Tensor, level_Q: Tensor, log_tokens_Q: Tensor) -> FitPredict:
    """Ridge regression on one layer's activations, the layer with the best leave-one-out error."""
    x_QLD = rms_normalised(pooled_QLD)
    target_Q2 = torch.stack([level_Q, log_tokens_Q], 1).double()

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        models = [LayerRidge.fit(x_QLD[learn, layer], target_Q2[learn, 0]) for layer in range(x_QLD.shape[1])]
        best = max(range(len(models)), key=lambda layer: models[layer].score)
        length = LayerRidge.fit(x_QLD[learn, best], target_Q2[learn, 1])
        x_BD = x_QLD[held, best]
        return _known(models[best].predict(x_BD), length.predict(x_BD))

    return fit_predict


def _known(score_B: Tensor, log_tokens_B: Tensor) -> Known:
    return Known(score_B.double().contiguous(), Prediction(log_tokens_B=log_tokens_B.float()))
