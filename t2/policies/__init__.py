"""Policies: from a prediction, or from the votes so far, to how many samples are drawn."""

from t2.policies.asc import ASC
from t2.policies.base import Costs, OneRound, Replay
from t2.policies.batch_budget import BatchBudget
from t2.policies.dsc import DSC
from t2.policies.one_round import FixedN, PredictedN, Utility
from t2.policies.oracle import BayesOracle, OwnOracle
from t2.policies.orders import Orders
from t2.policies.stopping import DrawTable, Sequential, TableRule
from t2.policies.then_stop import HeadThenStop
from t2.policies.windows import ESC, Doubling

POLICIES: dict[str, type[OneRound]] = {cls.__name__: cls for cls in (BatchBudget, FixedN, PredictedN, Utility)}
"""One-round policies by name: the whitelist of configs and exports."""

__all__ = [
    "ASC",
    "DSC",
    "ESC",
    "POLICIES",
    "BatchBudget",
    "BayesOracle",
    "Costs",
    "Doubling",
    "DrawTable",
    "FixedN",
    "HeadThenStop",
    "OneRound",
    "Orders",
    "OwnOracle",
    "PredictedN",
    "Replay",
    "Sequential",
    "TableRule",
    "Utility",
]
