"""A policy as primitives, for checkpoints and exports, and back through the whitelist."""

from __future__ import annotations

from dataclasses import dataclass

from t2.errors import T2Error
from t2.json_record import JsonRecord
from t2.policies import POLICIES
from t2.policies.base import OneRound


@dataclass(frozen=True)
class PolicyRecord(JsonRecord):
    """A one-round policy by name."""

    name: str
    arguments: dict[str, object]
    """which `OneRound` keeps as its attributes"""

    @classmethod
    def of(cls, policy: OneRound) -> PolicyRecord:
        return cls(type(policy).__name__, dict(vars(policy)))

    def policy(self) -> OneRound:
        """The policy of the whitelist.

        Raises:
            T2Error: an unknown name, or arguments that the policy does not have or does not take.
        """
        if self.name not in POLICIES:
            raise T2Error(f"Expected a policy among {sorted(POLICIES)}, got {self.name!r}. Export the head again.")
        try:
            return POLICIES[self.name](**self.arguments)
        except TypeError as error:
            raise T2Error(
                f"Expected arguments of policy {self.name}, got {self.arguments}: {error}. Export the head again."
            ) from error
