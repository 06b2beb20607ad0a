"""A graded pool against plain counting, one sample at a time."""

from __future__ import annotations

import torch
from helpers.graded_pools import graded_pool, random_pool
from hypothesis import given, settings
from hypothesis import strategies as st

from t2.hashing import unit_interval
from t2.voting import ABSENT, ABSTAINED

VOTES = st.lists(st.lists(st.integers(ABSTAINED, 4), min_size=1, max_size=9), min_size=1, max_size=6)


@settings(deadline=None, max_examples=100)
@given(VOTES, st.integers(0, 1000))
def test_class_counts_are_plain_counts(votes: list[list[int]], seed: int) -> None:
    pool = graded_pool(votes)
    only_QM = torch.rand(pool.vote_QM.shape, generator=torch.Generator().manual_seed(seed)) < 0.6
    choices: list[tuple[torch.Tensor | None, torch.Tensor]] = [(None, torch.ones_like(only_QM)), (only_QM, only_QM)]
    for chosen_QM, kept_QM in choices:
        counts_QC, correct_QC, abstained_Q = pool.class_counts(chosen_QM)
        assert [*counts_QC.shape] == [len(votes), max(1, 1 + max(vote for row in votes for vote in row))]
        for q, row in enumerate(votes):
            kept = [vote for m, vote in enumerate(row) if kept_QM[q, m]]
            assert counts_QC[q].tolist() == [kept.count(c) for c in range(counts_QC.shape[1])]
            assert int(abstained_Q[q]) == kept.count(ABSTAINED)
            # Correct is what a class is, whether it is counted or not.
            assert correct_QC[q].tolist() == [c == 0 and 0 in row for c in range(counts_QC.shape[1])]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 12))
def test_halves_are_those_of_each_draw(num_questions: int, num_draws: int) -> None:
    pool = graded_pool([[0] * num_draws] * num_questions)

    def half(question_id: str, draw: int) -> int:
        return (draw % 2) ^ int(unit_interval("t2-sample-fold", question_id, draw // 2) < 0.5)

    assert pool.fold_QM().tolist() == [[half(q, draw) for draw in range(num_draws)] for q in pool.question_ids]


def test_some_samples_alone() -> None:
    pool = random_pool(num=8, samples=9, ragged=True)
    keep_QM = torch.rand(pool.vote_QM.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    part = pool.only(keep_QM)
    assert part.vote_QM.shape[1] == max((keep_QM & pool.present_QM).sum(1).tolist())
    for q in range(len(pool)):
        kept = [m for m in range(9) if keep_QM[q, m] and pool.present_QM[q, m]]
        for name, padding in (("vote_QM", ABSENT), ("right_QM", False), ("tokens_QM", 0), ("truncated_QM", False)):
            found, whole = getattr(part, name)[q].tolist(), getattr(pool, name)[q].tolist()
            assert found == [whole[m] for m in kept] + [padding] * (len(found) - len(kept))
    counts = [part.class_counts()[0].sum(0), pool.class_counts(keep_QM)[0].sum(0)]
    assert counts[0].tolist() == counts[1].tolist()
