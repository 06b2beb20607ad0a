"""From a config to `layers.json`, `layers.md` and `layers.png`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from t2.activations.features import in_parts, pooled_features
from t2.activations.layers import LayerChoice
from t2.comparison.sources import FOLD_SEEDS, check_enough
from t2.curves.labels import budget_labels, cut_grid
from t2.errors import T2Error
from t2.hardware import one_thread
from t2.layers.figure import TITLES, layer_figure
from t2.layers.measure import GAIN, LEVEL, LayerReport, layer_report
from t2.layers.rounding import Rounding, rounding_of
from t2.model_files import sixteen_bits_of
from t2.pages.pictures import png_of
from t2.pages.table import Table
from t2.pages.text import span
from t2.pools.load import load_pool
from t2.pools.prepare import prepare
from t2.pools.reading import Reading
from t2.progress import progress
from t2.spec import DEFAULT_GRID
from t2.splits import split_of, spread
from t2.store.files import write_bytes_atomically, write_text_atomically

FORMAT, FORMAT_VERSION = "t2-layers", 1
CHOOSE = ("train", "validation")
"""Splits whose questions may choose layers."""


def layers_of(config: str, out: Path, layers: LayerChoice = "all", rounding: int = 0) -> tuple[Table, str, list[Path]]:
    """Measure, and write into the folder `out`; the table, what to put into the config, and the files.

    Train and validation questions are asked alone: a layer that test questions have chosen flatters on them.

    Args:
        config: of a labelled pool.
        out: folder.
        layers: to look at.
        rounding: questions that the LLM reads in 16 bits and in float32, to see what rounding does; 0: none.

    Raises:
        T2Error: no config, too few questions, or neither features nor the LLM.
    """
    if (data := (loaded := load_pool(config)).data) is None:
        raise T2Error(f"Expected a config, which says by which LLM the pool is read, got the folder {config}.")
    if rounding == 1 or rounding < 0:
        raise T2Error(f"Expected at least 2 questions for `--rounding`, or 0 for none, got {rounding}.")
    prepared = prepare(data.pool, data.allow_proxy)
    reading = Reading.of(prepared, replace(data, layers=layers))
    chosen = [row for row, key in enumerate(loaded.pool.dedup_keys) if split_of(key, data.splits) in CHOOSE]
    pool = loaded.pool.take(chosen)
    check_enough(pool.dedup_keys, FOLD_SEEDS[:1], "labelled train and validation questions", loaded.root)
    row_of = {question.id: row for row, question in enumerate(prepared.questions)}
    prompts = [prepared.prompts[row_of[question_id]] for question_id in pool.question_ids]
    pooled_QLD = pooled_features(data.features_root, reading.spec, prompts, reading.model_folder)
    fewest = int(pool.present_QM.sum(1).min())
    labels = budget_labels(pool, tuple(data.grid or cut_grid(DEFAULT_GRID, fewest)), data.eps)
    with one_thread(), progress("layers", len(reading.spec.layers), unit="layers") as advance:
        report = layer_report(pooled_QLD, reading.spec.layers, labels, pool.dedup_keys, advance)
    if rounding:
        report = replace(report, rounding=_rounding(reading, spread(prompts, rounding)))
    table, advice = layer_table(report), _advice(report)
    return table, advice, _write(report, f"{loaded.name}, {len(pool)} questions", table, advice, out)


def _rounding(reading: Reading, prompts: Sequence[Sequence[int]]) -> tuple[Rounding, ...]:
    """By two passes of the LLM, as an engine runs it and in float32."""
    folder, spec = reading.model_folder(), reading.spec
    coarse_QLD, exact_QLD = (
        torch.cat(list(in_parts(folder, prompts, spec, dtype=dtype))).float()
        for dtype in (sixteen_bits_of(folder), torch.float32)
    )
    return rounding_of(coarse_QLD, exact_QLD, spec.layers)


def layer_table(report: LayerReport) -> Table:
    """A row a layer, the suggested ones marked, and one for these together."""
    columns = ["layer", f"{TITLES[LEVEL]} (level)", f"{TITLES[GAIN]} (gain)"]
    rows = [[str(one.layer), span(one.level), span(one.gain)] for one in report.layers]
    rows.append(["suggested together", span(report.together.level), span(report.together.gain)])
    if report.rounding:
        columns += ["rounding in 16 bits, each question's own", "rounding that all share"]
        cells = [[f"{each.own:.3f}", f"{each.shared:.3f}"] for each in report.rounding]
        rows = [row + own for row, own in zip(rows, [*cells, ["", ""]], strict=True)]
    marked = [place for place, one in enumerate(report.layers) if one.layer in report.suggested]
    return Table(tuple(columns), tuple(map(tuple, rows)), marked_rows=tuple(marked))


def _advice(report: LayerReport) -> str:
    rounding = (
        " Rounding is in standard deviations of an activation over questions. Where a head is served in 16 bits, "
        "prefer layers in which a question's own is small: there its decisions differ least between engines."
    )
    return (
        f"For the config: `model.layers: {list(report.suggested)}`. Rank correlations out of fold on "
        f"{report.num_questions} train and validation questions, 95% intervals; the list was chosen by the same "
        "questions, so its own row is slightly too good. What a head makes of it, `fit` and `t2 report` say."
    ) + (rounding if report.rounding else "")


def _write(report: LayerReport, title: str, table: Table, advice: str, out: Path) -> list[Path]:
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, "title": title}
    files = {name: out / name for name in ("layers.json", "layers.md", "layers.png")}
    try:
        write_text_atomically(files["layers.json"], json.dumps({**head, **report.as_json()}, indent=1) + "\n")
        write_text_atomically(files["layers.md"], f"# Layers: {title}\n\n{table.markdown()}\n\n{advice}\n")
        write_bytes_atomically(files["layers.png"], png_of(layer_figure(report, title)))
    except OSError as error:
        raise T2Error(f"Expected a folder to write into, got {out}: {error}. Choose another `--out`.") from error
    return list(files.values())
