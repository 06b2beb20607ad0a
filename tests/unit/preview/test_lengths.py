"""What another `max_tokens` would truncate, against a plain loop over samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.graded_pools import any_pools, graded_pool
from hypothesis import given
from hypothesis import strategies as st

from t2.grading.graded import GradedPool
from t2.preview.lengths import Lengths
from t2.voting import ABSENT


@given(any_pools(), st.integers(1, 60))
def test_lower_limits_truncate_what_is_longer(pool: GradedPool, limit: int) -> None:
    pool = replace(pool, tokens_QM=pool.tokens_QM.clamp(max=limit))
    samples = [
        (int(pool.tokens_QM[q, m]), bool(pool.truncated_QM[q, m]))
        for q in range(len(pool))
        for m in range(pool.vote_QM.shape[1])
        if int(pool.vote_QM[q, m]) != ABSENT
    ]
    found = Lengths.of(pool, limit)
    for lower, share in found.lower:
        assert lower < limit
        assert share == pytest.approx(sum(n > lower or cut for n, cut in samples) / len(samples))
        assert share >= found.truncated
    lengths = [n for n, _ in samples]
    assert found.mean == pytest.approx(np.mean(lengths))
    assert found.longest == max(lengths)
    assert np.mean([n <= found.most for n in lengths]) >= 0.95
    assert np.mean([n <= found.half for n in lengths]) >= 0.5


def test_lines() -> None:
    pool = graded_pool([[0] * 4, [0] * 4], tokens=[[10, 20, 30, 40], [40, 40, 40, 40]])
    cut_QM = pool.tokens_QM == 40
    cut_QM[1, 0] = False  # it ended exactly there
    assert list(Lengths.of(replace(pool, truncated_QM=cut_QM), 40).lines()) == [
        "32.5 tokens a sample; half of them take at most 40, 95% at most 40, the longest 40",
        "truncated at max_tokens 40: 50.0% (at 10: 87.5%, 20: 75.0%, 30: 62.5%, above at most 50.0%)",
    ]
    assert list(Lengths.of(graded_pool([[0]], tokens=[[1]]), 1).lines())[1] == "truncated at max_tokens 1: 0.0%"
