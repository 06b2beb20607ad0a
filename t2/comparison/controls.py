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


def best_layer_ridge(pooled_QLD: Tensor, level_Q: Tensor, log_tokens_Q: Tensor) -> FitPredict:
    """Ridge regression on one layer's activations, the layer with the best leave-one-out error (scikit-learn)."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x_QLD = rms_normalised(pooled_QLD).numpy()
    target_Q2 = torch.stack([level_Q, log_tokens_Q], 1).double().numpy()

    def fit_predict(learn: Tensor, held: Tensor) -> Known:
        rows = learn.numpy()
        # Features are standardised, so useful penalties grow with their number.
        alphas = [alpha * x_QLD.shape[2] for alpha in ALPHAS]
        models = [make_pipeline(StandardScaler(), RidgeCV(alphas)) for _ in range(x_QLD.shape[1])]
        for layer, model in enumerate(models):
            model.fit(x_QLD[rows, layer], target_Q2[rows, 0])
        best = max(range(len(models)), key=lambda layer: models[layer][-1].best_score_)
        length = make_pipeline(StandardScaler(), RidgeCV(alphas)).fit(x_QLD[rows, best], target_Q2[rows, 1])
        x_BD = x_QLD[held.numpy(), best]
        level_B, log_tokens_B = models[best].predict(x_BD), length.predict(x_BD)
        return _known(torch.from_numpy(np.asarray(level_B)), torch.from_numpy(np.asarray(log_tokens_B)))

    return fit_predict


def _known(score_B: Tensor, log_tokens_B: Tensor) -> Known:
    return Known(score_B.double().contiguous(), Prediction(log_tokens_B=log_tokens_B.float()))
