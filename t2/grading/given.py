"""Grades that come with imported samples, and graders by name."""

from __future__ import annotations

from collections.abc import Sequence

from t2.errors import T2Error
from t2.grading.exact import ExactGrader, normalise
from t2.grading.grade import FINISHED
from t2.grading.numeric import NumericGrader
from t2.spec import Grader
from t2.store.pool_spec import PoolSpec
from t2.store.sample_file import GivenSample

GIVEN = "given"


class GivenGrader(ExactGrader):
    """Stands for the grades of an imported pool, which lie beside its samples; a bare text is its own class."""

    def __init__(self) -> None:
        """Whole texts, no marker."""
        super().__init__(marker="")

    @property
    def version(self) -> str:
        """Always the same: what a file says of its samples does not change."""
        return GIVEN


GRADERS: dict[str, type[NumericGrader] | type[ExactGrader]] = {"numeric": NumericGrader, "exact": ExactGrader}
"""Graders by name; as they are here they read the number or the text after `####`."""


def grader_named(name: str) -> Grader:
    """A grader of `GRADERS` with its defaults, or the given grades for "given".

    Raises:
        T2Error: no grader of that name.
    """
    if name == GIVEN:
        return GivenGrader()
    if name not in GRADERS:
        raise T2Error(f"Expected a grader among {sorted([*GRADERS, GIVEN])}, got {name!r}.")
    return GRADERS[name]()


def grader_of_pool(spec: PoolSpec) -> Grader:
    """What grades a pool if nobody says: its recorded default, else the given grades if it was imported.

    Raises:
        T2Error: a pool that t2 label fills. It does not record a grader, and a wrong guess would read no answer.
    """
    if spec.default_grader is None and not spec.imported:
        raise T2Error(
            "Expected a grader, got none: a pool that t2 label fills does not record how its answers are read. Name "
            "the config that fills it instead of its folder, or the grader: numeric or exact, both after ####."
        )
    return grader_named(spec.default_grader or GIVEN)


def given_classes(gold: str, samples: Sequence[GivenSample], where: str) -> list[str | None]:
    """The class each sample votes for by what the file says; None abstains.

    A sample flagged correct votes for the gold answer's class, as does every sample with the same answer; any other
    votes for its own normalised answer. Unfinished samples abstain, whatever their flag.

    Args:
        gold: the normalised gold answer.
        samples: of one question, the greedy answer too.
        where: FILE:LINE, for errors.

    Raises:
        T2Error: flags that contradict each other or the gold answer, or `correct: true` without an answer.
    """
    votes = [_vote(sample) for sample in samples]
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
    said = sample.answer if sample.has_answer else sample.text
    return normalise(said) or None if said is not None and sample.finish_reason == FINISHED else None
