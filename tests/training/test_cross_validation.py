"""`train.py cross_validate`: fits on several cores are those on one, and an end too early costs one source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.budget_data import NoBudgetData
from helpers.targets import targets
from torch import Tensor

from t2.comparison.predictions import PredictionsOf, load_predictions
from t2.comparison.sources import INNER_FOLDS, OUTER_FOLDS, Folds, Known, Source, Unfitted
from t2.curves.labels import BudgetLabels, budget_labels
from t2.errors import T2Error
from t2.grading.graded import GradedPool
from t2.head_record import NO_DATA, Features
from t2.heads import CurveHead, HeadShape, LayerwiseRegression
from t2.heads.base import Prediction
from t2.training.cross_validation import FitsOnCores, TrainSettings, head_fit_predict
from t2.training.module import BudgetProbe
from t2.training.trainer import T2Trainer, fitted_sources, remove_if_contained, unfinished

NUM_QUESTIONS, GRID = 60, (1, 3, 5)
KEYS = tuple(f"key {q}" for q in range(NUM_QUESTIONS))
FOLDS = {seed: Folds.of(KEYS, seed) for seed in (0, 1)}
OF = PredictionsOf(KEYS, GRID, 0.02, 8, "exact", {"layers": [1, 2]}, {"seed": 0, "heads": {"CurveHead": {"eta": 5.0}}})


def same(first: Source, second: Source) -> bool:
    pairs = [
        (getattr(mine, side), getattr(theirs, side))
        for mine, theirs in zip(first.folds, second.folds, strict=True)
        for side in ("train", "test")
    ]
    return first.name == second.name and all(
        torch.equal(a.score_B, b.score_B) and torch.equal(a.prediction.log_tokens_B, b.prediction.log_tokens_B)
        for a, b in pairs
    )


@pytest.mark.slow
@pytest.mark.parametrize("make_head", [partial(CurveHead, num_atoms=4, hidden=8), LayerwiseRegression])
def test_several_processes_give_what_one_gives(make_head: type[CurveHead]) -> None:
    generator = torch.Generator().manual_seed(0)
    pooled_QLD = torch.randn(NUM_QUESTIONS, 2, 16, generator=generator)
    made_up = targets(
        torch.rand(NUM_QUESTIONS, 3, generator=generator).sort(1).values,
        torch.randint(2, (NUM_QUESTIONS,), generator=generator),
        torch.rand(NUM_QUESTIONS, generator=generator) < 0.2,
        torch.randn(NUM_QUESTIONS, generator=generator),
        torch.arange(NUM_QUESTIONS) % 2,
    )
    shape = HeadShape(2, 16, GRID, (1, 3))
    unfitted = Unfitted(
        "head", "head", head_fit_predict(make_head, shape, pooled_QLD, made_up, TrainSettings(max_epochs=2))
    )
    counted: list[int] = []

    def fitted_on(processes: int) -> Source:
        run_fits = FitsOnCores(processes)
        run_fits.on_fit = lambda: counted.append(processes)
        return unfitted.fitted(FOLDS[0], run_fits)

    alone, together = fitted_on(1), fitted_on(2)
    assert Counter(counted) == dict.fromkeys((1, 2), OUTER_FOLDS * (1 + INNER_FOLDS))
    assert same(alone, together)
    assert len({float(fold.test.score_B[0]) for fold in alone.folds}) == OUTER_FOLDS  # each fold has a fit of its own


class Counted:
    """A source that counts its fits and may fall over at one of them."""

    def __init__(self, name: str, dies_at: int | None = None) -> None:
        self.name, self.dies_at, self.fits = name, dies_at, 0

    def unfitted(self) -> Unfitted:
        return Unfitted(self.name, "head", self.fit_predict)

    def fit_predict(self, learn: Tensor, held: Tensor) -> Known:
        self.fits += 1
        if self.fits == self.dies_at:
            raise KeyboardInterrupt
        score_B = held.double() * float(learn.double().mean())
        return Known(score_B, Prediction(log_tokens_B=score_B.float()))


def fitted(counted: list[Counted], of: PredictionsOf, path: Path) -> dict[int, list[Source]]:
    return fitted_sources([c.unfitted() for c in counted], FOLDS, FitsOnCores(1), of, path)


def test_what_is_done_is_not_done_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = fitted([Counted("a"), Counted("b")], OF, tmp_path / "whole.safetensors")
    path = unfinished(tmp_path / "predictions.safetensors")
    first, fits = Counted("a"), OUTER_FOLDS * 4
    with pytest.raises(KeyboardInterrupt):
        fitted([first, Counted("b", dies_at=fits + 1)], OF, path)
    assert first.fits == 2 * fits
    assert {seed: [s.name for s in sources] for seed, sources in load_predictions(path).by_seed.items()} == {
        0: ["a", "b"],
        1: ["a"],
    }
    capsys.readouterr()
    first, second = Counted("a"), Counted("b")
    again = fitted([first, second], OF, path)
    assert (first.fits, second.fits) == (0, fits)
    assert [same(mine, theirs) for seed in FOLDS for mine, theirs in zip(whole[seed], again[seed], strict=True)] == (
        [True] * 4
    )
    assert capsys.readouterr().out.splitlines() == [
        "fold seed 0: a (done before)",
        "fold seed 0: b (done before)",
        "fold seed 1: a (done before)",
        "fold seed 1: b",
    ]


def test_an_interrupted_run_that_was_taken_up_loses_nothing_when_it_is_interrupted_again(tmp_path: Path) -> None:
    path, fits = tmp_path / "predictions.unfinished.safetensors", OUTER_FOLDS * 4
    fitted([Counted("a"), Counted("b")], OF, path)
    with pytest.raises(KeyboardInterrupt):
        fitted([Counted("new", dies_at=fits + 1), Counted("a"), Counted("b")], OF, path)
    assert {s.name for s in load_predictions(path).by_seed[0]} == {"a", "b", "new"}
    assert {s.name for s in load_predictions(path).by_seed[1]} == {"a", "b"}


def test_other_questions_or_settings_begin_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "predictions.unfinished.safetensors"
    fitted([Counted("a")], OF, path)
    other = Counted("a")
    fitted([other], PredictionsOf(**{**vars(OF), "eps": 0.5}), path)
    assert other.fits == len(FOLDS) * OUTER_FOLDS * 4
    assert load_predictions(path).made_for.eps == 0.5
    kept = tmp_path / "predictions.unfinished.safetensors.other"
    assert load_predictions(kept).made_for == OF, "an hour of training was overwritten at the first finished source"
    assert "is of other eps: kept as" in capsys.readouterr().out.replace("\n", " ")


def test_another_change_of_settings_overwrites_nothing(tmp_path: Path) -> None:
    """The second change of settings put its file over that of the first, hours of fits."""
    path = tmp_path / "predictions.unfinished.safetensors"
    for eps in (0.02, 0.5, 0.1, 0.2):
        fitted([Counted("a")], replace(OF, eps=eps), path)
    kept = {name: load_predictions(tmp_path / name).made_for.eps for name in sorted(p.name for p in tmp_path.iterdir())}
    assert kept == {
        path.name: 0.2,
        f"{path.name}.other": 0.02,
        f"{path.name}.other-2": 0.5,
        f"{path.name}.other-3": 0.1,
    }


# The command


class FakeData(NoBudgetData):
    """What `cross_validate` asks of a `BudgetDataModule`."""

    def __init__(self, folder: Path, eps: float = 0.02) -> None:
        self.eps, self.loaded = eps, False
        self.export_info = replace(NO_DATA, features=Features("f" * 64, (1, 2), "last-token"))
        self.job = SimpleNamespace(path=folder, task=SimpleNamespace(grader=SimpleNamespace(version="exact")))
        votes_QM = torch.randint(2, (NUM_QUESTIONS, 10), generator=torch.Generator().manual_seed(0))
        one_Q = torch.ones(NUM_QUESTIONS, dtype=torch.long)
        self.pool = GradedPool(
            question_ids=KEYS,
            dedup_keys=KEYS,
            families=("",) * NUM_QUESTIONS,
            sizes=(0,) * NUM_QUESTIONS,
            vote_QM=votes_QM,
            right_QM=votes_QM == 0,
            tokens_QM=torch.ones_like(votes_QM),
            truncated_QM=torch.zeros_like(votes_QM, dtype=torch.bool),
            greedy_right_Q=one_Q.bool(),
            greedy_tokens_Q=one_Q,
            prompt_tokens_Q=one_Q,
            greedy_present_Q=one_Q.bool(),
        )

    def prepare_data(self) -> None:
        self.loaded = True

    def setup(self, stage: str) -> None:
        assert stage == "cross_validate"

    def complete_questions(self, fold_seeds: list[int]) -> tuple[GradedPool, BudgetLabels, Tensor, list[str]]:
        assert fold_seeds
        labels = budget_labels(self.pool, GRID, self.eps)
        return self.pool, labels, torch.zeros(NUM_QUESTIONS, 2, 16), ["?"] * NUM_QUESTIONS


@pytest.fixture
def cross_validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeData]:
    """Runs the command with sources that cost nothing, "a" and "b" unless said otherwise."""

    def run(*names: str, eps: float = 0.02, **arguments: Any) -> FakeData:
        sources = [Counted(name).unfitted() for name in names or ("a", "b")]
        monkeypatch.setattr("t2.training.trainer.unfitted_sources", lambda *_: sources)
        data, probe = FakeData(tmp_path, eps), BudgetProbe(lambda shape: CurveHead(shape, num_atoms=4, hidden=8))
        trainer = T2Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
        trainer.cross_validate(probe, data, **{"processes": 1, **arguments})  # type: ignore[arg-type]  # asks no more
        return data

    return run


def stored(path: Path) -> tuple[float, dict[int, list[str]]]:
    found = load_predictions(path)
    return found.made_for.eps, {seed: [source.name for source in sources] for seed, sources in found.by_seed.items()}


def test_predictions_of_other_settings_are_kept_beside_the_new_ones(
    cross_validate: Callable[..., FakeData], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finished file of other settings was overwritten, though an unfinished one was kept."""
    for eps in (0.02, 0.5, 0.5, 0.1):
        cross_validate(eps=eps, fold_seeds=[0])
    whole = {0: ["a", "b"]}
    path = tmp_path / "predictions.safetensors"
    assert {p.name: stored(p) for p in tmp_path.iterdir()} == {
        path.name: (0.1, whole),
        f"{path.name}.other": (0.02, whole),
        f"{path.name}.other-2": (0.5, whole),  # the second run with 0.5 replaced what it repeated
    }
    shown = capsys.readouterr().out
    assert re.findall(rf"^{path} is of other eps\b.*: kept as (.*)$", shown, re.M) == [
        f"{path}.other",
        f"{path}.other-2",
    ]


def test_of_the_same_settings_only_what_is_not_repeated_is_kept(
    cross_validate: Callable[..., FakeData], tmp_path: Path
) -> None:
    path = tmp_path / "predictions.safetensors"
    cross_validate("a", fold_seeds=[0])
    cross_validate(fold_seeds=[0, 1])  # has all of the first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    cross_validate("b", fold_seeds=[1])
    assert stored(path)[1] == {1: ["b"]}
    assert stored(tmp_path / f"{path.name}.other")[1] == {0: ["a", "b"], 1: ["a", "b"]}


def test_a_file_that_holds_no_predictions_is_kept_too(
    cross_validate: Callable[..., FakeData], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("notes")
    cross_validate(fold_seeds=[0], out=str(tmp_path / "mine.txt"))
    assert (tmp_path / "mine.txt.other").read_text() == "notes"
    assert "is no predictions file of this version: kept as" in capsys.readouterr().out
    assert stored(tmp_path / "mine.txt")[1] == {0: ["a", "b"]}


@pytest.mark.parametrize("fold_seeds", [[], [1, 1], [0, 1, 0]])
def test_fold_seeds_are_some_and_all_different(
    cross_validate: Callable[..., FakeData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold_seeds: list[int]
) -> None:
    """Without one the file had no sources, and `t2 report` was an IndexError."""
    monkeypatch.setattr(FakeData, "prepare_data", lambda _: pytest.fail("loaded before the seeds were looked at"))
    message = "Expected `fold_seeds`, at least one and all different, got " + re.escape(str(fold_seeds))
    with pytest.raises(T2Error, match=message):
        cross_validate(fold_seeds=fold_seeds)
    assert not list(tmp_path.iterdir())


def test_predictions_are_no_folder(cross_validate: Callable[..., FakeData], tmp_path: Path) -> None:
    """All was fitted before the folder turned out to be none to write to; it must not be moved aside either."""
    with pytest.raises(T2Error, match="Expected a file to write predictions to, got the folder"):
        cross_validate(out=str(tmp_path))


def test_what_was_not_asked_for_now_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "predictions.unfinished.safetensors"
    by_seed = fitted([Counted("a"), Counted("b")], OF, path)
    remove_if_contained(path, {0: by_seed[0]})
    assert path.exists()
    remove_if_contained(path, by_seed)
    assert not path.exists()
    remove_if_contained(path, by_seed)
