"""What a vote-counting rule sees: samples drawn, votes of the leader, votes of the runner-up. Pure."""

from __future__ import annotations

from functools import cached_property, lru_cache

import torch
from torch import Tensor


class VoteStates:
    """All states s = (n, v1, v2) with v2 <= v1 and v1 + v2 <= n <= cap, numbered by rising n.

    The next sample leads to one of three states: a vote for the leader (n+1, v1+1, v2), a vote for the runner-up or for
    a new class that catches up with it (n+1, v1, v2+1), or neither (n+1, v1, v2). Where v1 = v2, a vote for the
    runner-up makes it the leader, so both go to (n+1, v1+1, v2).
    """

    def __init__(self, cap: int) -> None:
        self.cap = cap
        states = [
            (n, v1, v2) for n in range(cap + 1) for v1 in range(n + 1) for v2 in range(min(v1, n - v1) + 1)
        ]  # sorted by n
        self.drawn_S, self.first_S, self.second_S = (torch.tensor(column) for column in zip(*states, strict=True))
        self._starts = torch.searchsorted(self.drawn_S, torch.arange(cap + 2)).tolist()
        self.index_NVV = torch.full((cap + 1, cap + 1, cap + 1), -1)
        self.index_NVV[self.drawn_S, self.first_S, self.second_S] = torch.arange(len(states))
        self.lead_S = self._after(self.first_S + 1, self.second_S)
        tied_S = self.first_S == self.second_S
        self.run_S = torch.where(tied_S, self.lead_S, self._after(self.first_S, self.second_S + 1))
        self.rest_S = self._after(self.first_S, self.second_S)

    def __len__(self) -> int:
        return len(self.drawn_S)

    def level(self, drawn: int) -> slice:
        return slice(self._starts[drawn], self._starts[drawn + 1])

    def successors(self, drawn: int) -> tuple[Tensor, Tensor, Tensor]:
        """Of the states of a level, places in the next level after a vote for the leader, the runner-up, or neither."""
        return self._successors[drawn]

    @cached_property
    def _successors(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of each level but the last. Made once: small plans would spend half their time on slicing."""
        places = []
        for drawn in range(self.cap):
            here, start = self.level(drawn), self._starts[drawn + 1]
            places.append((self.lead_S[here] - start, self.run_S[here] - start, self.rest_S[here] - start))
        return places

    def _after(self, first_S: Tensor, second_S: Tensor) -> Tensor:
        """Number of the successor; a state at the cap has none and points to itself."""
        inside_S = self.drawn_S < self.cap
        safe_S = torch.where(inside_S, self.drawn_S + 1, self.drawn_S)
        next_S = self.index_NVV[safe_S, first_S.clamp(max=self.cap), second_S.clamp(max=self.cap)]
        return torch.where(inside_S, next_S, torch.arange(len(self.drawn_S)))


@lru_cache(maxsize=16)
def vote_states(cap: int) -> VoteStates:
    """The states up to `cap` samples."""
    return VoteStates(cap)
