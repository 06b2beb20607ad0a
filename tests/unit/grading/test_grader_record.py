"""Graders as exports record them: by name, with what differs from the defaults, and never as code to run."""

from __future__ import annotations

import json

import pytest

from t2.errors import T2Error
from t2.grading.choice import ChoiceGrader
from t2.grading.exact import ExactGrader
from t2.grading.given import GRADERS, GivenGrader
from t2.grading.math import MathGrader
from t2.grading.numeric import NumericGrader
from t2.grading.record import GraderRecord, grader_of_version
from t2.spec import Grader

GRADED: list[tuple[Grader, str, dict[str, object]]] = [
    (NumericGrader(), "numeric", {}),
    (NumericGrader(require_marker=False), "numeric", {"require_marker": False}),
    (ExactGrader("Answer:"), "exact", {"marker": "Answer:"}),
    (ChoiceGrader(4), "choice", {"choices": 4}),
    (ChoiceGrader(["yes", "no"]), "choice", {"choices": ["yes", "no"]}),
    (MathGrader(), "math", {}),
]


@pytest.mark.parametrize(("grader", "name", "arguments"), GRADED, ids=lambda each: getattr(each, "version", ""))
def test_a_grader_comes_back_from_json(grader: Grader, name: str, arguments: dict[str, object]) -> None:
    record = GraderRecord.of(grader)
    assert record is not None
    assert (record.name, record.arguments) == (name, arguments)
    again = GraderRecord.from_json(json.loads(json.dumps(record.as_json())), "the test").grader()
    assert type(again) is type(grader)
    assert again.version == grader.version


class MyGrader(NumericGrader):
    """Of a user's own."""


@pytest.mark.parametrize("grader", [MyGrader(), GivenGrader()], ids=["a subclass", "given grades"])
def test_what_is_no_grader_by_name_is_not_recorded(grader: Grader) -> None:
    assert GraderRecord.of(grader) is None


def test_a_file_names_no_code() -> None:
    with pytest.raises(T2Error, match=r"Expected a grader among .*, got 'os\.system'"):
        GraderRecord("os.system", {}).grader()
    with pytest.raises(T2Error, match="Expected arguments of the grader numeric"):
        GraderRecord("numeric", {"command": "rm"}).grader()


@pytest.mark.parametrize("name", sorted(GRADERS))
def test_older_exports_name_the_version_alone(name: str) -> None:
    grader = GRADERS[name]()
    assert type(grader_of_version(grader.version)) is type(grader)


def test_an_unknown_version_is_nobodys() -> None:
    assert grader_of_version("numeric-1-####-1") is None
    assert grader_of_version(None) is None
