"""The best of a field, named out of fold, and the waste ladder: contenders by what they know of a question. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2.evaluation.comparison import STOPPERS, Comparison, FoldOutcome, Outcome, best_of
from t2.evaluation.rows import Row
from t2.evaluation.sources import Source

REFERENCE = "FixedN(N_ref)"
BY_AREA = "best one-round head by area"
KNOWS = {
    REFERENCE: "nothing",
    "generator difficulty, one round": "generator: family, size",
    "TF-IDF ridge, one round": "text",
    "best one-round head": "activations",
    "NoHeadThenStop": "only sampling",
    "best HeadThenStop": "activations, then sampling",
    "BayesOracle": "only sampling: half the votes",
    "OwnOracle": "artefact: half the grades",
}
"""The rungs, from what nobody needs to know to what nobody can know, and what each knows of a question.

An oracle is scored on the half that it does not know. What OwnOracle saves beyond BayesOracle is an artefact: it knows
which answers are correct, and no policy will.
"""
_RUNG_CONTROLS = ("generator difficulty", "TF-IDF ridge")


@dataclass(frozen=True)
class Rung:
    """A contender on the ladder."""

    name: str
    knows: str
    """of a question, see `KNOWS`"""
    row: Row

    @property
    def made_of(self) -> str:
        """What the folds chose, for the best of a field; empty for a contender of its own."""
        return "" if self.row.name == self.name else self.row.name.removeprefix(f"{self.name} (").removesuffix(")")


def named_out_of_fold(first: Comparison, sources: Sequence[Source]) -> dict[str, Outcome]:
    """The best of each field, named by each fold's training questions: title -> what it got on the test questions."""
    heads = [s.name for s in sources if s.kind == "head"]
    one_round = [o.name for o in first.outcomes.values() if o.kind == "one round" and o.source in heads]
    fields = {
        "best stopper": [*STOPPERS],
        "best HeadThenStop": [f"{name} + HeadThenStop" for name in heads],
        "best one-round head": one_round,
    }
    for name in _RUNG_CONTROLS:
        if own := [o.name for o in first.outcomes.values() if o.kind == "one round" and o.source == name]:
            fields[f"{name}, one round"] = own
    named = {title: best_of(first, names, _fewest_tokens, title) for title, names in fields.items()}
    # An area needs one knob in all folds, and controls are compared by `Utility` too.
    utilities = [name for name in one_round if name.endswith("Utility")]
    return {**named, BY_AREA: best_of(first, utilities, _largest_area, BY_AREA)}


def rungs(rows: Mapping[str, Row], named: Mapping[str, Outcome]) -> Iterator[Rung]:
    """The rungs that there are.

    Args:
        rows: by name; the reference and whatever was compared.
        named: from `named_out_of_fold`.
    """
    for name, knows in KNOWS.items():
        row_name = named[name].name if name in named else name
        if row_name in rows:
            yield Rung(name, knows, rows[row_name])


def _fewest_tokens(fold: FoldOutcome) -> tuple[bool, float]:
    return not fold.within, fold.train_tokens  # cheap because it loses too much is not best


def _largest_area(fold: FoldOutcome) -> float:
    return -fold.train_area
