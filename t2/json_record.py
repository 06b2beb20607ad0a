"""Frozen dataclasses that are read from JSON values, checked key by key against their types, and written as them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from t2.errors import T2Error

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True, kw_only=True)
class JsonRecord:
    """Base of a JSON object with a type for each of its keys.

    A key is written unless its value is the field's default. A field without a default whose type allows None is None
    where the key is missing. What was read is written again with the same meaning: keys that this version does not
    know stay, and those that an older one did not write stay away.
    """

    read_from: Mapping[str, object] | None = field(default=None, repr=False, compare=False)
    """the object that it was read from; None: it was not read"""

    @classmethod
    def from_json(cls, value: object, source: str) -> Self:
        """Check and convert.

        Args:
            value: of JSON, or the primitives of a checkpoint.
            source: where it comes from, for the error.

        Raises:
            T2Error: a key is missing or has a value of another type; names it.
        """
        record: Self = _read(cls, value, "", source)
        return record

    def as_json(self) -> dict[str, object]:
        before, written = self.read_from or {}, dict[str, object]()
        for each in fields(self)[1:]:  # all but `read_from`
            value = getattr(self, each.name)
            # A None that stands for a missing key is not written back: the file's version did not know the key.
            was_absent = self.read_from is not None and value is None and each.name not in before
            if value != each.default and not was_absent:
                written[each.name] = _written(value)
        return written | {key: value for key, value in before.items() if key not in self.__dataclass_fields__}


def _read(kind: Any, value: object, where: str, source: str) -> Any:  # there is no type for a type hint
    """`value` as `kind`: JSON's objects become dataclasses, its lists tuples; the rest is checked and stays."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):  # X | None
        return None if value is None else _read(inner[0], value, where, source)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
        return kind(**_fields(kind, value, f"{where}." if where else "", source))
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_read(inner[0], each, f"{where}.{index}", source) for index, each in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _read(inner[1], each, f"{where}.{key}", source) for key, each in value.items()}
    if kind is object or (origin is Literal and value in inner):
        return value
    # A number may be written without a point; true and false are no numbers, whatever Python says.
    python_type = (int, float) if kind is float else kind
    if kind in _WORDS and isinstance(value, python_type) and (kind is bool or not isinstance(value, bool)):
        return value
    plain = {tuple: "a list", Literal: f"one of {list(inner)}"}.get(origin, _WORDS.get(kind, "an object"))
    place = f" as `{where}`" if where else ""
    raise T2Error(f"Expected {plain}{place} in {source}, got {value!r:.60}. The file is damaged.")


def _fields(kind: type[DataclassInstance], value: Mapping[str, object], prefix: str, source: str) -> dict[str, object]:
    hints, values = get_type_hints(kind), dict[str, object]()
    for each in fields(kind):
        if each.name == "read_from":
            values[each.name] = value
        elif each.name in value:
            values[each.name] = _read(hints[each.name], value[each.name], f"{prefix}{each.name}", source)
        elif each.default is MISSING and type(None) in get_args(hints[each.name]):
            values[each.name] = None
        elif each.default is MISSING:
            raise T2Error(f"Expected a value as `{prefix}{each.name}` in {source}, got nothing. The file is damaged.")
    return values


def _written(value: object) -> object:
    if isinstance(value, JsonRecord):
        return value.as_json()
    if is_dataclass(value):
        return {each.name: _written(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, list | tuple):
        return [_written(each) for each in value]
    if isinstance(value, Mapping):
        return {key: _written(each) for key, each in value.items()}
    return value
