"""`t2 layers`: what each layer knows, and which layers complement each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.graded_pools import random_pool
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from t2.cli import main
from t2.comparison.controls import ALPHAS
from t2.comparison.sources import Folds
from t2.curves.labels import BudgetLabels, budget_labels
from t2.heads.base import rms_normalised
from t2.layers.measure import layer_report
from t2.layers.rounding import rounding_of

NUM, WIDTH = 150, 12
NOISE, LEVEL_LAYER, GAIN_LAYER = 3, 5, 9
"""Numbers of the layers that know nothing, the level, the gain."""


@pytest.fixture(scope="module")
def known() -> tuple[Tensor, BudgetLabels, tuple[str, ...]]:
    """Features of three layers, one of which knows how often the LLM is right, one what voting brings."""
    pool = random_pool(NUM, samples=16, seed=3)
    labels = budget_labels(pool, (1, 3, 5, 9, 16), 0.02)
    generator = torch.Generator().manual_seed(0)
    pooled_QLD = torch.randn(NUM, 3, WIDTH, generator=generator)
    level_Q, gain_Q = labels.acc_QK.mean(1), labels.acc_QK[:, -1] - labels.acc_QK[:, 0]
    for place, target_Q in ((1, level_Q), (2, gain_Q)):
        standard_Q = (target_Q - target_Q.mean()) / target_Q.std()
        pooled_QLD[:, place, 0] = 2 * standard_Q.float()
    return pooled_QLD, labels, pool.dedup_keys


def test_layers_are_ranked_by_what_they_know(known: Any) -> None:
    report = layer_report(known[0], (NOISE, LEVEL_LAYER, GAIN_LAYER), known[1], known[2])
    noise, level, gain = report.layers
    assert [one.layer for one in report.layers] == [NOISE, LEVEL_LAYER, GAIN_LAYER]
    assert level.level is not None
    assert gain.gain is not None
    assert level.level.low > 0.8
    assert gain.gain.low > 0.6
    assert noise.level is not None
    assert abs(noise.level.value) < 0.25
    assert set(report.suggested) == {LEVEL_LAYER, GAIN_LAYER}, "they know different things"
    assert report.together.level is not None
    assert report.together.level.low <= report.together.level.value <= report.together.level.high


def test_a_score_is_scipys_of_scikit_learns_predictions(known: Any) -> None:
    """Fitted here once more, by hand, fold by fold."""
    pooled_QLD, labels, keys = known
    report = layer_report(pooled_QLD[:, 1:2], (LEVEL_LAYER,), labels, keys)
    folds, x = Folds.of(keys, 0), rms_normalised(pooled_QLD[:, 1]).numpy()
    targets = torch.stack([labels.acc_QK.mean(1), labels.acc_QK[:, -1] - labels.acc_QK[:, 0]], 1).double().numpy()
    predicted = targets * 0
    for fold in range(5):
        learn, held = folds.train_rows(fold).numpy(), folds.test_rows(fold).numpy()
        model = make_pipeline(StandardScaler(), RidgeCV([alpha * WIDTH for alpha in ALPHAS]))
        predicted[held] = model.fit(x[learn], targets[learn]).predict(x[held])
    score = report.layers[0]
    assert score.level is not None
    assert score.gain is not None
    assert score.level.value == pytest.approx(spearmanr(predicted[:, 0], targets[:, 0]).statistic, abs=1e-6)
    assert score.gain.value == pytest.approx(spearmanr(predicted[:, 1], targets[:, 1]).statistic, abs=1e-6)


def test_a_question_is_never_predicted_by_what_it_taught(known: Any) -> None:
    """Its own target changed alone: its own prediction stays, so that a layer of noise cannot look good."""
    pooled_QLD, labels, _ = known
    twins = tuple(f"k{index // 2}" for index in range(NUM))  # each key twice: twins share a fold
    doubled_QLD = pooled_QLD[:, :1].clone()
    doubled_QLD[1::2] = doubled_QLD[::2]  # and features: whoever learns from a twin knows the answer
    acc_QK = labels.acc_QK.clone()
    acc_QK[1::2] = acc_QK[::2]
    report = layer_report(doubled_QLD, (NOISE,), replace(labels, acc_QK=acc_QK), twins)
    assert report.layers[0].level is not None
    assert report.layers[0].level.value < 0.3


def test_targets_that_are_all_alike(known: Any) -> None:
    flat = replace(known[1], acc_QK=torch.full_like(known[1].acc_QK, 0.5))
    report = layer_report(known[0], (NOISE, LEVEL_LAYER, GAIN_LAYER), flat, known[2])
    assert all(one.level is None and one.gain is None for one in report.layers)
    assert report.suggested


def test_the_command(
    labelled_config: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(labelled_config()), encoding="utf-8")
    main(["layers", str(path), "--out", str(tmp_path / "out")])
    written = json.loads((tmp_path / "out" / "layers.json").read_text(encoding="utf-8"))
    assert (written["format"], [row["layer"] for row in written["layers"]]) == ("t2-layers", [1, 2, 3, 4])
    assert written["num_questions"] < 96, "test and calibration questions must not choose layers"
    said = capsys.readouterr().out
    assert f"model.layers: {written['suggested']}" in said
    assert (tmp_path / "out" / "layers.png").read_bytes().startswith(b"\x89PNG")
    assert f"model.layers: {written['suggested']}" in (tmp_path / "out" / "layers.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["layers", str(path), "--layers", "[9]"])
    assert "Expected distinct layers between 1 and 4" in capsys.readouterr().err


def test_rounding_is_told_apart_from_what_all_share() -> None:
    """Against numpy: half a deviation for all alike at one layer, noise of a tenth for each at the other."""
    generator = torch.Generator().manual_seed(1)
    exact_QLD = torch.randn(400, 2, 32, generator=generator) + 3.0
    exact_QLD = rms_normalised(exact_QLD)  # so that standardising divides by these very deviations
    noise_QLD = torch.randn(400, 2, 32, generator=generator) * exact_QLD.std(0, correction=0)
    coarse_QLD = exact_QLD.clone()
    coarse_QLD[:, 0, 0] += 0.5 * exact_QLD[:, 0, 0].std(correction=0)
    coarse_QLD[:, 1] += 0.1 * noise_QLD[:, 1]
    shifted, noisy = rounding_of(coarse_QLD, exact_QLD, (4, 8))
    assert (shifted.layer, noisy.layer) == (4, 8)
    assert shifted.shared == pytest.approx(0.5 / 32**0.5, rel=0.05)
    assert shifted.own < 0.2 * shifted.shared
    assert noisy.own == pytest.approx(0.1, rel=0.05)
    assert noisy.shared < 0.2 * noisy.own
    x, y = (rms_normalised(each).double().numpy() for each in (exact_QLD, coarse_QLD))
    moved = (y - x) / (x.std(0) + 1e-3)
    own = moved - moved.mean(0)
    assert noisy.own == pytest.approx((own[:, 1] ** 2).mean() ** 0.5, rel=1e-4)
    assert shifted.shared == pytest.approx((moved.mean(0)[0] ** 2).mean() ** 0.5, rel=1e-4)
    assert all(each.own == each.shared == 0 for each in rounding_of(exact_QLD, exact_QLD, (4, 8)))


def test_the_command_reads_in_both_precisions(
    labelled_config: Callable[..., dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(labelled_config()), encoding="utf-8")
    main(["layers", str(path), "--out", str(tmp_path / "out"), "--layers", "[1, 3]", "--rounding", "12"])
    rows = json.loads((tmp_path / "out" / "layers.json").read_text(encoding="utf-8"))["layers"]
    assert [row["layer"] for row in rows] == [1, 3]
    # bf16 keeps eight bits: some hundredths of what differs between questions, and not nothing.
    assert all(1e-4 < row["rounding"]["own"] < 0.5 for row in rows)
    assert "prefer layers in which a question's own is small" in capsys.readouterr().out
    assert "rounding in 16 bits, each question's own" in (tmp_path / "out" / "layers.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        main(["layers", str(path), "--rounding", "1"])
    assert "Expected at least 2 questions for `--rounding`" in capsys.readouterr().err


def test_a_folder_does_not_say_whose_layers(
    labelled_pool: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["layers", str(labelled_pool(96, 8))])
    assert "Expected a" in capsys.readouterr().err
