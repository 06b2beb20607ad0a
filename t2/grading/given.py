"""The grader that stands for grades which came with the samples, and graders by name."""

from __future__ import annotations

from t2.errors import T2Error
from t2.grading.exact import ExactGrader
from t2.grading.numeric import NumericGrader
from t2.spec import Grader
from t2.store.pool_spec import PoolSpec

GIVEN = "given"


class GivenGrader(ExactGrader):
    """Stands for the grades of an imported pool, which lie beside its samples; a bare text is its own class."""

    def __init__(self) -> None:
        super().__init__(marker="")

    @property
    def version(self) -> str:
        return GIVEN


GRADERS: dict[str, type[NumericGrader] | type[ExactGrader]] = {"numeric": NumericGrader, "exact": ExactGrader}
"""Graders by name; as they are here they read the number or the text after `####`."""


def grader_named(name: str) -> Grader:
    """A grader of `GRADERS` with its defaults, or the given grades for "given".

    Raises:
        T2Error: no grader of that name.
    """
    if name == GIVEN:
        return GivenGrader()
    if name not in GRADERS:
        raise T2Error(f"Expected a grader among {sorted([*GRADERS, GIVEN])}, got {name!r}.")
    return GRADERS[name]()


def grader_of_pool(spec: PoolSpec) -> Grader:
    """What grades a pool if nobody says: its recorded default, else the given grades if it was imported.

    Raises:
        T2Error: a pool that t2 label fills. It does not record a grader, and a wrong guess would read no answer.
    """
    if spec.default_grader is None and not spec.imported:
        raise T2Error(
            "Expected a grader, got none: a pool that t2 label fills does not record how its answers are read. Name "
            "the config that fills it instead of its folder, or the grader: numeric or exact, both after ####."
        )
    return grader_named(spec.default_grader or GIVEN)
