"""Shadow mode: what a plan would have drawn of a question whose samples were all drawn, as before, and answered. Pure.

The plan is walked over the samples in order of draw: which it would have drawn in each round, when it would have
stopped, and whether its vote is that of all. A greedy answer was not drawn, so nobody knows whether it agrees: that is
recorded as unknown, and its length as that of a mean sample.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Literal

from t2.answering.asking import PromptForm
from t2.answering.plan import QuestionPlan
from t2.answering.question import Answered
from t2.errors import T2Error
from t2.json_record import JsonRecord
from t2.voting import majority


@dataclass(frozen=True)
class Replayed:
    """What a plan makes of samples that are there already."""

    rounds: tuple[int, ...]
    """samples of each round"""
    is_greedy: bool
    """it would have given the answer at temperature 0, which was not drawn"""
    was_cut: bool
    """it would have gone on, but no more samples had been drawn"""
    agrees: bool | None
    """whether its vote is that of all samples; None: unknown, a greedy answer"""
    confidence: float | None
    """probability that its answer is right, given its votes; None: it cannot be known, or nobody voted"""
    tokens: float
    """generated, of all its samples"""
    critical_path: float
    """tokens that are waited for: the longest sample of each round, summed over rounds"""

    @property
    def samples(self) -> int:
        return sum(self.rounds)


def replayed(plan: QuestionPlan, votes: Sequence[Hashable | None], tokens: Sequence[int]) -> Replayed:
    """Walk a plan over drawn samples.

    Args:
        plan: of the question.
        votes: answer class of each sample in order of draw, None where it abstained; at least one sample.
        tokens: generated tokens of each.
    """
    if not votes or len(votes) != len(tokens):
        raise ValueError(f"Expected votes and tokens of at least one sample, got {len(votes)} and {len(tokens)}.")
    if plan.is_greedy:
        mean_tokens = sum(tokens) / len(tokens)
        confidence = None if plan.posterior is None else plan.posterior.greedy_right
        return Replayed((1,), True, False, None, confidence, mean_tokens, mean_tokens)
    rounds: list[int] = []
    used, path, was_cut = 0, 0, False
    while extra := plan.extra(votes[:used], len(rounds)):
        taken = min(extra, len(votes) - used)
        was_cut = taken < extra
        if taken:
            rounds.append(taken)
            path += max(tokens[used : used + taken])
            used += taken
        if was_cut:  # what it says after half a round is nothing that it would ever be asked
            break
    seen = votes[:used]
    return Replayed(
        rounds=tuple(rounds),
        is_greedy=False,
        was_cut=was_cut,
        agrees=majority(seen) == majority(votes),
        confidence=plan.confidence(seen),
        tokens=float(sum(tokens[:used])),
        critical_path=float(path),
    )


@dataclass(frozen=True)
class ShadowText(JsonRecord):
    """What was asked and answered; kept only where the operator wants it."""

    prompt: str
    answers: tuple[str | None, ...]
    """answer class of each sample in order of draw"""
    texts: tuple[str, ...]
    """of each sample"""


@dataclass(frozen=True)
class ShadowRecord(JsonRecord):
    """A request in shadow mode: a line of the log.

    Raises:
        T2Error: numbers that no request can have.
    """

    format: Literal["t2-shadow"]
    format_version: Literal[1]
    time: str
    """when it had been answered, ISO 8601 with the zone"""
    request_id: str
    policy: str
    """that it was planned by, in words"""
    drawn: int
    """samples that were drawn, as without T2"""
    rounds: tuple[int, ...]
    """samples of each round that T2 would have drawn; of a greedy answer one"""
    is_greedy: bool
    """T2 would have given the answer at temperature 0, which was not drawn"""
    was_cut: bool
    """T2 would have gone on, but no more samples had been drawn"""
    agrees: bool | None
    """whether T2's vote is that of all samples; None: unknown, a greedy answer"""
    confidence: float | None
    """probability that T2's answer is right, given its votes"""
    drawn_tokens: int
    """generated, of all samples"""
    tokens: float
    """generated tokens of T2's samples, and what the probe generates; of a greedy answer those of a mean sample"""
    drawn_path: int
    """tokens that were waited for: the longest sample"""
    path: float
    """tokens that T2 would have waited for: the longest sample of each round, summed over rounds"""
    prompt_tokens: int
    fell_back: bool = False
    """the activations could not be had, so that T2 would have drawn a number set beforehand"""
    text: ShadowText | None = None
    prompt: PromptForm | None = None
    """how the request's prompt stood to the head's, to which shadow mode adds nothing: "as sent" or "other"; None: the
    line is older than this field"""

    def __post_init__(self) -> None:
        counts = (self.drawn_tokens, self.tokens, self.drawn_path, self.path, self.prompt_tokens)
        sensible = (
            self.drawn >= 1
            and all(samples >= 1 for samples in self.rounds)
            and 1 <= sum(self.rounds) <= self.drawn
            and all(isfinite(count) and count >= 0 for count in counts)
            and (self.confidence is None or 0 <= self.confidence <= 1)
            and (self.agrees is None) == self.is_greedy
        )
        if not sensible:
            raise T2Error(
                f"Expected a request in shadow mode that can be, got {len(self.rounds)} rounds of {sum(self.rounds)} "
                f"samples among {self.drawn} drawn, {self.tokens:g} and {self.drawn_tokens} tokens, confidence "
                f"{self.confidence}. The line is damaged: remove it."
            )

    @property
    def samples(self) -> int:
        """That T2 would have drawn."""
        return sum(self.rounds)


def shadow_record(
    plan: QuestionPlan,
    policy: str,
    answers: Sequence[Answered],
    votes: Sequence[str | None],
    *,
    time: datetime,
    request_id: str,
    prompt_tokens: int,
    other_tokens: int = 0,
    fell_back: bool = False,
    form: PromptForm | None = None,
    prompt: str | None = None,
) -> ShadowRecord:
    """What is logged of a request.

    Args:
        plan: of its question.
        policy: that it was planned by, in words.
        answers: all that were drawn, in order.
        votes: answer class of each, None where it abstained.
        time: when the request had been answered, with its zone.
        request_id: as the server calls it.
        prompt_tokens: of the prompt, counted once.
        other_tokens: that T2 would have generated besides samples: the probe's.
        fell_back: the activations could not be had.
        form: how its prompt stands to the head's.
        prompt: its text, where texts are to be kept; None: neither it nor any answer is.
    """
    tokens = [answer.tokens for answer in answers]
    would = replayed(plan, votes, tokens)
    texts = tuple(answer.text for answer in answers)
    return ShadowRecord(
        format="t2-shadow",
        format_version=1,
        time=time.isoformat(timespec="milliseconds"),
        request_id=request_id,
        policy=policy,
        drawn=len(answers),
        rounds=would.rounds,
        is_greedy=would.is_greedy,
        was_cut=would.was_cut,
        agrees=would.agrees,
        confidence=would.confidence,
        drawn_tokens=sum(tokens),
        tokens=would.tokens + other_tokens,
        drawn_path=max(tokens),
        path=would.critical_path,
        prompt_tokens=prompt_tokens,
        fell_back=fell_back,
        text=None if prompt is None else ShadowText(prompt=prompt, answers=tuple(votes), texts=texts),
        prompt=form,
    )
