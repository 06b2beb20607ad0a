r"""Grader for mathematics: \frac{\sqrt2}{2} and 1/\sqrt{2} are one answer, as are x > 2 and (2, \infty)."""

from __future__ import annotations

import importlib.util
import re
from functools import lru_cache

from t2.errors import T2Error
from t2.grading.exact import normalise
from t2.grading.extraction import TEXT_IN_LATEX, bare, final_answer, visible
from t2.grading.numbers import read_number
from t2.grading.worker import Worker
from t2.spec import Grade, Grader

DEADLINE_SECONDS = 10.0
"""Longest time for one answer; one that takes longer abstains."""
_LONGEST = 600
"""Characters of the longest formula that is read."""
_WORDS = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '.-])*")
_LETTER = re.compile(r"\(?([A-Za-z])\)?")
_RATIO = re.compile(r"\d+(?:\s*:\s*\d+)+")
_COMMAND = re.compile(r"\\(?:begin|end)\{[A-Za-z*]+\}|\\[A-Za-z]+")
_PROSE = re.compile(r"[A-Za-z]{4,}")
_FUNCTIONS = re.compile(r"\b(?:sqrt|sinh|cosh|tanh|arcsin|arccos|arctan|frac|infty|infinity)\b")
_FORMULA = re.compile(r"\$(?!\s)([^$]+)(?<!\s)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_MISREAD = re.compile(
    r"\d\s*_|\\(?:sin|cos|tan|cot|sec|csc)\b.*(?:\\circ|°)|\\overline|\\underline|\\ldots|\\dots|\.\.\.|\?|!\s*=|\\mid"
    r"|\d\s*\(\s*\d+\s*\)|\\pmod|\\bmod|\\equiv|\\not(?![a-z])"
)
"""What math-verify reads in part or as something else: 12_8 as 12, degrees as radians, 2(1), repeating decimals."""


class MathGrader(Grader):
    r"""Reads the last `\boxed{}`, or what follows the marker or "the answer is", as numbers, words and LaTeX.

    Numbers are read as `NumericGrader` reads them, but commas separate: 3,5 are two answers. Words are compared
    normalised. All else goes through math-verify to SymPy and has a form that equal answers share (`math_form`).
    """

    def __init__(self, marker: str = "####") -> None:
        r"""Set what precedes the final answer where it is not in a box; `\boxed{` reads boxes alone.

        Raises:
            T2Error: the extra "math" is not installed.
        """
        if importlib.util.find_spec("math_verify") is None or importlib.util.find_spec("loky") is None:
            raise T2Error('Expected math-verify for the grader "math", got none. Run: pip install "t2-budget[math]"')
        self.marker = marker

    @property
    def version(self) -> str:
        """Names math-verify's version, which pyproject.toml pins: another one may read otherwise."""
        return f"math-1-verify0.9.0-{self.marker}"

    def answer_class(self, text: str) -> str | None:
        return self.grade(text).answer_class

    def grade(self, text: str) -> Grade:
        found = final_answer(text, self.marker, phrase=True)
        if found.answer is None:
            return Grade(None, found.how)
        answer_class, how = _read(found.answer)
        return Grade(answer_class, f"{found.how}, {how}" if answer_class is not None else f"{found.how}: {how}")

    def gold_class(self, answer: str) -> str | None:
        return _read(answer)[0]


def _read(answer: str) -> tuple[str | None, str]:
    """The class of a bare answer, and how it was read or why not."""
    answer = bare(" ".join(visible(answer[: 4 * _LONGEST]).split())) if len(answer) < 4 * _LONGEST else answer
    if len(answer) > _LONGEST:
        return None, "too long"
    if not answer:
        return None, "empty"
    number = read_number(answer, maths=True)
    if number.value is not None:
        return str(number.value), number.how
    plain = TEXT_IN_LATEX.sub(r"\1", answer).strip()
    if letter := _LETTER.fullmatch(plain):
        return letter.group(1), "letter"
    if _RATIO.fullmatch(plain):
        return re.sub(r"\s", "", plain), "ratio"  # 1:2 may be a time
    if _WORDS.fullmatch(plain) and _PROSE.search(f"{plain}{plain}"):
        return f"text: {normalise(plain)}", "words"
    formula = _formula_of(answer)
    if formula is None:
        return None, "words and formulas"
    return (None, "nothing that math-verify reads") if _MISREAD.search(formula) else _form_of(formula)


def _formula_of(answer: str) -> str | None:
    """The formula in an answer: the only one between dollar signs, or all of it unless there are words in it."""
    formulas = ["".join(groups) for groups in _FORMULA.findall(answer)]
    if len(formulas) == 1:
        return formulas[0].strip()
    if formulas or _PROSE.search(_FUNCTIONS.sub("", _COMMAND.sub(" ", TEXT_IN_LATEX.sub(" ", answer)))):
        return None
    return answer.replace("$", "").replace("\\varnothing", "\\emptyset")


@lru_cache(maxsize=65536)
def _form_of(formula: str) -> tuple[str | None, str]:
    """The form of a formula by the worker; votes repeat, so that most are asked for once."""
    try:
        form = _worker()(formula)
    except TimeoutError:
        return None, "too slow"
    except MemoryError:
        return None, "too large"
    return form, "nothing that math-verify reads" if form is None else "formula"


@lru_cache(maxsize=1)
def _worker() -> Worker[str, str | None]:
    return Worker(_canonical_form, "1", DEADLINE_SECONDS)


def _canonical_form(formula: str) -> str | None:
    """`canonical_form`, whose module imports math-verify, which only the worker needs."""
    from t2.grading.math_form import canonical_form

    return canonical_form(formula)
