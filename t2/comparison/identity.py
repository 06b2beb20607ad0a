"""Which contender is meant, in fields that code compares, and the one place that makes a name for people of it. Pure.

Names are for display alone: nobody looks anything up by one, or reads a policy or a source out of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

BEST_LAYER, TFIDF, PROMPT_LENGTH = "best layer ridge", "TF-IDF ridge", "prompt length"
GENERATOR = "generator difficulty"
"""Sources that are controls, as they are called in `Source.name` and in stored predictions."""
ORACLES = ("BayesOracle", "OwnOracle")
"""Policies that know half of a question's own samples: references, which nobody could run."""
PLANNED = "PlannedRounds"
"""The policy of a `HeadThenStop` with a price for tokens and one for rounds; without a source it has no head."""
ONE_SAMPLE = "OneSample"
"""The policy that takes a random answer, where FixedN(1) takes the greedy one."""
AT_ONCE = "AllAtOnce"
"""Ending of policies that start all samples at once and abort the rest when they stop, as "ASCAllAtOnce"."""
LAST_LAYER = "last layer"
"""How the names of sources begin that read the last tapped layer alone."""
SHUFFLED = "shuffled features"
"""How the names of sources begin that read features of other questions."""
UTILITIES = ("Utility", "BlendedUtility")
"""Policies that weigh a curve against a price; the second on the mean of a source's own curve and its bin's."""


class Role(StrEnum):
    """What is no contender of its own: the reference, and the best of a field, which each fold's questions name."""

    REFERENCE = "reference"
    STOPPER = "best stopper"
    PLANNED = "best head planned"
    PLANNED_CONTROL = "best control planned"
    THEN_STOP = "best head then stop"
    CONTROL_THEN_STOP = "best control then stop"
    ONE_ROUND = "best head in one round"
    GENERATOR_ONE_ROUND = "generator in one round"
    TEXT_ONE_ROUND = "text in one round"
    BY_AREA = "best head by area"
    IN_BINS = "best head in bins by area"
    CONTROL_BY_AREA = "best control in bins by area"

    @property
    def display_name(self) -> str:
        return display_name_of(self)


class Key(NamedTuple):
    """A contender of its own: what it does with what it knows of a question beforehand."""

    policy: str
    """name of the policy's class; "BlendedUtility" is `Utility` too, see `UTILITIES`"""
    source: str = ""
    """name of the `Source` that is asked; "" if it asks none"""
    in_bins: bool = False
    """decides on the mean curve of the source's bin (`comparison.bins`), not on the source's own curve"""

    @property
    def display_name(self) -> str:
        return display_name_of(self)


_ROLE_NAMES = {
    Role.REFERENCE: "FixedN(N_ref)",
    Role.STOPPER: "best stopper",
    Role.PLANNED: "best head, planned rounds",
    Role.PLANNED_CONTROL: "best control, planned rounds",
    Role.THEN_STOP: "best HeadThenStop",
    Role.CONTROL_THEN_STOP: "best control's HeadThenStop",
    Role.ONE_ROUND: "best one-round head",
    Role.GENERATOR_ONE_ROUND: f"{GENERATOR}, one round",
    Role.TEXT_ONE_ROUND: f"{TFIDF}, one round",
    Role.BY_AREA: "best one-round head by area",
    Role.IN_BINS: "best head in bins by area",
    Role.CONTROL_BY_AREA: "best control in bins by area",
}


_POLICY_NAMES = {
    "BlendedUtility": "own and bins + Utility",
    PLANNED: "planned rounds",
    ONE_SAMPLE: "FixedN(1), sampled",
    f"ASC{AT_ONCE}": "ASC, all at once",
    f"NoHeadThenStop{AT_ONCE}": "NoHeadThenStop, all at once",
    "HubDoubling": "Doubling(0.75), as its_hub",
}


def display_name_of(which: Key | Role) -> str:
    """What people read: "CurveHead + bins + Utility"."""
    if isinstance(which, Role):
        return _ROLE_NAMES[which]
    if which.policy == "DSC":
        return f"DSC by {which.source or 'other-fold mean correct'}"
    if which.policy == PLANNED and not which.source:
        return "no head, planned rounds"
    policy = _POLICY_NAMES.get(which.policy, which.policy)
    return " + ".join(part for part in (which.source, "bins" if which.in_bins else "", policy) if part)
