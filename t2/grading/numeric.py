"""Grader for numbers: 1,200, $1200.00 and 2400/2 are one answer."""

from __future__ import annotations

from t2.grading.extraction import Extraction, final_answer
from t2.grading.numbers import Reading, last_number, read_number
from t2.spec import Grade, Grader


class NumericGrader(Grader):
    r"""Reads the number after the last marker (`#### 42`) or in the last `\boxed{}`; equal values are one class.

    Values are exact fractions, without rounding. Where a reader could not be sure of the number it abstains.
    """

    def __init__(self, marker: str = "####", require_marker: bool = True) -> None:
        r"""Set what precedes the final answer.

        Args:
            marker: text before the final answer, in any case of letters; its last occurrence counts. `\boxed{` reads
                boxes alone.
            require_marker: without marker and box, abstain (True) or read the text's last number (False).
        """
        self.marker, self.require_marker = marker, require_marker

    @property
    def version(self) -> str:
        return f"numeric-3-{self.marker}-{int(self.require_marker)}"

    def answer_class(self, text: str) -> str | None:
        """The value of the final answer, as a reduced fraction."""
        return self.grade(text).answer_class

    def grade(self, text: str) -> Grade:
        found = final_answer(text, self.marker)
        if found.answer is None and found.how == "no marker" and not self.require_marker:
            return numeric_grade(Extraction(found.shown, "no marker", found.shown), last_number(found.shown))
        return Grade(None, found.how) if found.answer is None else numeric_grade(found, read_number(found.answer))

    def gold_class(self, answer: str) -> str | None:
        value = read_number(answer).value
        return None if value is None else str(value)


def numeric_grade(found: Extraction, reading: Reading) -> Grade:
    """The grade of an answer that was found and read as a number, or was not."""
    if reading.value is None:
        return Grade(None, f"{found.how}: {reading.how}")
    return Grade(str(reading.value), found.how if reading.how == "number" else f"{found.how}, {reading.how}")
