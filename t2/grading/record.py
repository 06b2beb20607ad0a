"""A grader as primitives, for exports: by the names of `GRADERS` alone, so that no file can name code to run."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from t2.errors import T2Error
from t2.grading.given import GRADERS
from t2.json_record import JsonRecord
from t2.spec import Grader


@dataclass(frozen=True)
class GraderRecord(JsonRecord):
    """A grader by name, with the arguments that differ from its defaults."""

    name: str
    arguments: dict[str, object]

    @classmethod
    def of(cls, grader: Grader) -> GraderRecord | None:
        """None: it is no grader of `GRADERS`, or has arguments that are no JSON values."""
        name = next((name for name, kind in GRADERS.items() if type(grader) is kind), None)
        if name is None:
            return None
        arguments: dict[str, object] = {}
        for parameter in inspect.signature(type(grader)).parameters.values():
            value = getattr(grader, parameter.name)  # each keeps its arguments as attributes of their names
            if value != parameter.default:
                arguments[parameter.name] = list(value) if isinstance(value, tuple) else value
        return cls(name, arguments)

    def grader(self) -> Grader:
        """The grader.

        Raises:
            T2Error: an unknown name, or arguments that it does not take.
        """
        if self.name not in GRADERS:
            raise T2Error(f"Expected a grader among {sorted(GRADERS)}, got {self.name!r}. Export the head again.")
        try:
            return GRADERS[self.name](**self.arguments)
        except (TypeError, ValueError) as error:
            raise T2Error(
                f"Expected arguments of the grader {self.name}, got {self.arguments}: {error}. Export the head again."
            ) from error


def grader_of_version(version: str | None) -> Grader | None:
    """The grader of `GRADERS` that has this version with its defaults; None: there is none."""
    for make in GRADERS.values():
        try:
            grader = make()
        except T2Error:  # its package is not installed
            continue
        if grader.version == version:
            return grader
    return None
