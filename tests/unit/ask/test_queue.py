"""The queue of `VotingLLM`: every question begins once, rounds come first, and only so many are at work."""

from __future__ import annotations

import random

import pytest

from t2.ask.voting_llm import _GROUP, Request, _Queue
from t2.spec import SampleRequest


def request(index: int, draws: int = 1) -> SampleRequest:
    return SampleRequest(str(index), (1, 2), tuple(range(draws)))


@pytest.mark.parametrize(("questions", "most_begun"), [(1, 1), (5, 1), (100, 8), (100, 64), (33, 128), (0, 4)])
def test_every_question_begins_once_and_only_so_many_are_at_work(questions: int, most_begun: int) -> None:
    rng, begun, rounds_left, at_work = random.Random(0), list[int](), dict[int, int](), set[int]()

    def begin(group: range) -> list[Request]:
        assert len(at_work) < most_begun
        assert len(group) <= min(_GROUP, most_begun)
        begun.extend(group)
        at_work.update(group)
        rounds_left.update((index, rng.randint(0, 3)) for index in group)
        return [request(index) for index in group]

    queue, running = _Queue(questions, begin, most_begun), list[Request]()
    while True:
        while len(running) < 16 and (each := next(queue, None)):
            running.append(each)
        if not running:
            break
        index = int(running.pop(rng.randrange(len(running))).question_id)
        if rounds_left[index]:
            rounds_left[index] -= 1
            queue.add(request(index))
        else:
            at_work.discard(index)
            queue.end_question()
    assert begun == list(range(questions))
    assert not at_work


def test_rounds_of_begun_questions_come_first() -> None:
    queue = _Queue(40, lambda group: [request(index) for index in group], 64)
    first = [next(queue) for _ in range(_GROUP)]
    queue.add(request(3, draws=2))
    assert next(queue) == request(3, draws=2)
    assert [each.question_id for each in first] == [str(index) for index in range(_GROUP)]
    assert next(queue) == request(_GROUP)


def test_a_group_that_asks_for_nothing_ends_nothing() -> None:
    queue = _Queue(3, lambda group: [] if group.start == 0 else [request(index) for index in group], 2)
    with pytest.raises(StopIteration):
        next(queue)  # both places are taken until somebody says that the questions have ended
    for _ in range(2):
        queue.end_question()
    assert next(queue) == request(2)
