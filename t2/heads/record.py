"""A head as primitives, for checkpoints and exports, and back through the whitelist."""

from __future__ import annotations

from typing import Any

from t2.errors import T2Error
from t2.heads import HEADS
from t2.heads.base import Head, HeadShape


def head_record(head: Head) -> dict[str, Any]:
    """Class, arguments and shape of a head as primitives."""
    shape = head.shape
    return {
        "head": type(head).__name__,
        "head_arguments": head.arguments,
        "shape": {
            "num_layers": shape.num_layers,
            "width": shape.width,
            "grid": list(shape.grid),
            "label_grid": list(shape.label_grid),
        },
    }


def shape_of(record: dict[str, Any]) -> HeadShape:
    """The shape that `head_record` wrote."""
    shape = record["shape"]
    return HeadShape(shape["num_layers"], shape["width"], tuple(shape["grid"]), tuple(shape["label_grid"]))


def head_from_record(record: dict[str, Any]) -> Head:
    """An untrained head of the recorded class, arguments and shape.

    Raises:
        T2Error: the class is not one of T2's heads, or its arguments do not fit.
    """
    name = record.get("head")
    if name not in HEADS:
        raise T2Error(f"Expected a head among {sorted(HEADS)}, got {name!r}. It was made by another version of t2.")
    try:
        return HEADS[name](shape_of(record), **record["head_arguments"])
    except (KeyError, TypeError) as error:
        raise T2Error(f"Expected a complete record of head {name}, got {error}. The file is damaged.") from error
