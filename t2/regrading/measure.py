"""What a grader made of the samples, and what changes from one grader to another. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from t2.spec import GREEDY_DRAW, Grade


@dataclass(frozen=True)
class GradedSample:
    """One stored answer as a grader sees it."""

    draw: int
    text: str
    """the output, or the bare answer of an imported sample"""
    finished: bool
    grade: Grade

    @property
    def is_greedy(self) -> bool:
        """Whether this is the temperature 0 answer, which has no vote."""
        return self.draw == GREEDY_DRAW


@dataclass(frozen=True)
class QuestionGrades:
    """A question's samples as a grader sees them."""

    id: str
    answer: str
    """gold, as the task has it"""
    gold: str
    """its class"""
    samples: tuple[GradedSample, ...]
    """in order of draw, the greedy answer first if there is one"""

    def is_right(self, sample: GradedSample) -> bool:
        return sample.grade.answer_class == self.gold

    @property
    def votes(self) -> Counter[str]:
        """Samples that vote for each class, the most frequent first."""
        classes = (s.grade.answer_class for s in self.samples if not s.is_greedy)
        return Counter(each for each in classes if each is not None)


@dataclass(frozen=True)
class How:
    """The samples whose grade was reached in one way."""

    how: str
    samples: int
    abstain: int
    right: int
    example: str
    """text of the first"""


def ways(questions: Iterable[QuestionGrades]) -> list[How]:
    """In how many ways grades were reached, the most frequent first."""
    counts: dict[str, list[int]] = {}
    examples: dict[str, str] = {}
    for question in questions:
        for sample in question.samples:
            how, grade = sample.grade.how, sample.grade
            count = counts.setdefault(how, [0, 0, 0])
            for index, applies in enumerate((True, grade.answer_class is None, question.is_right(sample))):
                count[index] += applies
            examples.setdefault(how, sample.text)
    ordered = sorted(counts.items(), key=lambda item: -item[1][0])
    return [How(how, samples, abstain, right, examples[how]) for how, (samples, abstain, right) in ordered]


@dataclass(frozen=True)
class ChangedSample:
    """A sample that two graders see differently."""

    before: GradedSample
    after: GradedSample


@dataclass(frozen=True)
class QuestionChange:
    """What changes in a question from one grader to another; the greedy answer counts as a sample here."""

    before: QuestionGrades
    after: QuestionGrades
    changed: tuple[ChangedSample, ...]
    """samples that vote with others, or abstain, or do so no more"""

    @property
    def id(self) -> str:
        return self.before.id

    @property
    def newly_abstaining(self) -> int:
        """Samples that abstain by the second grader alone."""
        return sum(pair.after.grade.answer_class is None for pair in self.changed)

    @property
    def newly_read(self) -> int:
        """Samples that abstain by the first grader alone."""
        return sum(pair.before.grade.answer_class is None for pair in self.changed)

    @property
    def moved(self) -> int:
        """Samples that vote by both graders, but with others."""
        return len(self.changed) - self.newly_abstaining - self.newly_read

    @property
    def right_before(self) -> int:
        return sum(map(self.before.is_right, self.before.samples))

    @property
    def right_after(self) -> int:
        return sum(map(self.after.is_right, self.after.samples))

    @property
    def flipped(self) -> int:
        """Samples that are right by one grader and wrong by the other."""
        pairs = zip(self.before.samples, self.after.samples, strict=True)
        return sum(self.before.is_right(one) != self.after.is_right(other) for one, other in pairs)


def changes(before: Sequence[QuestionGrades], after: Sequence[QuestionGrades]) -> list[QuestionChange]:
    """What changes, question by question; the same questions with the same samples, in the same order."""
    return [QuestionChange(one, other, _changed(one, other)) for one, other in zip(before, after, strict=True)]


def _changed(before: QuestionGrades, after: QuestionGrades) -> tuple[ChangedSample, ...]:
    """Graders name classes in their own ways, so each class is first matched with the one that shares most samples.

    The gold answers' classes are matched beforehand: who votes for them is right.
    """
    pairs = list(zip(before.samples, after.samples, strict=True))
    classes = [(one.grade.answer_class, other.grade.answer_class) for one, other in pairs]
    shared = Counter((one, other) for one, other in classes if one is not None and other is not None)
    matched: dict[str | None, str | None] = {before.gold: after.gold, None: None}
    taken = {after.gold}
    for (one, other), _ in sorted(shared.items(), key=lambda item: -item[1]):
        if one not in matched and other not in taken:
            matched[one] = other
            taken.add(other)
    differs = [one not in matched or matched[one] != other for one, other in classes]
    return tuple(ChangedSample(*pair) for pair, differ in zip(pairs, differs, strict=True) if differ)
