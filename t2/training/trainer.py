"""`train.py cross_validate`: train every head in every fold and keep what each says of questions it never saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from rich.console import Console

from t2.evaluation.sources import Source
from t2.heads import HEADS
from t2.heads.base import HeadShape
from t2.predictions import PREDICTIONS_FILE, PredictionsOf, save_predictions
from t2.training.cross_validation import MakeHead, TrainSettings, sources
from t2.training.module import BudgetProbe


class T2Trainer(L.Trainer):
    """Lightning's trainer with one more thing to do."""

    def cross_validate(
        self,
        model: L.LightningModule,
        datamodule: L.LightningDataModule,
        out: str | None = None,
        fold_seeds: list[int] | None = None,
        epochs: int = 40,
        only_configured_head: bool = False,
    ) -> None:
        """Write out-of-fold predictions of all heads and controls; `t2 report` turns them into tables.

        Uses every question of the pool that is complete, whatever its split. The configured head is trained with its
        arguments, the others with their defaults.

        Args:
            model: names the head.
            datamodule: a `BudgetDataModule`.
            out: file to write; None: `predictions.safetensors` inside the pool.
            fold_seeds: one 5-fold cross-validation for each; None: 0, 1, 2.
            epochs: of each training, all questions from the first on, the last weights.
            only_configured_head: leave the other heads out.
        """
        assert isinstance(model, BudgetProbe)
        data: Any = datamodule
        data.prepare_data()
        data.setup("cross_validate")
        pool, labels, pooled_QLD, texts = data.complete_questions()
        how = TrainSettings(max_epochs=epochs)
        shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
        heads = _heads(model, shape, only_configured_head)
        by_seed: dict[int, list[Source]] = {}
        console = Console(soft_wrap=True)
        for seed in fold_seeds if fold_seeds is not None else [0, 1, 2]:
            by_seed[seed] = []
            for source in sources(heads, pooled_QLD, pool, labels, texts, seed, how):
                by_seed[seed].append(source)
                console.print(f"fold seed {seed}: {source.name}", highlight=False)
        of = PredictionsOf(
            question_ids=pool.question_ids,
            grid=labels.grid,
            eps=data.eps,
            samples_per_question=int(pool.present_QM.sum(1).min()),
            grader=data.job.task.grader.version,
            features=data.export_info["features"],
            training={**vars(how), "heads": {name: make(shape).arguments for name, make in heads.items()}},
        )
        path = Path(out) if out else Path(data.job.path) / PREDICTIONS_FILE
        save_predictions(path, of, by_seed)
        console.print(f"Out-of-fold predictions of {len(pool)} questions: {path}", highlight=False)


def _heads(model: BudgetProbe, shape: HeadShape, only_configured: bool) -> dict[str, MakeHead]:
    configured: dict[str, MakeHead] = {type(model.make_head(shape)).__name__: model.make_head}
    return configured if only_configured else {**configured, **{n: c for n, c in HEADS.items() if n not in configured}}
