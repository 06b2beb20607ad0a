"""Stopping rules as settings: what an export can hold besides a one-round policy. Pure.

Each is a frozen dataclass of numbers, and `rule` makes it a `TableRule` from what stopping needs: nothing, the votes of
training questions, or a `PriorHead` and what it says of the questions at hand.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Literal

import torch

from t2.curves.majority import MAX_SAMPLES
from t2.errors import T2Error
from t2.heads.base import Head, Prediction
from t2.heads.prior import PriorHead
from t2.heads.training_votes import TrainingVotes
from t2.policies.asc import ASC, check_threshold
from t2.policies.stopping import TableRule
from t2.policies.then_stop import Prices, Priors, priors_of_everyone, priors_of_weights

ONE_ROUND_PRICE = 100.0
"""Accuracy points that no second round can bring: the price of a round of what waits once. A file has no infinity."""


@dataclass(frozen=True)
class StopInputs:
    """What stopping rules may be made from."""

    votes: TrainingVotes | None = None
    """of the questions that a plan without a head is made from"""
    head: Head | None = None
    prediction: Prediction | None = None
    """what the head says of the questions at hand"""
    made: dict[tuple[str, int], Priors] = field(default_factory=dict, repr=False, compare=False)
    """priors that a rule has made, by its name and cap: prices differ from setting to setting, priors do not"""

    def priors(self, name: str, cap: int, make: Callable[[], Priors]) -> Priors:
        """Those of before, if there are some."""
        if (name, cap) not in self.made:
            self.made[name, cap] = make()
        return self.made[name, cap]


@dataclass(frozen=True)
class Stopper(ABC):
    """A stopping rule at its setting."""

    name: ClassVar[str]
    """in files"""
    needs: ClassVar[Literal["nothing", "votes", "head"]]

    cap: int
    """most samples of a question"""

    def __post_init__(self) -> None:
        # Tables grow with the cube of the cap, so a wrong file must not ask for any.
        if not (isinstance(self.cap, int) and not isinstance(self.cap, bool) and 1 <= self.cap <= MAX_SAMPLES):
            raise T2Error(
                f"Expected a `cap` of {self.name} in samples, a whole number from 1 to {MAX_SAMPLES}, got {self.cap!r}."
            )

    @property
    def arguments(self) -> dict[str, object]:
        return asdict(self)

    @abstractmethod
    def rule(self, given: StopInputs) -> TableRule:
        """The table, and which of its priors each question has.

        Raises:
            T2Error: what the rule needs is not given.
        """


@dataclass(frozen=True)
class StopByVotes(Stopper):
    """`ASC` at a threshold."""

    name: ClassVar[str] = "ASC"
    needs: ClassVar[Literal["nothing"]] = "nothing"

    threshold: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_threshold(self.threshold, self.name)

    def rule(self, given: StopInputs) -> TableRule:
        return ASC(self.threshold, self.cap)


@dataclass(frozen=True)
class _Planned(Stopper):
    """A plan of rounds at two prices, see `Prices`."""

    price: float
    round_price: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.prices

    @property
    def prices(self) -> Prices:
        return Prices(self.price, self.round_price)


@dataclass(frozen=True)
class PlanWithoutHead(_Planned):
    """Planned rounds from one prior for all questions: those that were learned from."""

    name: ClassVar[str] = "NoHeadThenStop"
    needs: ClassVar[Literal["votes"]] = "votes"

    def rule(self, given: StopInputs) -> TableRule:
        if (votes := given.votes) is None:
            raise T2Error(f"Expected the votes of training questions for {self.name}, got none. Export again.")
        priors = given.priors(self.name, self.cap, lambda: priors_of_everyone(votes, self.cap))
        return TableRule(priors.tables([self.prices])[0])


@dataclass(frozen=True)
class PlanWithHead(_Planned):
    """Planned rounds with a `PriorHead`'s own prior of each question."""

    name: ClassVar[str] = "HeadThenStop"
    needs: ClassVar[Literal["head"]] = "head"

    def rule(self, given: StopInputs) -> TableRule:
        head, prediction = given.head, given.prediction
        if not isinstance(head, PriorHead):
            kind = "none" if head is None else type(head).__name__
            raise T2Error(f"Expected a PriorHead to plan rounds with, got {kind}. Train `model.head: PriorHead`.")
        assert prediction is not None
        weight_BJ = prediction.atom_weights_BJ
        assert weight_BJ is not None
        tokens_B = prediction.log_tokens_B.double().exp()
        priors = given.priors(
            self.name,
            self.cap,
            lambda: priors_of_weights(head.votes, head.spread_JQ, weight_BJ, head.lam, tokens_B, self.cap),
        )
        return TableRule(priors.tables([self.prices])[0], torch.arange(len(weight_BJ)))


STOPPERS: dict[str, type[Stopper]] = {cls.name: cls for cls in (StopByVotes, PlanWithHead, PlanWithoutHead)}
"""Stopping rules by name: the whitelist of exports."""
