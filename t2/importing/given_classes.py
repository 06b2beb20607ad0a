"""Which class an imported sample votes for, by what its file says of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from t2.errors import T2Error
from t2.grading.exact import normalise
from t2.importing.sample_file import GivenSample
from t2.spec import FINISHED


def given_classes(gold: str, samples: Sequence[GivenSample], where: str) -> list[str | None]:
    """The class each sample votes for by what the file says; None abstains.

    A sample flagged correct votes for the gold answer's class, as does every sample with the same answer; any other
    votes for its own normalised answer. Unfinished samples abstain, whatever their flag.

    `gold` is the normalised gold answer, `samples` are of one question with the greedy answer, `where` is FILE:LINE.

    Raises:
        T2Error: flags that contradict each other or the gold answer, or `correct: true` without an answer.
    """
    votes = [_vote(sample) for sample in samples]
    # Flags are gathered by answer before anything is decided: a flag on one sample speaks for all with its answer.
    flagged: dict[bool, set[str]] = {True: set(), False: set()}
    for sample, vote in zip(samples, votes, strict=True):
        if sample.correct is None or sample.finish_reason != FINISHED:
            continue
        if vote is not None:
            flagged[sample.correct].add(vote)
        elif sample.correct:
            raise T2Error(f"Expected an answer in every sample with `correct: true`, got one without at {where}.")
    if gold in flagged[False]:
        raise T2Error(
            f"Expected `correct: true` for the gold answer, got `correct: false` for {gold[:40]!r} at {where}. "
            "Mend the flag, or leave it out."
        )
    if both := sorted(flagged[True] & flagged[False]):
        raise T2Error(
            f"Expected one `correct` flag for equal answers, got true and false for {both[0][:40]!r} at {where}. "
            "Mend the flags, or leave them out."
        )
    return [gold if vote in flagged[True] else vote for vote in votes]


def _vote(sample: GivenSample) -> str | None:
    """The normalised answer, or text where the file names no answer; None abstains."""
    answer = sample.answer if sample.has_answer else sample.text
    return normalise(answer) or None if answer is not None and sample.finish_reason == FINISHED else None
