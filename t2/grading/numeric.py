"""Grader for numbers: 1,200, $1200.00 and 2400/2 are one answer."""

from __future__ import annotations

import re
from fractions import Fraction

from t2.spec import Grader

_NUMBER = re.compile(r"[-+]?\s*[$€£¥]?\s*(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d{1,3})?(?:\s*/\s*\d[\d,]*)?")

_UNICODE_MINUS = "\u2212"
_LONGEST = 1000
"""Digits beyond which a number is a looping model, not an answer (Python itself refuses 4,300)."""


def parse_number(text: str) -> Fraction | None:
    """The exact value of the only number in `text`; None if there is none, more than one, or a division by zero.

    Commas inside a number are thousands separators. Units and currency signs around it are ignored.
    """
    numbers = _numbers(text)
    if len(numbers) != 1:
        return None
    numerator, _, denominator = re.sub(r"[,\s$€£¥]", "", numbers[0]).partition("/")
    if len(numbers[0]) > _LONGEST:
        return None
    try:
        return Fraction(numerator) / Fraction(denominator or 1)
    except (ValueError, ZeroDivisionError):
        return None


def _numbers(text: str) -> list[str]:
    # Each run of white space as one space: the pattern takes cubic time on a long one, as a looping model writes it.
    return _NUMBER.findall(" ".join(text.replace(_UNICODE_MINUS, "-").split()))


class NumericGrader(Grader):
    """Reads the number after the last marker (`#### 42`); equal values are one class, exactly and without rounding."""

    def __init__(self, marker: str = "####", require_marker: bool = True) -> None:
        """Set what precedes the final answer.

        Args:
            marker: text before the final answer; its last occurrence counts.
            require_marker: without the marker, abstain (True) or read the text's last number (False).
        """
        self.marker, self.require_marker = marker, require_marker

    @property
    def version(self) -> str:
        return f"numeric-2-{self.marker}-{int(self.require_marker)}"

    def answer_class(self, text: str) -> str | None:
        """The value on the line after the last marker, as a reduced fraction."""
        _, marker, after = text.rpartition(self.marker)
        if marker:
            return self.gold_class(after.strip().split("\n")[0])
        if self.require_marker:
            return None
        numbers = _numbers(text)
        return self.gold_class(numbers[-1]) if numbers else None

    def gold_class(self, answer: str) -> str | None:
        value = parse_number(answer)
        return None if value is None else str(value)
