"""`train.py cross_validate`: train every head in every fold and keep what each says of questions it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import lightning as L
from rich.console import Console

from t2.comparison.growth_command import CURVE_FILE
from t2.comparison.predictions import (
    PREDICTIONS_FILE,
    PredictionsOf,
    keys_digest,
    labels_digest,
    load_predictions,
    save_predictions,
    votes_digest,
)
from t2.comparison.sources import FOLD_SEEDS, Folds, Source, Unfitted
from t2.endings import keeping
from t2.errors import T2Error
from t2.heads import HEADS
from t2.heads.base import HeadShape
from t2.progress import progress
from t2.training.cross_validation import (
    FITS_A_SOURCE,
    FitCount,
    FitsOnCores,
    MakeHead,
    TrainSettings,
    sources_of_amounts,
    unfitted_sources,
)
from t2.training.data import as_budget_data
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
        processes: int | None = None,
        learning_curve: bool = False,
    ) -> None:
        """Write out-of-fold predictions of all heads and controls; `t2 report` turns them into tables.

        Uses every question of the pool that is complete, whatever its split. The configured head is trained with its
        arguments, the others with their defaults. What is finished of a run that ended early is taken up by the next
        one with the same questions and settings.

        Args:
            model: names the head.
            datamodule: a `BudgetDataModule`.
            out: file to write; None: `predictions.safetensors` inside the pool. A file that is there is replaced if the
                new one has all that is in it, else kept beside it.
            fold_seeds: one 5-fold cross-validation for each, at least one, all different; None: 0, 1, 2.
            epochs: of each training, all questions from the first on, the last weights.
            only_configured_head: leave the other heads out.
            processes: fits at once, each on one thread; None: one for each core.
            learning_curve: instead of all this the configured head from 1/8, 1/4, 1/2 and all of the training
                questions, and from 1/4 and 1/2 of their samples, at the first fold seed; into
                `learning_curve.safetensors` inside the pool, for `t2 report --learning_curve`.

        Raises:
            T2Error: fold seeds that are none or not all different, or `out` is a folder; before anything is loaded.
        """
        assert isinstance(model, BudgetProbe)
        data = as_budget_data(datamodule)
        seeds = fold_seeds if fold_seeds is not None else list(FOLD_SEEDS)
        if not seeds or len(set(seeds)) < len(seeds):
            raise T2Error(
                f"Expected `fold_seeds`, at least one and all different, got {seeds}. Leave them out for [0, 1, 2]."
            )
        seeds = seeds[:1] if learning_curve else seeds
        path = Path(out) if out else Path(data.job.path) / (CURVE_FILE if learning_curve else PREDICTIONS_FILE)
        if path.is_dir():
            raise T2Error(f"Expected a file to write predictions to, got the folder {path}. Name a file in `out`.")
        data.prepare_data()
        data.setup("cross_validate")
        pool, labels, pooled_QLD, texts = data.complete_questions(seeds)
        how = TrainSettings(max_epochs=epochs)
        shape = HeadShape(pooled_QLD.shape[1], pooled_QLD.shape[2], labels.grid, labels.label_grid)
        heads = _heads(model, shape, only_configured_head or learning_curve)
        features = data.export_info.features
        assert features is not None, "a pool's features are always of some LLM"
        of = PredictionsOf(
            question_ids=pool.question_ids,
            grid=labels.grid,
            eps=data.eps,
            samples_per_question=int(pool.present_QM.sum(1).min()),
            grader=data.job.task.grader.version,
            features=features.as_json(),
            training={**vars(how), "heads": {name: make(shape).arguments for name, make in heads.items()}},
            keys_digest=keys_digest(pool.dedup_keys),
            labels_digest=labels_digest(pool, labels),
            votes_digest=votes_digest(pool),
        )
        all_folds = {seed: Folds.of(pool.dedup_keys, seed) for seed in seeds}
        if learning_curve:
            unfitted = sources_of_amounts(heads, pooled_QLD, pool, labels.grid, data.eps, how, seeds[0])
        else:
            unfitted = unfitted_sources(heads, pooled_QLD, pool, labels, texts, how)
        by_seed = fitted_sources(unfitted, all_folds, FitsOnCores(processes), of, unfinished(path))
        keep_unless_contained(path, of, by_seed)
        save_predictions(path, of, by_seed)
        remove_if_contained(unfinished(path), by_seed)
        Console(soft_wrap=True).print(f"Out-of-fold predictions of {len(pool)} questions: {path}", highlight=False)


def unfinished(path: Path) -> Path:
    """Where the sources lie that are done, until all are."""
    return path.with_name(f"{path.stem}.unfinished{path.suffix}")


def fitted_sources(
    unfitted: Sequence[Unfitted], all_folds: Mapping[int, Folds], run_fits: FitsOnCores, of: PredictionsOf, path: Path
) -> dict[int, list[Source]]:
    """All sources by fold seed; the file `path` has each as soon as it is done, and what is there is not done again."""
    console = Console(soft_wrap=True)
    stored: dict[int, tuple[Source, ...]] = {}
    if path.exists():
        before = load_predictions(path)
        if changed := before.made_for.difference(of):
            keep_aside(path, f"is of other {', '.join(changed)}")
        else:
            stored = before.by_seed
    # By fold seed and name; a seed that is stored but not asked for now stays, or the file would lose it.
    done = {seed: {source.name: source for source in stored.get(seed, ())} for seed in {**stored, **all_folds}}
    missing = [source for seed in all_folds for source in unfitted if source.name not in done[seed]]
    num_kept = sum(map(len, stored.values()))
    kept = keeping(lambda: f"{num_kept} fitted sources are kept in {path}")
    with kept, progress("cross-validation", len(missing) * FITS_A_SOURCE, unit="fits") as advance:
        count = FitCount(missing, advance)
        run_fits.on_fit = count.fit
        for seed, folds in all_folds.items():
            for source in unfitted:
                taken_up = source.name in done[seed]
                if not taken_up:
                    done[seed][source.name] = source.fitted(folds, run_fits)
                    count.source()
                    save_predictions(path, of, {seed: sources.values() for seed, sources in done.items()})
                    num_kept += 1
                console.print(f"fold seed {seed}: {source.name}{' (done before)' if taken_up else ''}", highlight=False)
    return {seed: [done[seed][source.name] for source in unfitted] for seed in all_folds}


def keep_aside(path: Path, reason: str) -> None:
    """Move a file to the first of NAME.other, NAME.other-2, NAME.other-3, ... that is not there yet, and say so."""
    names = (f"{path.name}.other{f'-{number}' if number > 1 else ''}" for number in count(1))
    aside = next(place for name in names if not (place := path.with_name(name)).exists())
    path.replace(aside)
    Console(soft_wrap=True).print(f"{path} {reason}: kept as {aside}", highlight=False)


def keep_unless_contained(path: Path, of: PredictionsOf, by_seed: Mapping[int, Sequence[Source]]) -> None:
    """Move a finished file aside before it is replaced, unless all that is in it is among what replaces it."""
    if not path.exists():
        return
    try:
        before = load_predictions(path)
    except T2Error:
        keep_aside(path, "is no predictions file of this version")
        return
    if changed := before.made_for.difference(of):
        keep_aside(path, f"is of other {', '.join(changed)}")
    elif not pairs(before.by_seed) <= pairs(by_seed):
        keep_aside(path, "has fold seeds or sources that are not among the new ones")


def pairs(by_seed: Mapping[int, Sequence[Source]]) -> set[tuple[int, str]]:
    """Fold seed and name of each source."""
    return {(seed, source.name) for seed, sources in by_seed.items() for source in sources}


def remove_if_contained(path: Path, by_seed: Mapping[int, Sequence[Source]]) -> None:
    """Remove the unfinished file, unless it has more than what was asked for now: that took time too."""
    # There is no file where nothing had to be fitted.
    if path.exists() and pairs(load_predictions(path).by_seed) <= pairs(by_seed):
        path.unlink()


def _heads(model: BudgetProbe, shape: HeadShape, only_configured: bool) -> dict[str, MakeHead]:
    configured: dict[str, MakeHead] = {type(model.make_head(shape)).__name__: model.make_head}
    # Named twice: once to come first, once so that its arguments win over the defaults of its class.
    return configured if only_configured else {**configured, **HEADS, **configured}
