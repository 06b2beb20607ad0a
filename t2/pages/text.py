"""Text from anywhere (a pool's name, an answer) made fit to be shown, and numbers as text. Pure."""

from __future__ import annotations

import re

from t2.stats.bootstrap import Interval

NOTHING = "–"
"""Where there is nothing to show."""
COST_WORDS = {"tokens": "generated tokens", "samples": "cost in samples"}
"""What the cost of an answer is called, by the `cost_unit` of a pool: one without token counts pays a sample each."""
LONGEST_TEXT = 2000
"""Characters of a text that a page shows; an answer may be a megabyte long."""
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


def clean(text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` without characters that a page cannot show, cut to `longest`. Not escaped: the template does that."""
    cut = text if len(text) <= longest else f"{text[:longest]}… ({len(text):,} characters)"
    return _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", cut)


def number(value: float | None, digits: int = 2) -> str:
    """A number without a negative zero."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text


def span(value: Interval | None, digits: int = 2, scale: float = 1.0) -> str:
    """A value with its interval."""
    if value is None:
        return NOTHING
    middle, low, high = (number(scale * part, digits) for part in (value.value, value.low, value.high))
    return f"{middle} [{low}, {high}]"
