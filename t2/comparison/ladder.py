"""The best of a field, named out of fold, and the waste ladder: contenders by what they know of a question. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2.comparison.compare import STOPPERS, Comparison, FoldOutcome, Outcome, best_of
from t2.comparison.rows import Row
from t2.comparison.sources import Source

REFERENCE = "FixedN(N_ref)"
STOPPER = "best stopper"
THEN_STOP = "best HeadThenStop"
CONTROL_THEN_STOP = "best control's HeadThenStop"
ONE_ROUND = "best one-round head"
BY_AREA = "best one-round head by area"
IN_BINS = "best head in bins by area"
CONTROL_BY_AREA = "best control in bins by area"
KNOWS = {
    REFERENCE: "nothing",
    "generator difficulty, one round": "generator: family, size",
    "TF-IDF ridge, one round": "text",
    ONE_ROUND: "activations",
    "NoHeadThenStop": "answers so far",
    THEN_STOP: "activations, then answers so far",
    "BayesOracle": "half of its own votes",
    "OwnOracle": "half of its own grades",
}
"""The rungs, from what nobody needs to know to what nobody can know, and what each knows of a question.

An oracle is scored on the half that it does not know. What BayesOracle saves only sampling can tell; what OwnOracle
saves beyond it is an artefact: it knows which answers are correct, and no policy will.
"""
ORACLES = ("BayesOracle", "OwnOracle")
_RUNG_CONTROLS = ("generator difficulty", "TF-IDF ridge")


@dataclass(frozen=True)
class Rung:
    """A contender on the ladder."""

    name: str
    knows: str
    """of a question, see `KNOWS`"""
    row: Row
    made_of: tuple[str, ...]
    """what the folds chose, for the best of a field; empty for a contender of its own"""

    @property
    def is_policy(self) -> bool:
        """Not a reference that knows a part of what it is asked about."""
        return self.name not in ORACLES


def named_out_of_fold(first: Comparison, sources: Sequence[Source]) -> dict[str, Outcome]:
    """The best of each field, named by each fold's training questions: title -> what it got on the test questions."""
    heads = [s.name for s in sources if s.kind == "head"]
    controls = [s.name for s in sources if s.kind != "head"]

    def one_round_of(names: Iterable[str]) -> list[str]:
        return [o.name for o in first.outcomes.values() if o.kind == "one round" and o.source in names]

    by_tokens = {
        STOPPER: [*STOPPERS],
        THEN_STOP: [f"{name} + HeadThenStop" for name in heads],
        CONTROL_THEN_STOP: [f"{name} + HeadThenStop" for name in controls],
        ONE_ROUND: one_round_of(heads),
        **{f"{name}, one round": one_round_of([name]) for name in _RUNG_CONTROLS},
    }
    # An area needs one knob in all folds; controls have `Utility` in bins alone.
    by_area = {
        BY_AREA: [name for name in one_round_of(heads) if name.endswith("Utility")],
        IN_BINS: [f"{name} + bins + Utility" for name in heads],
        CONTROL_BY_AREA: [f"{name} + bins + Utility" for name in controls],
    }
    tokens = {title: best_of(first, names, _fewest_tokens, title) for title, names in by_tokens.items() if names}
    return tokens | {title: best_of(first, names, _largest_area, title) for title, names in by_area.items() if names}


def rungs(rows: Mapping[str, Row], named: Mapping[str, Outcome]) -> Iterator[Rung]:
    """The rungs that there are.

    Args:
        rows: by name; the reference and whatever was compared.
        named: from `named_out_of_fold`.
    """
    for name, knows in KNOWS.items():
        if name in rows:
            yield Rung(name, knows, rows[name], named[name].made_of if name in named else ())


def _fewest_tokens(fold: FoldOutcome) -> tuple[bool, float]:
    return not fold.within, fold.train_tokens  # cheap because it loses too much is not best


def _largest_area(fold: FoldOutcome) -> float:
    return -fold.train_area
