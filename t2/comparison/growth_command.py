"""`t2 report --learning_curve` and `--caps`: from stored predictions to a table, a picture and JSON. Never trains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from t2.comparison.growth import AMOUNTS, GROWTH, QUESTIONS, SAMPLES, Amount, GrowthPoint, by_cap, learning_curve
from t2.comparison.growth_figure import growth_figure
from t2.comparison.limits import in_words
from t2.comparison.predicted import load_predicted
from t2.comparison.predictions import PREDICTIONS_FILE
from t2.comparison.sweeps import FULL, Sweeps
from t2.errors import T2Error
from t2.hardware import one_thread
from t2.pages.pictures import png_of
from t2.pages.table import Table
from t2.pages.text import COST_WORDS, clean, number, span
from t2.pools.load import LoadedPool, pool_folder
from t2.store.files import write_bytes_atomically, write_text_atomically

CURVE_FILE = "learning_curve.safetensors"
"""Inside a pool: what `train.py cross_validate --learning_curve true` writes."""
_NOTE = (
    "Settings chosen out of fold, on the questions at hand, to lose at most 1 point; planned rounds to wait at most 2 "
    "rounds. Ratio: of generated tokens to those of FixedN(N_ref). Area: mean accuracy gain over FixedN at equal "
    "tokens, points. Brackets are 95% intervals over questions; one fold seed."
)


@one_thread()
def write_learning_curve(
    source: str, out: Path, predictions: str | None = None, grader: str | None = None, sweeps: Sweeps = FULL
) -> list[Path]:
    """What labelling more questions, or more samples of each, is worth.

    Raises:
        T2Error: no pool, no predictions for a learning curve, or those of other questions or samples.
    """
    path = Path(predictions) if predictions else pool_folder(source) / CURVE_FILE
    if not path.is_file():
        raise T2Error(
            f"Expected predictions of heads that learned from less, got no file {path}. Make them: python train.py "
            "cross_validate --config FILE --learning_curve true"
        )
    found = load_predicted(source, path, grader)
    stored, pool, labels = found.stored, found.pool, found.labels
    seed, sources = next(iter(stored.by_seed.items()))
    head = next(iter(stored.made_for.training["heads"]))
    named = {each.name: replace(each, name=head) for each in sources}
    if missing := [amount.name for amount in AMOUNTS if amount.name not in named]:
        raise T2Error(f"Expected predictions for {', '.join(missing)} in {path}, got none. Make the file again.")
    points = learning_curve(pool, labels, stored.made_for.eps, named, seed, sweeps)
    columns = {
        "training questions of a fold": _of(points, QUESTIONS),
        "samples of a training question": _of(points, SAMPLES, x=float(stored.made_for.samples_per_question)),
    }
    title = f"{found.loaded.name}: what more labels are worth"
    return _written(points, columns, "learning_curve", title, found.loaded, out)


def _of(points: Sequence[GrowthPoint], amounts: Sequence[Amount], x: float | None = None) -> list[GrowthPoint]:
    """The points of some amounts; `x` is where all there is lies on their axis, None: where it says."""
    names = [amount.name for amount in amounts]
    return [
        replace(point, x=x) if x is not None and point.amount == names[-1] else point
        for point in points
        if point.amount in names
    ]


@one_thread()
def write_caps(
    source: str,
    out: Path,
    caps: Sequence[int],
    predictions: str | None = None,
    grader: str | None = None,
    sweeps: Sweeps = GROWTH,
) -> list[Path]:
    """How the saving grows with the largest budget, and where it stops.

    Raises:
        T2Error: no pool, no predictions of a head, or a cap that is no budget of the grid.
    """
    path = Path(predictions) if predictions else pool_folder(source) / PREDICTIONS_FILE
    found = load_predicted(source, path, grader)
    stored, pool, labels = found.stored, found.pool, found.labels
    if wrong := [cap for cap in caps if cap not in labels.grid]:
        raise T2Error(
            f"Expected `--caps` among the budgets of the grid, {list(labels.grid)} samples, got "
            f"{', '.join(map(str, wrong))}."
        )
    seed, sources = next(iter(stored.by_seed.items()))
    head = next((each for each in sources if each.kind == "head"), None)
    if head is None:
        raise T2Error(f"Expected predictions of a head in {path}, got those of controls alone. Make the file again.")
    points = list(by_cap(pool, labels.grid, stored.made_for.eps, head, seed, sorted(set(caps)), sweeps))
    title = f"{found.loaded.name}: how the saving grows with the largest budget"
    return _written(points, {"largest budget, samples": points}, "caps", title, found.loaded, out)


def growth_table(points: Sequence[GrowthPoint], cost_unit: str = "tokens") -> Table:
    """A line for each rule at each amount."""
    ratio = "token ratio" if cost_unit == "tokens" else "ratio of samples"
    return Table(
        ("amount", "N_ref", "rule", ratio, "accuracy, points", "rounds", "area, points"),
        tuple(
            (
                point.amount,
                str(point.n_ref),
                f"{point.rule}, {in_words(point.max_rounds)}" if point.max_rounds else point.rule,
                span(point.ratio),
                span(point.difference),
                number(point.rounds),
                span(point.area),
            )
            for point in points
        ),
        note=_NOTE,
        text_columns=(0, 2),
    )


def _written(
    points: Sequence[GrowthPoint],
    columns: Mapping[str, Sequence[GrowthPoint]],
    name: str,
    title: str,
    loaded: LoadedPool,
    out: Path,
) -> list[Path]:
    """Table, picture and numbers under one name."""
    png = png_of(growth_figure(columns, clean(title, 90), COST_WORDS[loaded.cost_unit]))
    picture, text, record = (out / f"{name}.{kind}" for kind in ("png", "md", "json"))
    content = {"title": title, "cost_unit": loaded.cost_unit, "points": [asdict(point) for point in points]}
    write_text_atomically(record, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text_atomically(text, f"{growth_table(points, loaded.cost_unit).markdown()}\n")
    write_bytes_atomically(picture, png)
    return [text, picture, record]
