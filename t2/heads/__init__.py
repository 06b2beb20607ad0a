"""Budget heads. `HEADS` is the whitelist by which a checkpoint or export names its class."""

from t2.heads.base import Head, HeadShape, Prediction, Targets
from t2.heads.curve import CurveHead
from t2.heads.layerwise import LayerwiseRegression
from t2.heads.ordinal import OrdinalHead
from t2.heads.prior import PriorHead

HEADS: dict[str, type[Head]] = {cls.__name__: cls for cls in (CurveHead, PriorHead, OrdinalHead, LayerwiseRegression)}

__all__ = [
    "HEADS",
    "CurveHead",
    "Head",
    "HeadShape",
    "LayerwiseRegression",
    "OrdinalHead",
    "Prediction",
    "PriorHead",
    "Targets",
]
