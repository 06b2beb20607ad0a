r"""Other spellings of characters in answers (LaTeX, full-width and Arabic digits, dashes) as the plain ones. Pure."""

from __future__ import annotations

import re
import unicodedata

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT = re.compile("[⁻⁰¹²³⁴-⁹]+")
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212\ufe63", "-"),  # hyphens, figure and en dash, minus
        **dict.fromkeys("\u00a0\u2007\u2009\u202f\u2002\u2003\u2004\u2005\u2006\u2008\u200a\u3000", " "),
        **dict.fromkeys("\u2018\u2019\u02bc\u2032", "'"),
        **dict.fromkeys("∙·⋅✕∗", "×"),
        **dict.fromkeys("÷⁄∕", "/"),
        **dict.fromkeys("≃≅∼", "≈"),
        "٫": ".",
        "٬": ",",
        "٪": "%",
    }
)
_COMMANDS = (
    (re.compile(r"\\(?:text|textbf|textit|textrm|mbox|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\[dtc]?frac\s*(?:\{([^{}]*)\}|(\d))\s*(?:\{([^{}]*)\}|(\d))"), r"⟨\1\2/\3\4⟩"),
    (re.compile(r"\\(?:left|right|displaystyle|limits|big|Big|bigg|Bigg)(?![A-Za-z])|\\!"), ""),
    (re.compile(r"\\(?:[,;: ]|(?:quad|qquad|thinspace)(?![A-Za-z]))|~"), " "),
    (re.compile(r"\\([%$#&_])"), r"\1"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])"), "×"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\pm(?![A-Za-z])"), "±"),
    (re.compile(r"\\(?:approx|simeq|sim)(?![A-Za-z])"), "≈"),
    (re.compile(r"\^?\s*\{?\\(?:circ|degree)\}?(?![A-Za-z])"), "°"),
    (re.compile(r"\^\{(-?\d+)\}"), r"^\1"),
    (re.compile(r"\{,\}"), ","),
)


def plain(text: str) -> str:
    r"""`text` in ASCII where it has a plain spelling: `−½` is `-⟨1/2⟩`, `10⁶` is `10^6`, `1{,}200` is `1,200`.

    A fraction that is one sign, as ½ or `\frac{1}{2}`, comes in angle brackets, so that 1½ is not 11/2.
    """
    if not text.isascii():
        text = _plain_characters(text)
    if "\\" in text or "{" in text or "~" in text:
        for pattern, replacement in _COMMANDS:
            text = pattern.sub(replacement, text)
        text = re.sub(r"^\{([^{}]*)\}$", r"\1", text)
    return text


def _plain_characters(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda run: "^" + run.group().translate(_SUPERSCRIPTS), text)
    return "".join(_plain_character(character) for character in text.translate(_PLAIN)).translate(_PLAIN)


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if (digit := unicodedata.decimal(character, None)) is not None:
        return str(digit)
    kind = unicodedata.decomposition(character).split(" ")[0]
    if kind == "<fraction>":
        return f"⟨{unicodedata.normalize('NFKC', character).replace('⁄', '/')}⟩"
    return (
        unicodedata.normalize("NFKC", character) if kind in ("<wide>", "<narrow>", "<font>", "<noBreak>") else character
    )


def folded(text: str) -> str:
    """Compatible forms of letters as the usual ones (ｐａｒｉｓ, ﬁ), but no superscript, fraction or circle as a digit.

    NFKC alone makes 106 of 10⁶ and 11⁄2 of 1½.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", "".join(map(_folded_character, text)))


def _folded_character(character: str) -> str:
    kind = unicodedata.decomposition(character).split(" ")[0]
    kept = kind in ("<super>", "<sub>", "<fraction>", "<circle>")
    return character if kept or not kind.startswith("<") else unicodedata.normalize("NFKC", character)
