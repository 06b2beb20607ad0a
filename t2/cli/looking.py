"""Commands that look at pools and at what heads are worth: `t2 curse`, `t2 layers`, `t2 evaluate`, `t2 report`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def curse(
    pool: str,
    out: str = "curse",
    grader: str | None = None,
    eps: float | None = None,
    min_samples: int | None = None,
) -> None:
    """How bad is overscaling: accuracy curve, N*, N_D, M_D, sample types, and what triggers the curse.

    Args:
        pool: folder of a pool, or a config.
        out: folder of curse.json, figures and index.html.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        eps: accuracy given up to call N enough; by default the config's `data.eps`, else 0.02.
        min_samples: leave out questions with fewer samples.
    """
    from rich.console import Console

    from t2.curse.command import curse_of

    answer = curse_of(pool, Path(out), grader, eps, min_samples)
    Console().print(answer.text)
    for path in answer.files:
        print(path)


def layers(
    config: str,
    out: str = "layers",
    layers: Literal["every-4th", "every-2nd", "all", "last"] | list[int] = "all",
    rounding: int = 0,
) -> None:
    """What each layer of the LLM knows of a question, out of fold, and which to put into `model.layers`.

    Args:
        config: of a labelled pool. Layers whose features are not cached are read by its LLM.
        out: folder of layers.md, layers.json and layers.png.
        layers: which to look at: "all", "every-2nd", "every-4th", "last", or numbers from 1.
        rounding: questions (64 will do) that the LLM reads in 16 bits and in float32: what rounding makes of a layer.
    """
    from rich.console import Console

    from t2.layers.command import layers_of
    from t2.pages.terminal import rich_table

    table, advice, files = layers_of(config, Path(out), layers, rounding)
    Console().print(rich_table(table))
    print(advice)
    for path in files:
        print(path)


def evaluate(
    head: str,
    pool: str,
    out: str = "evaluation",
    live: int = 0,
    proxy: str | None = None,
    features: str | None = None,
    grader: str | None = None,
    min_samples: int | None = None,
) -> None:
    """What an exported head is worth on any pool of its model: all that `report` shows, and the head as exported.

    Args:
        head: folder or hub id of the exported head.
        pool: folder of a pool, or a config. Questions that the head has learned from are left out.
        out: folder of report.md, report.json, frontier.png, ladder.png, index.html, and live.json.
        live: ask this many of the questions anew through the engine of the config, policy by policy.
        proxy: hub id or folder of the LLM that the head reads, where the pool does not lead to it (imported pools).
        features: folder of the feature caches; by default the config's, else `features` inside the pool.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        min_samples: leave out questions with fewer samples.
    """
    from t2.judging.command import evaluate_head

    for path in evaluate_head(head, pool, Path(out), live, proxy, features, grader, min_samples):
        print(path)


def report(
    pool: str,
    out: str = "report",
    predictions: str | None = None,
    grader: str | None = None,
    new_after: int | None = None,
    cap: int | None = None,
    learning_curve: bool = False,
    caps: list[int] | None = None,
    wandb: str | None = None,
) -> None:
    """Heads x policies from out-of-fold predictions: accuracy against tokens, tuned out of fold, with intervals.

    Args:
        pool: folder of a pool, or a config.
        out: folder of report.md, key.md, report.json, index.html and the pictures.
        predictions: file of `train.py cross_validate`; by default `predictions.safetensors` inside the pool.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        new_after: make the claims once more on the questions that came into the pool after so many (rows of its
            questions.parquet), because the first ones may have led to the choice of a method.
        cap: largest budget, in samples, by default the grid's: what all rules and FixedN(N_ref) may draw at most.
        learning_curve: instead of all this, what labelling more questions or more samples is worth, from the
            predictions of `train.py cross_validate --learning_curve true`: learning_curve.md, .png and .json.
        caps: instead of all this, four rules at each of these largest budgets, as [16, 32, 64]: caps.md, .png, .json.
        wandb: project of Weights & Biases that gets the files as an artifact, with the pool that they are of.
    """
    if learning_curve or caps:
        from t2.comparison.growth_command import write_caps, write_learning_curve
        from t2.errors import T2Error

        if (learning_curve and caps) or new_after is not None or cap is not None:
            raise T2Error(
                "Expected `--learning_curve` or `--caps` alone, got both, or `--cap` or `--new_after` beside them. Ask "
                "for one after the other."
            )
        files = write_caps(pool, Path(out), caps, predictions, grader) if caps else []
        files += write_learning_curve(pool, Path(out), predictions, grader) if learning_curve else []
    else:
        from t2.comparison.command import report_of

        files = report_of(pool, Path(out), predictions, grader, new_after, cap)
    for path in files:
        print(path)
    if wandb is not None:
        from t2.pools.load import pool_folder
        from t2.tracking.wandb_artifacts import log_report

        print(f"W&B: {log_report(wandb, pool_folder(pool), files, Path(out))}")
