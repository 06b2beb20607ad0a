"""The queue of `VotingLLM`: every question begins once, rounds come first, and the longest question before others."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from t2.ask.question_queue import GROUP, FirstRound, QuestionQueue, Request
from t2.sampling.probes import ProbeRequest
from t2.spec import SampleRequest


def request(index: int, draws: int = 1, first: int = 0) -> SampleRequest:
    return SampleRequest(str(index), (1, 2), tuple(range(first, first + draws)))


def first(index: int, steps: float = 1.0) -> FirstRound:
    return FirstRound(request(index), steps)


def probe(index: int) -> ProbeRequest:
    return ProbeRequest(str(index), (1, 2), (64, 65))


@pytest.mark.parametrize("probes", [True, False], ids=["probed", "not probed"])
@pytest.mark.parametrize(("questions", "most_ahead"), [(1, 1), (5, 1), (100, 8), (100, 64), (33, 128), (0, 4)])
def test_every_question_begins_once_and_only_so_many_wait(questions: int, most_ahead: int, probes: bool) -> None:
    rng, begun, rounds_left, ahead = random.Random(0), list[int](), dict[int, int](), set[int]()

    def begin(group: range) -> Sequence[ProbeRequest | FirstRound]:
        assert len(ahead) + len(group) <= most_ahead
        begun.extend(group)
        ahead.update(group)
        rounds_left.update((index, rng.randint(0, 3)) for index in group)
        return [probe(index) if probes else first(index) for index in group]

    queue, running, ended = QuestionQueue(questions, begin, most_ahead), list[Request](), list[int]()
    while True:
        while len(running) < 16 and (each := next(queue, None)):
            running.append(each)
            if isinstance(each, SampleRequest):
                ahead.discard(int(each.question_id))
        if not running:
            break
        each = running.pop(rng.randrange(len(running)))
        index = int(each.question_id)
        if isinstance(each, ProbeRequest):
            queue.end_probes([first(index, rng.random())])
        elif rounds_left[index]:
            rounds_left[index] -= 1
            queue.add_round(request(index))
        else:
            ended.append(index)
    assert begun == sorted(ended) == list(range(questions))
    assert not ahead


def test_rounds_then_probes_then_the_longest_first_round_of_equals_the_first() -> None:
    queue = QuestionQueue(40, lambda group: [probe(index) for index in group], 64)
    assert [next(queue) for _ in range(GROUP)] == [probe(index) for index in range(GROUP)]
    queue.end_probes([first(0, 20.0), first(1, 50.5), first(2, 20.0)])
    queue.add_round(request(7, 3, first=4))
    assert next(queue) == request(7, 3, first=4)
    assert [next(queue) for _ in range(40 - GROUP)] == [probe(index) for index in range(GROUP, 40)]
    assert [next(queue) for _ in range(3)] == [request(1), request(0), request(2)]
    with pytest.raises(StopIteration):
        next(queue)
    queue.end_probes([first(3)])  # it goes on after it has run dry
    assert next(queue) == request(3)
