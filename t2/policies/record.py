"""A policy as primitives, for checkpoints and exports, and back through the whitelists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from t2.errors import T2Error
from t2.json_record import JsonRecord
from t2.policies import POLICIES
from t2.policies.base import OneRound
from t2.policies.one_round import FixedN
from t2.policies.stoppers import STOPPERS, Stopper

Policy = OneRound | Stopper
"""What an export can decide by: once before decoding, or looking at the answers."""


def arguments_of(policy: Policy) -> dict[str, object]:
    """Its knobs by name; `OneRound` keeps them as its attributes."""
    return policy.arguments if isinstance(policy, Stopper) else dict(vars(policy))


def name_of(policy: Policy) -> str:
    """As files have it."""
    return policy.name if isinstance(policy, Stopper) else type(policy).__name__


def in_words(policy: Policy) -> str:
    """A policy with its knobs, as in Utility(price=3.0)."""
    return f"{name_of(policy)}({', '.join(f'{name}={value}' for name, value in arguments_of(policy).items())})"


def reads_activations(policy: Policy) -> bool:
    """Whether it needs a head's weights."""
    return policy.needs == "head" if isinstance(policy, Stopper) else not isinstance(policy, FixedN)


@dataclass(frozen=True)
class PolicyRecord(JsonRecord):
    """A policy by name."""

    name: str
    arguments: dict[str, object]

    @classmethod
    def of(cls, policy: Policy) -> PolicyRecord:
        return cls(name_of(policy), arguments_of(policy))

    def policy(self) -> Policy:
        """The policy of the whitelists.

        Raises:
            T2Error: an unknown name, or arguments that the policy does not have or does not take.
        """
        known: dict[str, Callable[..., Policy]] = {**POLICIES, **STOPPERS}
        if self.name not in known:
            raise T2Error(f"Expected a policy among {sorted(known)}, got {self.name!r}. Export the head again.")
        try:
            return known[self.name](**self.arguments)
        except TypeError as error:
            raise T2Error(
                f"Expected arguments of policy {self.name}, got {self.arguments}: {error}. Export the head again."
            ) from error
