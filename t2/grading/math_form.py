r"""A canonical form of a mathematical answer: equal answers get one string. Pure; runs in a worker of `MathGrader`.

math-verify turns LaTeX into SymPy. Its `verify` compares pairs and is neither symmetric nor transitive, so votes cannot
be counted with it; here each answer gets a form of its own, and answers are equal when their forms are:

- rational numbers: the reduced fraction; other constants: 25 digits, so that \sqrt8 is 2\sqrt2
- expressions with variables: their values at three points that the variables' names decide, which tell two functions
  apart as surely as any digits do (identity testing after Schwartz and Zippel), so that (x-1)(x+1) is x^2-1
- equations x = a: the form of a; other equations: as expressions, up to a factor; x > 2: the interval
- intervals, tuples, sets, matrices: their parts' forms, of sets sorted and each once
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import sympy
from latex2sympy2_extended.sets import FiniteSet
from math_verify import LatexExtractionConfig, parse
from sympy.core.function import AppliedUndef
from sympy.core.relational import Relational

PARSING_SECONDS = 5
_DIGITS = 25
_PRECISION = 40
_POINTS = 3
_LARGEST_DENOMINATOR = 10**6
_LONGEST_NUMBER = 1000
"""Digits beyond which a number is written with an exponent."""


def canonical_form(latex: str) -> str | None:
    """The form of an answer in LaTeX, without dollar signs; None if it cannot be read.

    Needs the main thread of its process: math-verify limits its time by an alarm.
    """
    found = parse(
        f"${latex}$",
        extraction_config=[LatexExtractionConfig()],
        fallback_mode="no_fallback",
        parsing_timeout=PARSING_SECONDS,
    )
    if not found:
        return None
    try:
        return _form(found[0])
    except (_NoFormError, ArithmeticError, AttributeError, NotImplementedError, TypeError, ValueError, RecursionError):
        return None  # SymPy raises all of these on formulas that mean nothing


class _NoFormError(Exception):
    """Of an expression that nobody can compare."""


def _form(thing: Any) -> str:
    if isinstance(thing, sympy.MatrixBase):
        return str([[_form(entry) for entry in thing.row(row)] for row in range(thing.rows)])
    if isinstance(thing, Relational) or _is_and(thing):
        return _relation_form(thing)
    if isinstance(thing, FiniteSet | sympy.FiniteSet):
        return _set_form(list(thing.args))
    if isinstance(thing, sympy.Interval):
        left, right = "(" if thing.left_open else "[", ")" if thing.right_open else "]"
        return f"{left}{_form(thing.start)}, {_form(thing.end)}{right}"
    if isinstance(thing, sympy.Tuple):
        return f"({', '.join(map(_form, thing.args))})"
    if isinstance(thing, sympy.Union | sympy.Intersection | sympy.Complement):
        name, ordered = type(thing).__name__, isinstance(thing, sympy.Complement)
        parts = [_form(part) for part in thing.args]
        return f"{name}({', '.join(parts if ordered else sorted(parts))})"
    if isinstance(thing, sympy.Set):
        return str(thing)
    if isinstance(thing, sympy.Expr):
        return _expression_form(thing)
    raise _NoFormError


def _is_and(thing: Any) -> bool:
    """A chain of relations, as 1 < x < 2; math-verify's own class or SymPy's."""
    return type(thing).__name__ == "And" and all(isinstance(part, Relational) for part in thing.args)


def _parts(chain: Any) -> list[Any]:
    return list(getattr(chain, "_unsorted_args", chain.args)) if _is_and(chain) else [chain]


def _relation_form(relation: Any) -> str:
    parts = _parts(relation)
    if all(isinstance(part, sympy.Eq) for part in parts):
        first, last = parts[0].lhs, parts[-1].rhs
        if isinstance(first, sympy.Symbol | AppliedUndef) or not _symbols([first, last]):
            return _form(last)  # x = 5, f(x) = x^2, 3 + 4 = 7
        if isinstance(last, sympy.Symbol):
            return _form(first)  # 5 = x
        if len(parts) == 1:
            return _equation_form(first, last)
        raise _NoFormError
    if len(_symbols(parts)) == 1:
        return _form(_solutions(relation))
    return " and ".join(sorted(f"{part.rel_op} {_expression_form(part.lhs - part.rhs)}" for part in parts))


def _solutions(relation: Any) -> Any:
    """The numbers that fulfil a relation or chain of one variable, whatever its name."""
    parts = _parts(relation)
    if len(_symbols(parts)) != 1:
        raise _NoFormError
    return sympy.And(*(type(part)(part.lhs, part.rhs) for part in parts)).as_set()


def _equation_form(left: Any, right: Any) -> str:
    """2x + z = 1 is 4x + 2z = 2: values of the difference in proportion to the first."""
    values = _values(left - right)
    if not values[0]:
        raise _NoFormError
    return f"equation {' '.join(_constant_form(value / values[0]) for value in values[1:])}"


def _set_form(elements: list[Any]) -> str:
    """Each element once; one alone is itself; x = 1, y = 2 keeps the names."""
    if all(isinstance(element, sympy.Eq) and isinstance(element.lhs, sympy.Symbol) for element in elements):
        if len({element.lhs for element in elements}) > 1:
            return f"{{{', '.join(sorted(f'{element.lhs} = {_form(element.rhs)}' for element in elements))}}}"
        elements = [element.rhs for element in elements]
    elif all(
        (isinstance(element, Relational) and not isinstance(element, sympy.Eq)) or _is_and(element)
        for element in elements
    ):
        sets = [_solutions(element) for element in elements]
        return _form(sympy.Union(*sets))  # x < 1 or x > 2
    forms = sorted({_form(element) for element in elements})
    return forms[0] if len(forms) == 1 else f"{{{', '.join(forms)}}}"


def _expression_form(expression: Any) -> str:
    if expression in (sympy.oo, -sympy.oo):
        return str(expression)
    simple = _evaluated(expression)
    if isinstance(simple, sympy.Symbol):
        return str(simple.name)
    if isinstance(simple, sympy.Rational) and max(abs(simple.p), simple.q) < 10**_LONGEST_NUMBER:
        return str(Fraction(int(simple.p), int(simple.q)))
    values = _values(simple)
    if len(set(map(str, values))) == 1:
        return _constant_form(values[0])
    return f"f: {' '.join(map(_constant_form, values))}"


def _evaluated(expression: Any) -> Any:
    """Without what the parser left unevaluated, as 50 * (1/100), exact where it has decimals; i is imaginary."""
    imaginary = {symbol: sympy.I for symbol in expression.free_symbols if symbol.name == "i"}
    value = expression.subs(imaginary).doit()
    decimals = {number: sympy.Rational(str(number)) for number in value.atoms(sympy.Float)}
    return value.xreplace(decimals).doit() if decimals else value


def _symbols(things: Iterable[Any]) -> set[Any]:
    return {symbol for thing in things for symbol in thing.free_symbols}


def _values(expression: Any) -> list[Any]:
    """The expression's values at the points; of one without variables, its value."""
    expression = _evaluated(expression)
    if expression.atoms(AppliedUndef):
        raise _NoFormError
    symbols = expression.free_symbols
    points = range(_POINTS if symbols else 1)
    return [
        _number(expression.subs({symbol: _coordinate(symbol.name, point) for symbol in symbols}, simultaneous=True))
        for point in points
    ]


def _coordinate(name: str, point: int) -> Any:
    """A fraction that the name of a variable decides; in the second point it is negative."""
    hashed = int.from_bytes(hashlib.sha256(f"{name} {point}".encode()).digest()[:4], "big")
    return (-1 if point == 1 else 1) * (sympy.Rational(hashed, 2**31) + sympy.Rational(1, 7))


def _number(expression: Any) -> Any:
    value = sympy.N(expression.doit(), _PRECISION)
    if not value.is_number or value.has(sympy.nan, sympy.zoo):
        raise _NoFormError
    return value


def _constant_form(value: Any) -> str:
    real, imaginary = (_real_form(part) for part in value.as_real_imag())
    return real if imaginary == "0" else f"{real} + {imaginary}i"


def _real_form(value: Any) -> str:
    """A fraction where 25 digits agree with one of a small denominator, else those digits."""
    if value.is_infinite:
        return str(value)
    if abs(value) < sympy.Float(10) ** -_DIGITS:
        return "0"
    if abs(value) < 10**12:
        exact = Fraction(*map(int, sympy.Rational(value).as_numer_denom()))
        near = exact.limit_denominator(_LARGEST_DENOMINATOR)
        if abs(exact - near) < Fraction(1, 10**_DIGITS):
            return str(near)
    return str(sympy.N(value, _DIGITS))
