"""The best of a field, named out of fold, and the waste ladder: contenders by what they know of a question. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2.comparison.compare import Comparison, Outcome, best_of
from t2.comparison.identity import GENERATOR, ORACLES, PLANNED, TFIDF, UTILITIES, Key, Role
from t2.comparison.outer_fold import FoldOutcome
from t2.comparison.rows import Row

STOPPERS = ("ASC", "ESC", "Doubling")
"""Sequential rules without a head, among which `Role.STOPPER` chooses."""
KNOWS: dict[Key | Role, str] = {
    Role.REFERENCE: "nothing",
    Role.GENERATOR_ONE_ROUND: "generator: family, size",
    Role.TEXT_ONE_ROUND: "text",
    Role.ONE_ROUND: "activations",
    Key("NoHeadThenStop"): "answers so far",
    Role.THEN_STOP: "activations, then answers so far",
    Key("BayesOracle"): "half of its own votes",
    Key("OwnOracle"): "half of its own grades",
}
"""The rungs, from what nobody needs to know to what nobody can know, and what each knows of a question.

An oracle is scored on the half that it does not know. What BayesOracle saves only sampling can tell; what OwnOracle
saves beyond it is an artefact: it knows which answers are correct, and no policy will.
"""


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
        return self.row.policy not in ORACLES


def named_out_of_fold(comparison: Comparison) -> dict[Role, Outcome]:
    """The best of each field that has contenders, named by each fold's training questions."""
    heads, controls = comparison.heads, comparison.controls

    def one_round_of(sources: Sequence[str]) -> list[Key]:
        return [key for key, o in comparison.outcomes.items() if o.kind == "one round" and key.source in sources]

    def in_bins_of(sources: Sequence[str]) -> list[Key]:
        return [Key("Utility", source, in_bins=True) for source in sources]

    def planned_of(sources: Sequence[str]) -> list[Key]:
        return [key for key in comparison.outcomes if key.policy == PLANNED and key.source in sources]

    def then_stop_of(sources: Sequence[str]) -> list[Key]:
        return [Key("HeadThenStop", source) for source in sources]

    by_tokens = {
        Role.STOPPER: [Key(policy) for policy in STOPPERS],
        Role.PLANNED: planned_of(heads),
        Role.PLANNED_CONTROL: planned_of(controls),
        Role.THEN_STOP: then_stop_of(heads),
        Role.CONTROL_THEN_STOP: then_stop_of(controls),
        Role.ONE_ROUND: one_round_of(heads),
        Role.GENERATOR_ONE_ROUND: one_round_of([GENERATOR]),
        Role.TEXT_ONE_ROUND: one_round_of([TFIDF]),
    }
    # An area needs one knob in all folds; controls have `Utility` in bins alone.
    by_area = {
        Role.BY_AREA: [key for key in one_round_of(heads) if key.policy in UTILITIES],
        Role.IN_BINS: in_bins_of(heads),
        Role.CONTROL_BY_AREA: in_bins_of(controls),
    }
    tokens = {role: best_of(comparison, field, _fewest_tokens, role) for role, field in by_tokens.items() if field}
    return tokens | {role: best_of(comparison, field, _largest_area, role) for role, field in by_area.items() if field}


def rungs(rows: Mapping[Key | Role, Row], named: Mapping[Role, Outcome]) -> Iterator[Rung]:
    """The rungs that there are; `named` is from `named_out_of_fold`."""
    for which, knows in KNOWS.items():
        if which in rows:
            made_of = named[which].made_of if isinstance(which, Role) and which in named else ()
            yield Rung(rows[which].name, knows, rows[which], made_of)


def _fewest_tokens(fold: FoldOutcome) -> tuple[bool, float]:
    return not fold.within, fold.train_tokens  # cheap because it loses too much is not best


def _largest_area(fold: FoldOutcome) -> float:
    return -fold.train_area
