r"""Numbers as people and language models write them, read exactly or not at all. Pure.

1,200, 1.200,00, 1.2k, $1200.00, 2400/2 and "one thousand two hundred" are one value; 1,2,3 and 2π are none. What
remains beside the number must be words, a unit or punctuation: an operator, a second number or a variable means that
the number is a part of something else, and then nothing is read.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from text_to_num import text2num

from t2.grading.spelling import plain

LONGEST = 1000
"""Characters beyond which a line is a looping model, not an answer (Python itself refuses numbers of 4,300 digits)."""
_HUGE = 1000
"""Largest exponent of ten, and about the most digits of a power."""


@dataclass(frozen=True)
class Reading:
    """What a text says as a number."""

    value: Fraction | None
    how: str
    """"number" or "number in words", or why nothing is read"""


_RUN = r"\d+(?:[.,'_]\d+|[ ]\d{3}(?!\d))*"
"""Digits with what may separate them; which of it is a number, `_SPELLINGS` says."""
_FRACTION = r"⟨[^⟨⟩]*⟩"
_SCALES = {"hundred": 2, "thousand": 3, "k": 3, "million": 6, "mn": 6, "billion": 9, "bn": 9, "trillion": 12}
_NUMBER = re.compile(
    rf"""
    (?P<sign>[-+](?P<gap>\s*))? (?:[$€£¥₹]\s*(?P<inner>[-+])?)?
    (?: (?P<whole>{_RUN})\s* (?P<mixed>{_FRACTION})
      | (?P<only>{_FRACTION})
      | (?P<units>\d{{1,9}})[ ](?P<num>\d{{1,9}})\s*/\s*(?P<den>\d{{1,9}})(?![\d/])
      | (?P<run>(?:(?<![\w.])\.)?{_RUN})
        (?: [eE](?P<e>[-+]?\d{{1,4}})(?!\w)
          | (?:\^|\*\*)(?P<power>-?\d{{1,4}})(?![\d.])
          | \s*[×x*]\s*10\s*(?:\^|\*\*)\s*(?P<ten>-?\d{{1,4}})(?![\d.])
          | \s*/\s*(?P<over>-?{_RUN}) )? )
    (?: \s*(?P<percent>%|(?:percent|per\ cent|pct)\b)
      | (?P<k>k\b)
      | [ ](?P<scale>hundred|thousand|million|mn|billion|bn|trillion)\b )?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SPELLINGS = tuple(
    (re.compile(pattern), separators, point)
    for pattern, separators, point in (
        (r"\d*\.?\d+", "", "."),  # 1200, 12.5, .5
        (r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", ",", "."),  # 1,200.5
        (r"\d{1,3}(?: \d{3})+(?:[.,]\d+)?", " ", ".,"),  # 1 200,5
        (r"\d{1,3}(?:'\d{3})+(?:\.\d+)?", "'", "."),  # 1'200.5
        (r"\d{1,3}(?:_\d{3})+(?:\.\d+)?", "_", "."),  # 1_200
        (r"\d{1,3}(?:\.\d{3})+,\d+", ".", ","),  # 1.200,50
        (r"\d{1,3}(?:\.\d{3}){2,}", ".", ""),  # 1.200.000
        (r"\d{1,2}(?:,\d{2})+,\d{3}(?:\.\d+)?", ",", "."),  # 12,34,567, as in India
        (r"\d+,\d{1,2}|0,\d+", "", ","),  # 3,5
    )
)
"""How a run of digits may be written, what separates its thousands, and its decimal point; a group of leading zeros is
no thousand (0,500 is a half)."""

_ORDINAL = re.compile(
    r"\b(?:step|part|case|method|stage|phase|question|problem|example|section|attempt|equation|line|figure|table)s?"
    r"\s*#?\d+(?:\.\d+)*(?:\s*(?:and|to|-|,)\s*\d+)*|\banswer\s+\d+\s+of\s+\d+",
    re.IGNORECASE,
)
"""A number that only numbers something."""
_UNSURE = re.compile(
    r"\b(?:or|not|between|versus|vs|mod|modulo|base|binary|octal|hex|hexadecimal|decimal|pi|sqrt|root|squared|cubed|log"
    r"|ln|sin|cos|tan|exp|infinity|infinite|factorial|plus|minus|negative|times|dozens?|lakhs?|crores?|score|half|halves|thirds?"
    r"|quarters?|percentage|(?:more|less|fewer|greater|larger|smaller|other)\s+than|at\s+(?:least|most)|over|under|"
    r"above|below|almost|nearly|except|unknown|undefined|undetermined|n)\b",
    re.IGNORECASE,
)
"""Words beside which a number is not, or not surely, the answer."""
_REMARK = re.compile(r"(?<![\w)\]])\(([^()]*[^\W\d_]{2}[^()]*)\)")
"""Words in brackets: "(see step 2)"; (x + 1) is a factor."""
_BULLET = re.compile(r"\b(?:bullet|list item)", re.IGNORECASE)
_ATTACHED = re.compile("rs|usd|eur|gbp|us|inr|cad|aud|hk|sgd|nzd|jpy|chf|cny|rmb|no|approx|ca", re.IGNORECASE)
"""What may stand before a number without a space, as USD18."""
_UNITS = re.compile(
    "[cmkn]?m|in|ft|yd|mi|hr?s?|mins?|s|secs?|ms|d|[km]?g|lbs?|oz|t|[mdc]?l|v|[kmg]?wh?|k?j|n|k?pa|[kmg]?hz|a|c|f"
    "|[mk]ph|kmh|px|[gmk]b|st|nd|rd|th|[ap]m|pts?|cents|usd|eur|gbp|rs",
    re.IGNORECASE,
)
"""What may follow a number without a space, in any case of letters; single letters after a space, too."""
_MAGNITUDES = frozenset("KMBTG")
"""5M may be five million or five metres."""
_UNIT_POWER = re.compile(r"(?<=[A-Za-z°µμ])\^-?[1-4](?![\w.])|(?<=\d[ckm]m|\s[ckm]m|\sft|\sin|\syd|\smi)[23](?![\w.])")
_LETTERS_BEFORE = re.compile(r"[^\W\d_]+\Z")
_LETTERS_AFTER = re.compile(r"\s?([^\W\d_]+)(?:\s?/\s?[^\W\d_]+)*")
_OPERATOR_BEFORE = re.compile(r"(?:[\d^*/\\<>{|√±×+_⟨⟩)\]}-]|[(\[&]|\d[:.,])\s*\Z|[,']\Z")
_OPERATOR_AFTER = re.compile(r"\s*[\d^*/\\<>{|√±×+_⟨⟩(\[=%&]|-(?![^\W\d_])|[!?]|[:.,']\d")
_PERIODIC = re.compile(r"\d[.,]\d+\s*\Z")
"""3.333... is no 3.333: the digits go on."""
_ELLIPSIS_AFTER = re.compile(r"\s*(?:\.{3}|…)")
_RATE_AFTER = re.compile(
    r"\s?/\s?(?:seconds?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|persons?|people|each|items?|pieces?|kg|km|"
    r"pounds?|miles?|dozen|gallons?|lit(?:er|re)s?)\b",
    re.IGNORECASE,
)
"""$12/hour: what stands below is no number."""
_HAN_SCALE = re.compile("[万億亿千百十兆半]")
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_JOINED = re.compile(r"(?<=[^\W\d_])[/-](?=[^\W\d_])")
_HARMLESS = re.compile(r"[\s.,;:'\"“”«»$€£¥₹#°•。、，：~≈…\u2600-\u27bf\U0001f300-\U0001faff]+")
_RELATION = re.compile(r"[=≈]")
_FORMULA = re.compile(r"\d[^\W\d_]|[^\W\d_]\d|[^\W\d_]\^|\w\(|[<>≤≥≠]")
_PLAIN_INTEGER = re.compile(r"-?[0-9]{1,15}")
_BRACKETED = re.compile(r"\(\s*[$€£¥]?\s*([\d,.']*\d)\s*\)")
_SECOND = re.compile(r"\d.*(?:[,;]|\b(?:and|or)\b)")
_WORDS_AFTER = re.compile(r"\d.*(?:[^\W\d_]|[,;])")
_DIGIT = re.compile(r"\d")
_NEGATIVE = re.compile(r"^(?:negative|minus)\s+(?=[$€£¥₹]?\.?\d)", re.IGNORECASE)
_PAIR = re.compile(r"(?<![\d,])\d+,\d{1,2}(?![\d,])|(?<![\d,])0,\d+")
"""Decimals with a comma, or two numbers."""
_LIST_MARK = re.compile(r"^\s*(?:[-*•]\s+|\(?\d+[.)]\s+|#+\s*)")


def read_number(text: str, maths: bool = False) -> Reading:
    """The exact value of the only number in `text`, an answer without its marker.

    Alone, 3,5 is 3.5 and (5) is -5, as accountants write it. In `maths` commas separate answers and brackets are
    formulas: both are left to who reads those.
    """
    # Each run of white space as one space: a looping model writes a million of them.
    shown = " ".join(text.split())
    return _read(shown, maths) if len(shown) <= LONGEST else Reading(None, "too long for a number")


@lru_cache(maxsize=16384)
def _read(text: str, maths: bool) -> Reading:
    if _PLAIN_INTEGER.fullmatch(text):
        return Reading(Fraction(int(text)), "number")
    shown = plain(text.replace("`", ""))
    if maths and ("(" in shown or _PAIR.search(shown)):
        return Reading(None, "a formula")
    if debit := _BRACKETED.fullmatch(shown):
        value = None if _PAIR.fullmatch(debit.group(1)) else _run_value(debit.group(1))
        return Reading(None, "not a plain number") if value is None else Reading(-value, "number")
    remarks = " ".join(_REMARK.findall(shown))
    shown = _ORDINAL.sub(" ", _REMARK.sub(" ", shown)).strip()
    if _UNSURE.search(remarks):
        return Reading(None, "unsure words")
    if _BULLET.search(remarks):
        shown = re.sub(r"^[-+*•]\s+", "", shown)
    if not _DIGIT.search(shown):
        return _in_words(shown)
    shown = _NEGATIVE.sub("-", shown)
    reading = _in_digits(_right_hand_side(shown))
    if reading.value is None and (sentence := re.match(r"(.*?[\w)%°⟩])[.!]\s+(?=[A-Z])", shown)):
        # "42. That is 6 times 7.": the first sentence, if it is the number and nothing else.
        first = _in_digits(sentence.group(1))
        if re.match(r"[-+$€£]?\s*[\d⟨.]", sentence.group(1)) and first.value is not None:
            return first
    return reading


def last_number(text: str) -> Reading:
    """The value of the last number in a running text; numbers of list items and steps do not count."""
    for line in reversed(text.splitlines()):
        if len(line) > LONGEST:
            line = line[-LONGEST:].partition(" ")[2]
        shown = _ORDINAL.sub(" ", plain(_LIST_MARK.sub("", line)).replace("**", ""))
        numbers = list(_NUMBER.finditer(shown))
        if numbers:
            reading = _value(shown, numbers[-1], alone=False)
            return Reading(reading.value, "last number") if reading.value is not None else reading
    return Reading(None, "no number")


def _in_words(text: str) -> Reading:
    """As in "one thousand two hundred", alone."""
    words = re.sub(r"[^a-z-]+", " ", text.lower()).strip(" -")
    sign = -1 if words.startswith(("minus ", "negative ")) else 1
    words = re.sub(r"^(?:minus|negative) |^an? (?=hundred|thousand|million|billion)", "", words)
    if not words or len(words) > 200 or re.search(r"[^\W\d_]", text, re.UNICODE) is None:
        return Reading(None, "no number")
    try:
        return Reading(sign * Fraction(text2num(words, "en")), "number in words")
    except (ValueError, OverflowError):
        return Reading(None, "no number")


def _right_hand_side(text: str) -> str:
    """What the last equals sign says, unless it speaks of something else: `x = 5` and `3 + 4 = 7`, not `2x = 10`."""
    *left, right = _RELATION.split(text)
    if not left or not _DIGIT.search(right):
        return left[-1] if len(left) == 1 and not _FORMULA.search(left[-1]) and not right.strip(" ?_") else text
    # x = 5, y = 3: a second equation, where what stands between two equals signs has a number and then words.
    several = _SECOND.search(left[0]) or any(_WORDS_AFTER.search(side) for side in left[1:])
    return text if several or any(_FORMULA.search(side) for side in left) else right


def _in_digits(text: str) -> Reading:
    text = _UNIT_POWER.sub("", text)
    numbers = list(_NUMBER.finditer(text))
    if len(numbers) != 1:
        return Reading(None, "several numbers" if numbers else "no number")
    return _value(text, numbers[0], alone=True)


def _value(text: str, number: re.Match[str], alone: bool) -> Reading:
    """What a number in a text says; `alone`: nothing but words, a unit and punctuation may stand beside it."""
    before, after = text[: number.start()], text[number.end() :]
    if rate := _RATE_AFTER.match(after):
        after = after[rate.end() :]
    if _PERIODIC.search(number.group()) and _ELLIPSIS_AFTER.match(after):
        return Reading(None, "digits that go on")
    if number["gap"] and (before.strip() or after.strip(" .,;$€£¥")):
        return Reading(None, "sign or dash")
    if not _touches_nothing(before, after) or (alone and not _is_prose(before, after)):
        return Reading(None, "part of something else")
    value = _magnitude(number)
    if value is None:
        return Reading(None, "not a plain number")
    signs = f"{number['sign'] or ''}{number['inner'] or ''}"
    return Reading(-value if signs.count("-") == 1 else value, "number")


def _touches_nothing(before: str, after: str) -> bool:
    """Whether what stands next to a number leaves it a number: 2x, 7:30, 5!, 3 * 4 and x2 do not."""
    prefix, suffix = _LETTERS_BEFORE.search(before), _LETTERS_AFTER.match(after)
    if prefix and not _is_foreign(prefix.group()) and not _ATTACHED.fullmatch(prefix.group()):
        return False
    if suffix and not _is_foreign(suffix.group(1)):
        touching, name = not suffix.group().startswith(" "), suffix.group(1)
        if (touching or len(name) == 1) and (name in _MAGNITUDES or not _UNITS.fullmatch(name)):
            return False
    if suffix and _HAN_SCALE.match(suffix.group(1)):
        return False
    return not _OPERATOR_BEFORE.search(before) and not _OPERATOR_AFTER.match(after)


def _is_prose(before: str, after: str) -> bool:
    """Whether words, a unit and punctuation are all that stands beside a number."""
    unit = _LETTERS_AFTER.match(after)
    rest = f"{before} {after[unit.end() :] if unit else after.removeprefix('-')}"
    if _UNSURE.search(f"{before} {after}"):
        return False
    words = _WORD.findall(rest)
    if any(len(word) == 1 and word not in ("a", "A", "I") and not _is_foreign(word) for word in words):
        return False
    return not _HARMLESS.sub("", _WORD.sub("", _JOINED.sub("", rest)))


def _is_foreign(letters: str) -> bool:
    """Letters of a script that has no formulas: neither Latin nor Greek."""
    return not any(unicodedata.name(letter, "").startswith(("LATIN", "GREEK", "MATHEMATICAL")) for letter in letters)


def _magnitude(number: re.Match[str]) -> Fraction | None:
    """The value without its sign; None where the digits are no number, or too large a one."""
    if number["only"] or number["mixed"]:
        whole = _run_value(number["whole"]) if number["whole"] else Fraction(0)
        part = _fraction_value(number["only"] or number["mixed"])
        value = None if whole is None or part is None or (whole and not 0 <= part < 1) else whole + part
    elif number["units"]:
        num, den = int(number["num"]), int(number["den"])
        value = int(number["units"]) + Fraction(num, den) if num < den else None
    else:
        value = _run_value(number["run"])
        value = None if value is None else _scaled(value, number)
    if value is None:
        return None
    scale = 3 if number["k"] else _SCALES[number["scale"].lower()] if number["scale"] else 0
    return value / 100 if number["percent"] else value * 10**scale


def _scaled(value: Fraction, number: re.Match[str]) -> Fraction | None:
    """A value with its exponent, power or denominator."""
    if number["e"] or number["ten"]:
        exponent = int(number["e"] or number["ten"])
        return value * Fraction(10) ** exponent if abs(exponent) < _HUGE else None
    if number["power"]:
        power = int(number["power"])
        if value.denominator > 1 or abs(power) * len(str(value.numerator)) > _HUGE or (value == 0 and power <= 0):
            return None
        return value**power
    if number["over"]:
        over = _run_value(number["over"].lstrip("-"))
        return None if not over else value / (-over if number["over"].startswith("-") else over)
    return value


def _fraction_value(fraction: str) -> Fraction | None:
    """The value of a fraction in angle brackets."""
    top, _, bottom = fraction[1:-1].partition("/")
    parts = [_signed_run_value(part.strip()) for part in (top, bottom)]
    return None if parts[0] is None or not parts[1] else parts[0] / parts[1]


def _signed_run_value(text: str) -> Fraction | None:
    value = _run_value(text.lstrip("-"))
    return value if value is None or not text.startswith("-") else -value


def _run_value(run: str) -> Fraction | None:
    """The value of digits with separators; None if nobody writes a number so."""
    for pattern, separators, points in _SPELLINGS:
        if pattern.fullmatch(run):
            digits = run.replace(separators, "") if separators else run
            for point in points:
                digits = digits.replace(point, ".")
            return Fraction(digits)
    return None
