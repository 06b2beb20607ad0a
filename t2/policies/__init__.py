"""Policies: from a prediction, or from the votes so far, to how many samples are drawn."""

from t2.policies.asc import ASC
from t2.policies.base import Costs, OneRound, Replay
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.oracle import OwnOracle

POLICIES: dict[str, type[OneRound]] = {cls.__name__: cls for cls in (FixedN, PredictedN, Utility)}
"""One-round policies by name: the whitelist of configs and exports."""

__all__ = ["ASC", "POLICIES", "Costs", "FixedN", "OneRound", "OwnOracle", "PredictedN", "Replay", "Utility"]
