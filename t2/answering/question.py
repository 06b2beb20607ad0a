"""One question while it is answered: votes, rounds, what it has cost, and the answer in the end. Pure.

The same code serves the engine in Python, vLLM's server, and the gateway: who draws the samples is all that differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from t2.answering.plan import QuestionPlan
from t2.grading.grade import vote_of
from t2.spec import Grader
from t2.voting import majority


@dataclass(frozen=True)
class Answered:
    """One drawn answer."""

    text: str
    finish_reason: str
    """`spec.FINISHED`, or what ended it otherwise"""
    tokens: int
    """generated, the end token included"""


@dataclass(frozen=True)
class VotedAnswer:
    """What a question got."""

    answer: str | None
    """the winning answer class, as the grader writes it; None: no sample could be read"""
    text: str | None
    """of the winning class the shortest"""
    confidence: float | None
    """probability that the answer is right, given the votes; None: no answer, or the export cannot know"""
    votes: dict[str, int]
    """of each answer class, most first; of equals the one that came first"""
    samples: int
    tokens: int
    """generated tokens of all samples, the probe's token and aborted samples included"""
    rounds: tuple[int, ...]
    """samples of each round"""
    prompt_tokens: int
    """of the prompt, counted once"""
    samples_at_once: int
    """N_ref: what FixedN would have drawn"""

    @property
    def abstained(self) -> int:
        """Samples without a vote."""
        return self.samples - sum(self.votes.values())

    @property
    def mean_tokens(self) -> float:
        """Of a sample."""
        return self.tokens / self.samples if self.samples else 0.0


@dataclass
class QuestionInProgress:
    """Ask `next_round`, draw, give the samples to `take`; when `next_round` says 0, ask `answer`."""

    plan: QuestionPlan
    grader: Grader
    prompt_tokens: int
    n_ref: int
    """samples"""
    other_tokens: int = 0
    """generated besides the samples: the probe's"""
    votes: list[str | None] = field(default_factory=list)
    taken: list[Answered] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    aborted: int = 0
    """samples that were cancelled before they had ended"""
    is_estimated: bool = False
    """some tokens are guessed, since who generated them has not said how many they are"""

    @property
    def is_greedy(self) -> bool:
        """What is drawn next is the answer at temperature 0."""
        return self.plan.is_greedy

    def next_round(self) -> int:
        """Samples to draw now, 0: the question is answered."""
        return self.plan.extra(self.votes, len(self.rounds))

    def take(self, samples: Sequence[Answered]) -> None:
        """The samples of one round, in order of draw, or as they have ended where all were started at once."""
        self.rounds.append(len(samples))
        for sample in samples:
            self.add(sample)

    def add(self, sample: Answered) -> None:
        """One sample of a running round."""
        self.votes.append(vote_of(self.grader, sample.text, sample.finish_reason))
        self.taken.append(sample)

    def abort(self, num_samples: int, tokens: int) -> None:
        """Samples that were cancelled: their tokens are paid, they have no vote."""
        self.aborted += num_samples
        self.other_tokens += tokens

    @property
    def at_once(self) -> int:
        """Samples to start where all that may be needed are started at once."""
        return self.plan.at_once

    @property
    def winner(self) -> int | None:
        """Index of the answer that is shown: the shortest text of the winning class, of equals the first."""
        won = majority(self.votes)
        if won is None:
            return None
        return min((i for i, vote in enumerate(self.votes) if vote == won), key=lambda i: (len(self.taken[i].text), i))

    @property
    def confidence(self) -> float | None:
        return self.plan.confidence(self.votes)

    @property
    def tokens(self) -> int:
        """Generated so far, the probe's included."""
        return self.other_tokens + sum(sample.tokens for sample in self.taken)

    def answer(self) -> VotedAnswer:
        """What the votes say by now."""
        winner = self.winner
        counts = Counter(vote for vote in self.votes if vote is not None)
        return VotedAnswer(
            answer=None if winner is None else self.votes[winner],
            text=None if winner is None else self.taken[winner].text,
            confidence=self.confidence,
            votes=dict(counts.most_common()),
            samples=len(self.votes) + self.aborted,
            tokens=self.tokens,
            rounds=tuple(self.rounds),
            prompt_tokens=self.prompt_tokens,
            samples_at_once=self.n_ref,
        )
