"""What a server says of its head: nothing of the machine, no paths. Pure."""

from __future__ import annotations

import re

from t2.answering.planner import Planner
from t2.api.requests import GRADER_NAMES, OPTIONS, RequestReader
from t2.api.upstream import Json
from t2.policies.record import arguments_of, in_words

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_PRICES = ("price", "round_price")


def described(planner: Planner, reader: RequestReader, head_name: str) -> Json:
    """The answer of `GET /t2`."""
    head, record = planner.head, planner.head.record
    arguments = arguments_of(head.policy)
    decision = record.decision
    return {
        "head": head_name,
        "model": public_name(record.base_model.id or ""),
        "model_fingerprint": record.base_model.fingerprint,
        "kind": record.head,
        "policy": in_words(head.policy),
        "decision": None if decision is None else {"basis": decision.basis, "why": decision.why},
        "reads_activations": planner.needs_activations,
        "layers": list(head.layers) if planner.needs_activations else [],
        "n_ref": planner.n_ref,
        "max_samples": planner.most,
        "largest_max_samples": planner.largest,
        "prices": {name: arguments[name] for name in _PRICES if name in arguments},
        "greedy_answer": head.is_greedy_first,
        "grader": None if reader.grader is None else reader.grader.version,
        "graders": sorted(GRADER_NAMES),
        "default": reader.default,
        "options": list(OPTIONS),
    }


def public_name(name: str) -> str:
    """A hub id as it is; of a folder its last part, since where it lies is nobody's business."""
    return name if _HUB_ID.fullmatch(name) else re.split(r"[/\\]", name.rstrip("/\\"))[-1]
