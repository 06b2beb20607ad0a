"""JSON Lines as people write them: one reader for question files and sample files, which says what is wrong and where.

Numbers stay as they are written, so that 0.50 is not 0.5 and 5,000 digits are a text like any other. Rows of other
sources (`object_of`) are checked by the same code.
"""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from t2.errors import T2Error

_LARGEST_INT32 = 2**31 - 1


class _Number(str):
    """A JSON number as it is written."""


@dataclass(frozen=True)
class JsonObject:
    """A JSON object of a file, or one inside it; its values are checked when they are asked for."""

    row: Mapping[str, Any]
    where: str
    """FILE:LINE, and for one inside it also its place, for errors"""
    line: int
    """number of the line, from 1"""

    def required(self, key: str) -> str:
        """A text that is more than blanks, or a number.

        Raises:
            T2Error: it is missing, empty or of another type.
        """
        value = self.text(key)
        if value is None or not value.strip():
            found = short(value) if key in self.row else f"nothing among the fields {short(sorted(self.row))}"
            raise T2Error(f"Expected the field {key!r}, got {found} at {self.where}. Add it or remove the line.")
        return value

    def text(self, key: str) -> str | None:
        """A text, or a number as it is written; None if missing or null.

        Raises:
            T2Error: it is of another type, or holds half a surrogate pair.
        """
        value = self.row.get(key)
        return None if value is None else self._checked(key, value)

    def texts(self, key: str) -> list[str]:
        """A list of texts, or of numbers as they are written, each more than blanks.

        Raises:
            T2Error: it is missing, or something in it is empty or of another type.
        """
        value = self.row.get(key)
        if not isinstance(value, list):
            raise T2Error(f"Expected a list of texts as `{key}`, got {short(value)} in {self.where}.")
        texts = [self._checked(key, each) for each in value]
        if not all(text.strip() for text in texts):
            raise T2Error(f"Expected texts as `{key}`, got an empty one in {self.where}.")
        return texts

    @property
    def values(self) -> dict[str, object]:
        """Everything in it, with Python's numbers.

        Raises:
            T2Error: a whole number has more digits than Python reads.
        """
        try:
            return {key: _as_number(value) for key, value in self.row.items()}
        except ValueError as error:
            raise T2Error(f"Expected numbers of a sensible length at {self.where}, got another: {error}.") from error

    def _checked(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise T2Error(f"Expected a text as `{key}`, got {short(value)} in {self.where}.")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise T2Error(
                    f"Expected a text that UTF-8 can hold, got half a surrogate pair in `{key}` of {self.where}. "
                    "Replace it, as by text.encode('utf-8', 'replace')."
                ) from error
        return str(value)

    def count(self, key: str) -> int | None:
        """An integer from 0 to 2^31 - 1; None if missing or null.

        Raises:
            T2Error: it is another number, or of another type.
        """
        value = self.row.get(key)
        if value is None:
            return None
        # isdecimal alone would let 4,301 digits through to int(), which refuses them.
        if not (isinstance(value, _Number) and value.isdecimal() and len(value) <= 10 and int(value) <= _LARGEST_INT32):
            raise T2Error(f"Expected an integer of at least 0 as `{key}`, got {short(value)} in {self.where}.")
        return int(value)


def object_of(values: Mapping[str, object], where: str, number: int) -> JsonObject:
    """A row of another source than JSON, as one of Parquet, with its numbers as Python writes them.

    Args:
        values: of the row, by column.
        where: it stands, for errors.
        number: of the row, from 1.
    """
    return JsonObject({key: _as_written(value) for key, value in values.items()}, where, number)


def object_of_cells(cells: Mapping[str, str], where: str, number: int) -> JsonObject:
    """A row of a table that has texts alone, as CSV: a whole number is one where one is asked for."""
    return JsonObject({key: _Number(cell) if cell.isdecimal() else cell for key, cell in cells.items()}, where, number)


def _as_written(value: object) -> object:
    """Numbers as their texts, in lists too; what JSON has no text for (NaN, dates, bytes) stays, and is refused."""
    if isinstance(value, list):
        return [_as_written(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return _Number(value)
    if isinstance(value, float) and math.isfinite(value):
        return _Number(repr(value))
    if isinstance(value, Decimal) and value.is_finite():
        return _Number(format(value, "f"))
    return value


def _as_number(value: object) -> object:
    """The way back from `_as_written`, however deep."""
    if isinstance(value, _Number):
        return int(value) if value.removeprefix("-").isdecimal() else float(value)
    if isinstance(value, list):
        return [_as_number(each) for each in value]
    if isinstance(value, dict):
        return {key: _as_number(each) for key, each in value.items()}
    return value


def read_objects(path: Path, what: str, still_written: bool = False) -> Iterator[JsonObject]:
    """The objects of a file, one a line; blank lines are skipped, a byte order mark at the start too.

    Args:
        path: of the file.
        what: its lines are, as "questions", for errors.
        still_written: leave out a last line without its end, which somebody may be about to write; none is no error.

    Raises:
        T2Error: missing, empty or non-UTF-8 file, or a line that is no JSON object, or has a key twice; names the line.
    """
    empty = True
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if still_written and not raw.endswith(b"\n"):
                    break
                if (raw := raw.removeprefix(codecs.BOM_UTF8) if number == 1 else raw).strip():
                    empty = False
                    yield _object(raw, f"{path}:{number}", number)
    except OSError as error:
        raise T2Error(f"Expected a file of {what}, got {path}: {error.strerror}. Check the path.") from error
    if empty and not still_written:
        raise T2Error(f"Expected at least one question, got an empty file: {path}.")


def read_list(path: Path, what: str) -> Iterator[JsonObject]:
    """The objects of a file that is one JSON list; of any other file those of `read_objects`.

    Raises:
        T2Error: as by `read_objects`; names the object of the list by its number.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise T2Error(f"Expected a file of {what}, got {path}: {error.strerror}. Check the path.") from error
    if not content.lstrip().startswith(b"["):
        yield from read_objects(path, what)
        return
    rows = _value(content, str(path))
    if not (isinstance(rows, list) and rows):
        raise T2Error(f"Expected at least one question, got an empty list: {path}.")
    for number, row in enumerate(rows, 1):
        where = f"{path}, row {number}"
        if not isinstance(row, dict):
            raise T2Error(f"Expected a JSON object, got {short(row)} at {where}.")
        yield JsonObject(row, where, number)


class Unique:
    """Sees to it that no two lines of a file have the same of something."""

    def __init__(self, path: Path | str, what: str = "ids") -> None:
        self._path, self._what, self._line_of = path, what, dict[str, int]()

    def add(self, value: str, line: int) -> None:
        """Remember what a line has.

        Raises:
            T2Error: another line has it.
        """
        if (before := self._line_of.setdefault(value, line)) != line:
            raise T2Error(
                f"Expected unique {self._what}, got {short(value)} on lines {before} and {line} of {self._path}."
            )


def short(value: object) -> str:
    """A value for an error message: one line, not long; a number as it is written."""
    if value is None:
        return "nothing"
    text = str(value[:60]) if isinstance(value, _Number) else repr(value[:60] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(raw: bytes, where: str, number: int) -> JsonObject:
    row = _value(raw, where)
    if not isinstance(row, dict):
        raise T2Error(f"Expected a JSON object, got {short(raw.decode().rstrip())} at {where}.")
    return JsonObject(row, where, number)


def _value(raw: bytes, where: str) -> object:
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise T2Error(
            f"Expected UTF-8, got byte {raw[error.start]:#04x} at offset {error.start} of {where}. "
            "Convert the file: iconv -f LATIN1 -t UTF-8"
        ) from error
    try:
        value: object = json.loads(text, parse_int=_Number, parse_float=_Number, object_pairs_hook=_once)
    except _KeyTwiceError as error:
        raise T2Error(f"Expected each key once, got {short(str(error))} twice at {where}. Keep one of them.") from error
    except (ValueError, RecursionError) as error:
        raise T2Error(f"Expected a JSON object, got {short(text)} at {where}: {error}.") from error
    return value


class _KeyTwiceError(Exception):
    """A key that an object has twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: the last of two would win without a word."""
    row: dict[str, Any] = {}
    for key, value in pairs:
        if key in row:
            raise _KeyTwiceError(key)
        row[key] = value
    return row
