"""A policy as primitives, for checkpoints and exports, and back through the whitelist."""

from __future__ import annotations

from typing import Any

from t2.errors import T2Error
from t2.policies import POLICIES
from t2.policies.base import OneRound


def policy_record(policy: OneRound) -> dict[str, Any]:
    """Name and arguments of a policy, which `OneRound` keeps as its attributes."""
    return {"name": type(policy).__name__, "arguments": dict(vars(policy))}


def policy_from_record(record: Any) -> OneRound:
    """A policy of the whitelist, from a record of `policy_record` that may have been changed since.

    Raises:
        T2Error: no such record, an unknown name, or arguments that the policy does not have or does not take.
    """
    if not isinstance(record, dict):
        raise T2Error(f"Expected a policy as an object of name and arguments, got {record!r}. Export the head again.")
    name, arguments = record.get("name"), record.get("arguments")
    if not isinstance(name, str) or name not in POLICIES:
        raise T2Error(f"Expected a policy among {sorted(POLICIES)}, got {name!r}. Export the head again.")
    if not isinstance(arguments, dict):
        raise T2Error(f"Expected arguments of policy {name} by name, got {arguments!r}. Export the head again.")
    try:
        return POLICIES[name](**arguments)
    except TypeError as error:
        raise T2Error(
            f"Expected arguments of policy {name}, got {arguments}: {error}. Export the head again."
        ) from error
