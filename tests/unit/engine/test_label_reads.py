"""Rows of a batch that ask for the likeliest tokens, beside rows that have chosen theirs."""

from __future__ import annotations

import pytest
import torch

from t2.engine.label_reads import with_likeliest


@pytest.mark.parametrize(("most", "width"), [(2, 3), (5, 5), (99, 8)], ids=["fewer", "more", "more than there are"])
def test_rows_that_have_chosen_none_get_the_likeliest(most: int, width: int) -> None:
    logprob_BV = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    sampled_B, chosen = torch.tensor([3, 1, 4, 1]), {1: [7, 6, 5], 3: [0, 2]}
    ids_BK, value_BK = torch.zeros(4, 4, dtype=torch.int32), torch.full((4, 4), float("-inf"))
    for row in range(4):
        tokens = [int(sampled_B[row]), *chosen.get(row, [])]
        ids_BK[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
        value_BK[row, : len(tokens)] = logprob_BV[row, tokens]
    before = ids_BK.clone(), value_BK.clone()
    ids, values = with_likeliest(ids_BK, value_BK, logprob_BV, set(chosen), most)
    assert ids.shape == values.shape == (4, width + 1)
    for row in chosen:
        assert torch.equal(ids[row, :4], before[0][row])
        assert torch.equal(values[row, :4], before[1][row])
        assert bool((values[row, 4:] == float("-inf")).all())
    for row in (0, 2):
        assert ids[row, 0] == sampled_B[row]
        likeliest = logprob_BV[row].argsort(descending=True)[:width]
        assert ids[row, 1:].tolist() == likeliest.tolist()
        assert torch.equal(values[row, 1:], logprob_BV[row, likeliest])
