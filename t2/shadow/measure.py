"""What T2 would have been worth on the traffic that shadow mode has logged: agreement, tokens and waits saved. Pure.

Requests count as independent: who asks the same question a hundred times gets intervals that are too narrow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor

from t2.answering.asking import PromptForm
from t2.errors import T2Error
from t2.shadow.replay import ShadowRecord
from t2.stats.bootstrap import Interval, interval, mean_interval, resampled_means

GREEDY = 0
"""Stands for the greedy answer among numbers of rounds."""


@dataclass(frozen=True)
class ShadowGroup:
    """Some of the requests. Intervals: 95%, over requests."""

    requests: int
    known: int
    """whose vote can be compared: all but greedy answers"""
    agreement: Interval | None
    """share of the known ones in which T2's vote is that of all samples, exact interval; None: none is known"""
    samples: Interval
    """that T2 would have drawn, mean of a request"""
    drawn: float
    """samples that were drawn, mean of a request"""
    rounds: Interval
    """waits of T2, mean of a request"""
    saved: Interval
    """share of the generated tokens that T2 would have left out; negative: it would have generated more"""
    path_ratio: Interval
    """of the tokens that are waited for, T2's to those of all samples at once"""
    confidence: Interval | None
    """mean probability that T2's answer is right, where it is known"""


@dataclass(frozen=True)
class ShadowReport:
    """A log in numbers."""

    first: str
    """time of the first record"""
    last: str
    policies: tuple[str, ...]
    """that planned, the most frequent first"""
    everything: ShadowGroup
    by_rounds: dict[int, ShadowGroup]
    """by the number of T2's rounds; 0: the greedy answer"""
    by_samples: dict[int, ShadowGroup]
    """by the number of samples that T2 would have drawn, greedy answers left out"""
    cut: int
    """requests in which T2 would have gone on, but no more samples had been drawn"""
    cut_agreeing: int
    """those of them whose votes say the same so far"""
    fell_back: int
    """requests whose activations could not be had"""
    other_prompts: int
    """requests whose prompt was another one than the head's, so that what it says of them means little"""
    unknown_prompts: int
    """requests of which the log does not say, since it is older"""

    @property
    def greedy(self) -> int:
        """Requests that would have got the greedy answer, which was not drawn."""
        return self.everything.requests - self.everything.known

    @property
    def most_changed(self) -> float:
        """Share of the requests whose answer T2 may have changed at most.

        Votes that differ, all greedy answers, and those that were cut: what was not drawn might have changed the vote.
        """
        whole = self.everything
        same = whole.agreement.value * whole.known if whole.agreement else 0.0
        return 1 - (same - self.cut_agreeing) / whole.requests

    @property
    def verdict(self) -> str:
        """The answer, in a sentence."""
        whole = self.everything
        return (
            f"On {whole.requests:,} requests T2 would have drawn {whole.samples.value:.1f} samples instead of "
            f"{whole.drawn:.1f}, which leaves out {_percent(whole.saved)} of the generated tokens, and would have "
            f"changed the answer in at most {100 * self.most_changed:.1f}%: accuracy cannot have moved by more points "
            "than that."
        )

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"most_changed": self.most_changed, "verdict": self.verdict}


def measured(records: Iterable[ShadowRecord], num_resamples: int = 2000) -> ShadowReport:
    """Everything that is said of a log.

    Raises:
        T2Error: it holds no request.
    """
    rows: list[tuple[float, ...]] = []
    times: list[str] = []
    policies: Counter[str] = Counter()
    forms: Counter[PromptForm | None] = Counter()
    cut = cut_agreeing = fell_back = 0
    for record in records:
        rows.append(_row(record))
        times.append(record.time)
        policies[record.policy] += 1
        cut += record.was_cut
        cut_agreeing += record.was_cut and record.agrees is True
        fell_back += record.fell_back
        forms[record.prompt] += 1
    if not rows:
        raise T2Error("Expected at least one request in the log of shadow mode, got none. Let the server answer some.")
    value_QP = torch.tensor(rows, dtype=torch.float64)
    rounds_Q = torch.where(value_QP[:, _AGREES].isnan(), GREEDY, value_QP[:, _ROUNDS])
    sampled_QP = value_QP[rounds_Q != GREEDY]
    return ShadowReport(
        first=min(times),
        last=max(times),
        policies=tuple(policy for policy, _ in policies.most_common()),
        everything=_group(value_QP, num_resamples),
        by_rounds=_groups(value_QP, rounds_Q, num_resamples),
        by_samples=_groups(sampled_QP, sampled_QP[:, _SAMPLES], num_resamples),
        cut=cut,
        cut_agreeing=cut_agreeing,
        fell_back=fell_back,
        other_prompts=forms["other"],
        unknown_prompts=forms[None],
    )


_SAMPLES, _DRAWN, _ROUNDS, _TOKENS, _DRAWN_TOKENS, _PATH, _DRAWN_PATH, _AGREES, _CONFIDENCE = range(9)
"""Columns of `_row`."""


def _row(record: ShadowRecord) -> tuple[float, ...]:
    """Its numbers; NaN: not known."""
    nan = float("nan")
    return (
        *(record.samples, record.drawn, len(record.rounds)),
        *(record.tokens, record.drawn_tokens, record.path, record.drawn_path),
        nan if record.agrees is None else float(record.agrees),
        nan if record.confidence is None else record.confidence,
    )


def _groups(value_QP: Tensor, of_Q: Tensor, num_resamples: int) -> dict[int, ShadowGroup]:
    return {int(of): _group(value_QP[of_Q == of], num_resamples) for of in sorted(set(of_Q.tolist()))}


def _group(value_QP: Tensor, num_resamples: int) -> ShadowGroup:
    agrees_A = _known(value_QP[:, _AGREES])
    confidence_C = _known(value_QP[:, _CONFIDENCE])
    means_RP = resampled_means(value_QP[:, :_AGREES], num_resamples)

    def mean(column: int) -> Interval:
        return interval(float(value_QP[:, column].mean()), means_RP[:, column])

    def ratio(over: int, under: int) -> Interval:
        totals = value_QP.sum(0)
        # Nobody generated anything: nothing is saved, and nothing is waited for longer.
        value = float(totals[over] / totals[under]) if float(totals[under]) else 1.0
        return interval(value, means_RP[:, over] / means_RP[:, under])

    tokens = ratio(_TOKENS, _DRAWN_TOKENS)
    return ShadowGroup(
        requests=len(value_QP),
        known=len(agrees_A),
        agreement=share_interval(int(agrees_A.sum()), len(agrees_A)) if len(agrees_A) else None,
        samples=mean(_SAMPLES),
        drawn=float(value_QP[:, _DRAWN].mean()),
        rounds=mean(_ROUNDS),
        saved=Interval(1 - tokens.value, 1 - tokens.high, 1 - tokens.low),
        path_ratio=ratio(_PATH, _DRAWN_PATH),
        confidence=mean_interval(confidence_C, num_resamples) if len(confidence_C) else None,
    )


def _known(value_Q: Tensor) -> Tensor:
    return value_Q[~value_Q.isnan()]


def share_interval(successes: int, trials: int) -> Interval:
    """A share with its exact 95% interval (Clopper and Pearson 1934): that of a bootstrap has no width at 0 and 1."""
    exact = binomtest(successes, trials).proportion_ci(0.95, method="exact")
    return Interval(successes / trials, float(exact.low), float(exact.high))


def _percent(value: Interval) -> str:
    return f"{100 * value.value:.1f}% [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def labels_of_rounds(rounds: Sequence[int]) -> list[str]:
    """What groups by rounds are called."""
    return ["greedy answer" if each == GREEDY else f"{each} round{'s' if each > 1 else ''}" for each in rounds]
