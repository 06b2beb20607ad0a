"""Which questions of a pool are complete, and which draws the others still lack: said here and nowhere else. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from t2.spec import GREEDY_DRAW, Question, SampleRequest
from t2.store.reader import ShardReader


def needed_draws(samples_per_question: int, imported: bool = False) -> frozenset[int]:
    """Draws of a complete question: 0..M-1 and the greedy answer; an imported pool may have none and needs none."""
    samples = range(samples_per_question)
    return frozenset(samples if imported else (GREEDY_DRAW, *samples))


def held_draws(reader: ShardReader) -> dict[str, set[int]]:
    """Draw numbers that a pool holds, by question id."""
    held: dict[str, set[int]] = defaultdict(set)
    for table in reader.tables.values():
        for question_id, draw in zip(table["question_id"].to_pylist(), table["draw"].to_pylist(), strict=True):
            held[question_id].add(draw)
    return held


def complete_ids(held: Mapping[str, AbstractSet[int]], needed: AbstractSet[int]) -> set[str]:
    """Ids of the questions that hold every needed draw; what they hold besides does not matter."""
    return {question_id for question_id, draws in held.items() if needed <= draws}


def missing_requests(
    questions: Sequence[Question],
    prompts: Sequence[tuple[int, ...]],
    held: Mapping[str, AbstractSet[int]],
    samples_per_question: int,
    samples_per_request: int,
) -> list[SampleRequest]:
    """Requests that complete the pool, question by question in the order given, the greedy answer first.

    `prompts` are token ids, one prompt a question; `held` are the draws of the pool by question id, which may be more
    than draws 0..M-1 for M `samples_per_question`. A request has at most `samples_per_request` draws.
    """
    requests = []
    for question, prompt in zip(questions, prompts, strict=True):
        missing = sorted(needed_draws(samples_per_question) - held.get(question.id, set()))
        if GREEDY_DRAW in missing:
            # A request of its own: it is drawn at another temperature than the others.
            requests.append(SampleRequest(question.id, prompt, (GREEDY_DRAW,)))
            missing.remove(GREEDY_DRAW)
        for start in range(0, len(missing), samples_per_request):
            requests.append(SampleRequest(question.id, prompt, tuple(missing[start : start + samples_per_request])))
    return requests
