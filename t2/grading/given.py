"""The grader that stands for grades which came with the samples, and graders by name."""

from __future__ import annotations

import importlib

from t2.errors import T2Error, quoted
from t2.grading.choice import ChoiceGrader
from t2.grading.exact import ExactGrader, normalise, normalise_by_nfkc
from t2.grading.math import MathGrader
from t2.grading.numeric import NumericGrader
from t2.spec import Grader
from t2.store.pool_spec import PoolSpec

GIVEN = "given"


class GivenGrader(ExactGrader):
    """Stands for the grades of an imported pool, which lie beside its samples; a bare text is its own class."""

    def __init__(self, by_nfkc: bool = False) -> None:
        """Set how texts were compared when the pool was imported; see `PoolSpec.classes_by_nfkc`."""
        super().__init__(marker="")
        self.by_nfkc = by_nfkc

    @property
    def version(self) -> str:
        return GIVEN

    def gold_class(self, answer: str) -> str | None:
        return (normalise_by_nfkc(answer) if self.by_nfkc else normalise(answer)) or None


GRADERS: dict[str, type[Grader]] = {
    "numeric": NumericGrader,
    "exact": ExactGrader,
    "math": MathGrader,
    "choice": ChoiceGrader,
}
"""Graders by name; as they are here they read what stands after `####` or in the last box."""


def grader_named(name: str) -> Grader:
    """A grader of `GRADERS` with its defaults, the given grades for "given", or a class by its path.

    Raises:
        T2Error: no grader of that name, no such class, or one that is no grader or needs arguments.
    """
    if name == GIVEN:
        return GivenGrader()
    if name in GRADERS:
        return GRADERS[name]()
    module, _, class_name = name.rpartition(".")
    if not module:
        raise T2Error(
            f"Expected a grader among {sorted([*GRADERS, GIVEN])} or the path of a class, as my_graders.MyGrader, got "
            f"{quoted(name)}."
        )
    try:
        grader_class = getattr(importlib.import_module(module), class_name)
        grader = grader_class()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise T2Error(
            "Expected the path of a grader's class, importable from the working folder and made without arguments, "
            f"got {quoted(name)}: {' '.join(str(error).split())[:200]}."
        ) from error
    if not isinstance(grader, Grader):
        raise T2Error(f"Expected a subclass of t2.spec.Grader, got {quoted(name)}. Check the path.")
    return grader


def as_imported(grader: Grader, spec: PoolSpec) -> Grader:
    """The given grades' grader as it compared texts when a pool was imported; any other as it is."""
    return GivenGrader(spec.classes_by_nfkc) if isinstance(grader, GivenGrader) else grader


def grader_of_pool(spec: PoolSpec) -> Grader:
    """What grades a pool if nobody says: its recorded default, else the given grades if it was imported.

    Raises:
        T2Error: a pool that t2 label fills. It does not record a grader, and a wrong guess would read no answer.
    """
    if spec.default_grader is None and not spec.imported:
        raise T2Error(
            "Expected a grader, got none: a pool that t2 label fills does not record how its answers are read. Name "
            "the config that fills it instead of its folder, or the grader, as numeric (the number after ####)."
        )
    return grader_named(spec.default_grader or GIVEN)
