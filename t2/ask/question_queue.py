"""What an engine is asked next: rounds of questions that have begun, then probes, then the longest first round.

The order is all that decides how full the engine is. A question's rounds follow one another, so a question that takes
many must begin early: if it is the last one to begin, the engine waits for it with nothing else to do. Which question
will take long is known from its plan alone, and so questions are probed some way ahead of those that are answered.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from t2.sampling.probes import ProbeRequest
from t2.spec import SampleRequest

GROUP = 32
"""Questions that begin together: their plans are made together."""
Request = ProbeRequest | SampleRequest


@dataclass(frozen=True)
class FirstRound:
    """Of a question whose plan is known."""

    request: SampleRequest
    steps: float
    """decoding steps until its answer, in the mean: its rounds, one after the other"""


class QuestionQueue(Iterator[Request]):
    """Requests that wait; it may go on after it has run dry."""

    def __init__(
        self, num_questions: int, begin: Callable[[range], Sequence[ProbeRequest | FirstRound]], most_ahead: int
    ) -> None:
        """Set what waits.

        Args:
            num_questions: by their places, which begin in order.
            begin: gives what each of some questions begins with, a probe or its first round.
            most_ahead: questions that may have begun and wait for their first round. Their prompts are in the prefix
                cache by then, and must still be there when the round comes.
        """
        self._rounds: deque[SampleRequest] = deque()
        self._probes: deque[ProbeRequest] = deque()
        self._first: list[tuple[float, int, SampleRequest]] = []
        self._num_questions, self._begin, self._most_ahead = num_questions, begin, most_ahead
        self._next, self._probing, self._added = 0, 0, 0

    def add_round(self, request: SampleRequest) -> None:
        """A further round of a question."""
        self._rounds.append(request)

    def end_probes(self, first_rounds: Sequence[FirstRound]) -> None:
        """First rounds of questions whose probes have been read."""
        self._probing -= len(first_rounds)
        self._add(first_rounds)

    def _add(self, begun: Sequence[ProbeRequest | FirstRound]) -> None:
        for each in begun:
            if isinstance(each, ProbeRequest):
                self._probes.append(each)
                self._probing += 1
            else:
                self._added += 1  # of equals the first
                heapq.heappush(self._first, (-each.steps, self._added, each.request))

    def __next__(self) -> Request:
        if self._rounds:
            return self._rounds.popleft()
        while self._next < self._num_questions:
            group = range(self._next, min(self._next + min(GROUP, self._most_ahead), self._num_questions))
            if self._probing + len(self._first) + len(group) > self._most_ahead:
                break
            self._next = group.stop
            self._add(self._begin(group))
        if self._probes:
            return self._probes.popleft()
        if self._first:
            return heapq.heappop(self._first)[2]
        raise StopIteration
