"""Graded pools for tests: by hand, and at random."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from t2.grading.graded import GradedPool
from t2.voting import ABSENT, ABSTAINED


def graded_pool(votes: list[list[int]], tokens: list[list[int]] | None = None, **changed: Any) -> GradedPool:
    """Class 0 is correct; rows are padded with ABSENT; 10 tokens a sample unless said otherwise."""
    width, num = max(map(len, votes), default=1), len(votes)
    vote_QM = torch.tensor([row + [ABSENT] * (width - len(row)) for row in votes]).reshape(num, width)
    tokens = tokens if tokens is not None else [[10] * len(row) for row in votes]
    pool = GradedPool(
        question_ids=tuple(f"q{i}" for i in range(num)),
        dedup_keys=tuple(f"k{i}" for i in range(num)),
        families=("",) * num,
        sizes=(0,) * num,
        vote_QM=vote_QM,
        right_QM=vote_QM == 0,
        tokens_QM=torch.tensor([row + [0] * (width - len(row)) for row in tokens]).reshape(num, width),
        truncated_QM=torch.zeros(vote_QM.shape, dtype=torch.bool),
        greedy_right_Q=torch.zeros(num, dtype=torch.bool),
        greedy_tokens_Q=torch.full((num,), 10),
        prompt_tokens_Q=torch.full((num,), 5),
        greedy_present_Q=torch.ones(num, dtype=torch.bool),
    )
    return replace(pool, **changed)


def random_pool(num: int = 30, samples: int = 16, seed: int = 0, ragged: bool = False) -> GradedPool:
    """Easy to hopeless questions with abstentions; class 0 is correct; lengths differ."""
    generator = torch.Generator().manual_seed(seed)
    votes, tokens = [], []
    for q in range(num):
        size = samples - (q % 4 if ragged else 0)
        shares = torch.tensor([0.1, q / num + 0.05, 0.4, 0.2])  # abstains, correct, two wrong
        votes.append((torch.multinomial(shares, size, replacement=True, generator=generator) - 1).tolist())
        tokens.append(torch.randint(5, 200, (size,), generator=generator).tolist())
    return graded_pool(votes, tokens)


def mixed_pool(num: int = 60, samples: int = 16, seed: int = 0) -> GradedPool:
    """All kinds of questions: right answers from never to always, rivals, abstentions, lengths, shared keys."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    right_Q = torch.linspace(-0.2, 1.2, num).clamp(0, 1)
    wrong_QM = 1 + (uniform(num, samples) * (1 + 4 * uniform(num, 1))).long()
    vote_QM = torch.where(uniform(num, samples) < right_Q[:, None], 0, wrong_QM)
    vote_QM[(uniform(num, samples) < 0.05) & (vote_QM != 0)] = ABSTAINED
    return graded_pool(
        vote_QM.tolist(),
        dedup_keys=tuple(f"k{i // 2 if i < 10 else i}" for i in range(num)),
        tokens_QM=(20 + 100 * uniform(num, 1) + 30 * uniform(num, samples)).long(),
        greedy_right_Q=uniform(num) < right_Q,
    )


@st.composite
def any_pools(draw: st.DrawFn, questions: int = 6, samples: int = 7) -> GradedPool:
    """Small pools of all kinds: ragged, abstentions, any class of a question correct or none, some samples free.

    Args:
        draw: of Hypothesis.
        questions: most of them.
        samples: most of a question.
    """
    # Drawn once for all: else some question would nearly always have one sample, and answers would seldom agree.
    fewest, classes = draw(st.integers(1, samples)), draw(st.integers(0, 4))
    sample = st.tuples(st.integers(ABSTAINED, classes - 1), st.integers(0, 99))
    rows = draw(st.lists(st.lists(sample, min_size=fewest, max_size=samples), min_size=1, max_size=questions))
    pool = graded_pool([[vote for vote, _ in row] for row in rows], [[tokens for _, tokens in row] for row in rows])

    def drawn(each: st.SearchStrategy[Any]) -> Tensor:
        return torch.tensor(draw(st.lists(each, min_size=len(rows), max_size=len(rows))))

    right_Q, lengths = drawn(st.integers(0, classes)), st.integers(0, 99)
    return replace(
        pool,
        right_QM=pool.vote_QM == right_Q[:, None],
        greedy_right_Q=drawn(st.booleans()),
        greedy_tokens_Q=drawn(lengths),
        prompt_tokens_Q=drawn(lengths),
    )


def batch_with_easy_run(easy: int, hard: int, seed: int, samples: int = 12) -> tuple[GradedPool, Tensor]:
    """A pool of `easy` unanimous questions whose hardness has others below and above it, some of them alike.

    Returns:
        The pool, ragged, its questions in no order; and the hardness of each.
    """
    generator = torch.Generator().manual_seed(seed)
    others = random_pool(max(1, hard), samples, seed, ragged=True)
    votes = [[v for v in row if v != ABSENT] for row in others.vote_QM.tolist()[:hard]]
    votes += [[0] * (samples - q % 3) for q in range(easy)]
    harder = int(torch.randint(0, hard + 1, (), generator=generator))
    below, above = torch.arange(hard - harder), hard - harder + easy + torch.arange(harder)
    hardness_Q = torch.cat([below, above, hard - harder + torch.arange(easy)]) // 2
    order_Q = torch.randperm(len(votes), generator=generator)
    pool = graded_pool(
        [votes[q] for q in order_Q.tolist()],
        [torch.randint(1, 99, (len(votes[q]),), generator=generator).tolist() for q in order_Q.tolist()],
    )

    def any_of(most: int) -> Tensor:
        return torch.randint(0, most, (len(pool),), generator=generator)

    return replace(
        pool, greedy_right_Q=any_of(2).bool(), greedy_tokens_Q=any_of(99), prompt_tokens_Q=any_of(99)
    ), hardness_Q[order_Q].double()


def with_tokens_shuffled(pool: GradedPool) -> GradedPool:
    """The same answers with another question's lengths."""
    order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(7))
    return replace(pool, tokens_QM=pool.tokens_QM[order])
