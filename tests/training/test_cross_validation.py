"""`train.py cross_validate`: fits on several cores are those on one, and an end too early costs one source."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from t2.evaluation.sources import OUTER_FOLDS, Folds, Known, Source, Unfitted
from t2.heads import CurveHead, HeadShape, LayerwiseRegression
from t2.heads.base import Prediction, Targets
from t2.predictions import PredictionsOf, load_predictions
from t2.training.cross_validation import FitsOnCores, TrainSettings, head_fit_predict
from t2.training.trainer import fitted_sources, remove_if_contained, unfinished

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
    targets = Targets(
        torch.rand(NUM_QUESTIONS, 3, generator=generator).sort(1).values,
        torch.randint(2, (NUM_QUESTIONS,), generator=generator),
        torch.rand(NUM_QUESTIONS, generator=generator) < 0.2,
        torch.randn(NUM_QUESTIONS, generator=generator),
        torch.arange(NUM_QUESTIONS) % 2,
    )
    shape = HeadShape(2, 16, GRID, (1, 3))
    unfitted = Unfitted(
        "head", "head", head_fit_predict(make_head, shape, pooled_QLD, targets, TrainSettings(max_epochs=2))
    )
    alone, together = (unfitted.fitted(FOLDS[0], FitsOnCores(n)) for n in (1, 2))
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
    assert load_predictions(path).of.eps == 0.5
    kept = tmp_path / "predictions.unfinished.safetensors.other"
    assert load_predictions(kept).of == OF, "an hour of training was overwritten at the first finished source"
    assert "is of other eps: kept as" in capsys.readouterr().out.replace("\n", " ")


def test_what_was_not_asked_for_now_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "predictions.unfinished.safetensors"
    by_seed = fitted([Counted("a"), Counted("b")], OF, path)
    remove_if_contained(path, {0: by_seed[0]})
    assert path.exists()
    remove_if_contained(path, by_seed)
    assert not path.exists()
    remove_if_contained(path, by_seed)
