"""Out-of-fold predictions on disk: training writes them, `t2 report` reads them, so that a report never trains.

One safetensors file. Tensors are named SEED/SOURCE/FOLD/train|test/PART, rows in the order of the fold's questions; the
header's `t2` entry holds what they belong to as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from t2.comparison.sources import OUTER_FOLDS, FoldKnown, Known, Source
from t2.curves.labels import BudgetLabels
from t2.errors import T2Error, quoted
from t2.grading.graded import GradedPool
from t2.hashing import digest
from t2.heads.answer_atoms import AnswerAtoms, PriorFit
from t2.heads.base import Prediction
from t2.store.files import write_atomically

PREDICTIONS_FILE = "predictions.safetensors"
"""Inside a pool: what `train.py cross_validate` writes and `t2 report` reads."""
PREDICTIONS_FORMAT = "t2-predictions"
PREDICTIONS_FORMAT_VERSION = 1
_SCORE, _FIT = "score", "fit"


@dataclass(frozen=True)
class PredictionsOf:
    """What the predictions belong to."""

    question_ids: tuple[str, ...]
    """in the order of the folds' rows"""
    grid: tuple[int, ...]
    eps: float
    samples_per_question: int
    """M that the labels were taken from"""
    grader: str
    """version"""
    features: dict[str, Any]
    """model fingerprint, layers, pooling"""
    training: dict[str, Any]
    """epochs, batch size, seed, and each head's arguments"""
    keys_digest: str = ""
    """of the dedup keys, from which folds follow; "" in older files"""
    votes_digest: str = ""
    """of votes and greedy answers, which a `PriorHead` learns from; "" in older files"""
    labels_digest: str = ""
    """of all that was learned from or known: curves, lengths, families, sizes; "" in older files"""

    def difference(self, other: PredictionsOf) -> list[str]:
        return [each.name for each in fields(self) if getattr(self, each.name) != getattr(other, each.name)]


def keys_digest(dedup_keys: Sequence[str]) -> str:
    """What stands for the questions' dedup keys."""
    return digest(list(dedup_keys))[:16]


def labels_digest(pool: GradedPool, labels: BudgetLabels) -> str:
    """What stands for everything that sources may learn from, to six decimals."""
    tensors = [(1e6 * value).round().long().tolist() for value in (labels.acc_QK, labels.log_tokens_Q)]
    return digest([*tensors, labels.never_Q.tolist(), list(pool.families), list(pool.sizes)])[:16]


def votes_digest(pool: GradedPool) -> str:
    """What stands for the votes and greedy answers: wrong answers that a grader merges change no curve."""
    count_Q3, right_Q = pool.top_counts()
    greedy = [pool.greedy_right_Q.tolist(), pool.greedy_present_Q.tolist()]
    return digest([count_Q3.long().tolist(), right_Q.tolist(), *greedy])[:16]


@dataclass(frozen=True)
class StoredPredictions:
    """All fold seeds of a cross-validation."""

    made_for: PredictionsOf
    by_seed: dict[int, tuple[Source, ...]]


def save_predictions(path: Path, made_for: PredictionsOf, by_seed: Mapping[int, Iterable[Source]]) -> None:
    """Write a file, whole or not at all."""
    tensors: dict[str, Tensor] = {}
    kinds: dict[str, dict[str, str]] = {str(seed): {} for seed in by_seed}
    for seed, sources in by_seed.items():
        for source in sources:
            kinds[str(seed)][source.name] = source.kind
            for fold, known in enumerate(source.folds):
                for side in ("train", "test"):
                    prefix = f"{seed}/{source.name}/{fold}/{side}"
                    tensors |= _tensors(prefix, getattr(known, side))
    header = {
        "format": PREDICTIONS_FORMAT,
        "format_version": PREDICTIONS_FORMAT_VERSION,
        "of": asdict(made_for),
        "sources": kinds,
    }
    metadata = {"t2": json.dumps(header, ensure_ascii=False)}
    write_atomically(path, lambda scratch: save_file(tensors, scratch, metadata))


def _tensors(prefix: str, known: Known) -> dict[str, Tensor]:
    parts = {name: value for name, value in vars(known.prediction).items() if value is not None}
    named = {f"{prefix}/{name}": value.float().contiguous() for name, value in parts.items()}
    # The score keeps all its digits: bins cut between scores, and two that float32 makes equal would share one.
    named[f"{prefix}/{_SCORE}"] = known.score_B.double().contiguous()
    if known.fit_B is not None:
        named[f"{prefix}/{_FIT}"] = known.fit_B.contiguous()
        for part, values in _fit_tensors(known.fits).items():
            named[f"{prefix}/{_FIT}_{part}"] = values.contiguous()
    return named


def _fit_tensors(fits: Sequence[PriorFit]) -> dict[str, Tensor]:
    return {
        "share_J3": torch.stack([fit.atoms.share_J3 for fit in fits]),
        "right_J": torch.stack([fit.atoms.right_J for fit in fits]),
        "prior_J": torch.stack([fit.prior_J for fit in fits]),
        "settings": torch.tensor([[fit.tau, fit.lam] for fit in fits], dtype=torch.float64),
    }


def _fits(parts: dict[str, Tensor]) -> tuple[PriorFit, ...]:
    share, right, prior, settings = (
        parts.pop(f"{_FIT}_{name}") for name in ("share_J3", "right_J", "prior_J", "settings")
    )
    each = zip(share, right, prior, settings.tolist(), strict=True)
    return tuple(PriorFit(AnswerAtoms(s, r), p, tau, lam) for s, r, p, (tau, lam) in each)


def load_predictions(path: Path) -> StoredPredictions:
    """Read a file of `save_predictions`.

    Raises:
        T2Error: no such file, another format or version, or damaged.
    """
    if not path.is_file():
        raise T2Error(
            f"Expected out-of-fold predictions, got no file {path}. "
            "Make them: python train.py cross_validate --config FILE"
        )
    try:
        with safe_open(path, framework="pt") as file:
            header: Any = json.loads((file.metadata() or {}).get("t2", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no dict
    except (OSError, SafetensorError, ValueError) as error:
        raise T2Error(f"Expected a predictions file, got {path}: {error}. Make it again.") from error
    version = (header.get("format"), header.get("format_version"))
    if version != (PREDICTIONS_FORMAT, PREDICTIONS_FORMAT_VERSION):
        raise T2Error(f"Expected {PREDICTIONS_FORMAT} version {PREDICTIONS_FORMAT_VERSION}, got {version} in {path}.")
    try:
        of = header["of"]
        belongs = PredictionsOf(**{**of, "question_ids": tuple(of["question_ids"]), "grid": tuple(of["grid"])})
        by_seed = {
            int(seed): tuple(_source(tensors, int(seed), name, kind) for name, kind in kinds.items())
            for seed, kinds in header["sources"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise T2Error(f"Expected a whole predictions file, got {path} without {error}. Make it again.") from error
    return StoredPredictions(belongs, by_seed)


def _source(tensors: dict[str, Tensor], seed: int, name: str, kind: Any) -> Source:
    folds = [f"{seed}/{name}/{fold}" for fold in range(OUTER_FOLDS)]
    known = [FoldKnown(_known(tensors, f"{fold}/train/"), _known(tensors, f"{fold}/test/")) for fold in folds]
    return Source(name, kind, tuple(known))


def _known(tensors: dict[str, Tensor], prefix: str) -> Known:
    parts = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    fit_B = parts.pop(_FIT, None)
    fits = _fits(parts) if fit_B is not None else ()
    return Known(parts.pop(_SCORE), Prediction(**parts), fits, fit_B)


def check_questions(
    stored: StoredPredictions, question_ids: Sequence[str], dedup_keys: Sequence[str], path: Path
) -> Tensor:
    """Rows of the questions that the predictions are of, among `question_ids`.

    Raises:
        T2Error: some of them are not there, or have other dedup keys, and so other folds.
    """
    row = {question_id: index for index, question_id in enumerate(question_ids)}
    missing = [question_id for question_id in stored.made_for.question_ids if question_id not in row]
    if missing:
        raise T2Error(
            f"Expected the questions that {path} is of, got a pool without {len(missing)} of "
            f"{len(stored.made_for.question_ids)} (first: {quoted(missing[0])}). Make the predictions again for this "
            "pool: python train.py cross_validate --config FILE"
        )
    rows = [row[question_id] for question_id in stored.made_for.question_ids]
    if stored.made_for.keys_digest not in ("", keys_digest([dedup_keys[index] for index in rows])):
        raise T2Error(
            f"Expected the dedup keys that {path} was made with, got others: folds follow from them, and questions "
            "would be tested by heads that learned from them. Make the predictions again for this pool: "
            "python train.py cross_validate --config FILE"
        )
    return torch.tensor(rows)


def check_labels(stored: StoredPredictions, pool: GradedPool, labels: BudgetLabels, path: Path) -> None:
    """Make sure that a pool's questions, in the order of the predictions, are labelled as they were for these.

    Older files do not say.

    Raises:
        T2Error: other samples, grades, families or sizes.
    """
    of = stored.made_for
    if of.labels_digest not in ("", labels_digest(pool, labels)) or of.votes_digest not in ("", votes_digest(pool)):
        raise T2Error(
            f"Expected the samples and grades that {path} was made from ({stored.made_for.samples_per_question} "
            "samples a question), got others or other families "
            f"({int(pool.present_QM.sum(1).min())} samples a question). Make the predictions again for this pool: "
            "python train.py cross_validate --config FILE"
        )
