"""A head's raw outputs through columns beyond the vocabulary: read back as they were, and nothing else is touched."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.engine_heads import GRID, HEADS, taught
from torch import Tensor

from t2.activations.cache import as_stored
from t2.engine.head_columns import HIGHEST, LOWEST, REFERENCE, HeadColumns, column_ids, raw_outputs
from t2.errors import T2Error
from t2.heads import Head, HeadShape

VOCAB, WIDTH, NUM = 70, 16, 20
SHAPE = HeadShape(num_layers=2, width=WIDTH, grid=GRID, label_grid=(1, 3))


def rows(seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits of a vocabulary, and hidden states of two layers side by side."""
    generator = torch.Generator().manual_seed(seed)
    logits = 8 * torch.randn(NUM, VOCAB, generator=generator)
    tapped = torch.randn(NUM, 2 * WIDTH, generator=generator)
    return logits.to(dtype), tapped.to(dtype)


def head_named(name: str) -> Head:
    return taught(HEADS[name][0](SHAPE), rows(1)[1].unflatten(-1, (2, WIDTH)))


class Says(torch.nn.Module):
    """Stands for a head that says the same of every prompt."""

    def __init__(self, *raw: float) -> None:
        super().__init__()
        self.raw_O, self.shape = torch.tensor(raw), SHAPE

    def folded(self) -> Says:
        return self

    def forward(self, pooled_BLD: Tensor) -> Tensor:
        return self.raw_O.expand(len(pooled_BLD), -1)


def read(wide_BV: Tensor, row: int = 0) -> Tensor:
    """As vLLM does: log probabilities of the last columns."""
    outputs = wide_BV.shape[1] - VOCAB - 1
    return raw_outputs(wide_BV.log_softmax(-1)[row, list(column_ids(VOCAB, outputs))].tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", HEADS)
def test_every_head_is_read_back(name: str, dtype: torch.dtype) -> None:
    head = head_named(name)
    logits, tapped = rows(dtype=dtype)
    wide = HeadColumns(head, VOCAB)(logits, tapped)
    assert wide.dtype == torch.float32
    assert wide.shape == (NUM, VOCAB + head.num_outputs + 1)
    own = head(as_stored(tapped.unflatten(-1, (2, WIDTH))))
    read_BO = torch.stack([read(wide, row) for row in range(NUM)])
    assert torch.allclose(read_BO, own, atol=1e-3, rtol=0)
    for part, value in vars(head.predict(own)).items():
        again = getattr(head.predict(read_BO), part)
        assert again is value is None or torch.allclose(again, value, atol=1e-3), part
    assert own.std(0).max() > 0.1  # prompts differ, so this could have failed


def test_nothing_else_is_touched() -> None:
    logits, tapped = rows(dtype=torch.bfloat16)
    wide = HeadColumns(head_named("CurveHead"), VOCAB)(logits, tapped)
    assert torch.equal(wide[:, :VOCAB], logits.float())
    for temperature in (0.5, 1.0, 2.0):
        share_BV = (wide / temperature).softmax(-1)
        assert bool((share_BV[:, VOCAB:] == 0).all())
        assert torch.allclose(share_BV[:, :VOCAB], (logits.float() / temperature).softmax(-1), rtol=1e-6)


def test_what_is_no_number_spoils_no_row_and_is_told() -> None:
    logits, tapped = rows()
    tapped[3] = math.inf
    wide = HeadColumns(head_named("CurveHead"), VOCAB)(logits, tapped)
    assert bool(wide.isfinite().all())
    read(wide, 2)
    with pytest.raises(T2Error, match="Expected raw outputs of the head between -900 and 200 from the engine, got"):
        read(wide, 3)


@pytest.mark.parametrize("raw", [HIGHEST + 1, LOWEST - 1, math.nan, math.inf, -math.inf])
def test_what_is_too_large_stays_away_from_the_vocabulary_and_is_told(raw: float) -> None:
    logits, tapped = rows()
    wide = HeadColumns(Says(0.0, raw), VOCAB)(logits, tapped)  # type: ignore[arg-type]  # stands for a head
    assert float(wide[:, VOCAB:].max()) <= REFERENCE + HIGHEST
    with pytest.raises(T2Error, match=r"not finite, or the export is not of this LLM. Ask without the head"):
        read(wide)


@pytest.mark.parametrize("raw", [(-150.0, 3.25, 150.0), (0.0, -700.0)])
def test_large_numbers_are_read_back(raw: tuple[float, ...]) -> None:
    logits, tapped = rows()
    wide = HeadColumns(Says(*raw), VOCAB)(logits, tapped)  # type: ignore[arg-type]  # stands for a head
    assert read(wide).tolist() == pytest.approx(raw, abs=1e-3)


def test_features_are_recorded_where_somebody_asks() -> None:
    columns, (logits, tapped) = HeadColumns(head_named("CurveHead"), VOCAB), rows()
    columns(logits, tapped)
    columns.record = []
    columns(logits[:2], tapped[:2])
    (pooled_BLD,) = columns.record
    assert torch.equal(pooled_BLD, as_stored(tapped[:2].unflatten(-1, (2, WIDTH))))


def test_log_probabilities_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(T2Error, match="Expected raw outputs"):
        raw_outputs([math.nan, -1000.0])
