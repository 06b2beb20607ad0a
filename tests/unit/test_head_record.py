"""Records of heads: what is read is written again, from exports older and newer than this version."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from t2.errors import T2Error
from t2.head_record import NO_DATA, DataRecord, HeadRecord
from t2.heads import CurveHead, HeadShape
from t2.policies import Utility
from t2.policies.record import PolicyRecord

INTERVAL = {"value": 0.5, "low": 0, "high": 1.0}
POLICY = {"name": "Utility", "arguments": {"price": 0.46}}
TODAY: dict[str, Any] = {
    "policy": POLICY,
    "metrics": {"area": INTERVAL, "accuracy": INTERVAL, "generated_tokens": INTERVAL, "total_tokens": INTERVAL}
    | {"samples": INTERVAL, "n_ref": 24},
    "head": "CurveHead",
    "head_arguments": {"num_atoms": 4, "hidden": 64, "dropout": 0.3, "eta": 5.0, "eps": 0.02},
    "shape": {"num_layers": 2, "width": 8, "grid": [1, 3], "label_grid": [1]},
    "base_model": {"id": "org/model", "revision": None, "fingerprint": "f" * 64},
    "features": {"model_fingerprint": "f" * 64, "layers": [4, 8], "pooling": "last-token"},
    "prompt": {
        "template": "chat",
        "system": "",
        "shots": [{"question": "1+1", "answer": "2"}],
        "fingerprint": "a" * 64,
    },
    "sampling": {"temperature": 1.0, "stop": []},
    "labels": {"eps": 0.02, "samples_per_question": 32, "grader": "exact", "cost_unit": "tokens"}
    | {"questions": {"train": 20}},
    "mean_tokens_per_sample": None,
    "seen_questions": ["ba7816bf8f01cfea"],
    "calibration": {"status": "calibrated", "promise": "It keeps.", "alpha": 0.02, "delta": 0.1, "form": "reference"}
    | {"num_questions": 166, "needed": 114, "n_ref": 24, "settings": [POLICY], "p_values": [0.06], "chosen": 0}
    | {"configured_policy": POLICY, "needed_lossless": 144},
}
"""What `fit` records now, in its order."""


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in keys}


UNTESTED = (
    without(TODAY["calibration"], "needed_lossless")
    | {"status": "too_few_questions", "n_ref": None}
    | {
        "settings": [],
        "p_values": [],
        "chosen": None,
    }
)


@pytest.mark.parametrize(
    "record",
    [
        TODAY,
        {**TODAY, "calibration": UNTESTED},
        {**TODAY, "features": {**TODAY["features"], "model_id": "org/proxy", "model_revision": None}},
        # The first version that exported heads: no calibration, no record of questions, one cost unit.
        {**without(TODAY, "calibration", "seen_questions"), "labels": without(TODAY["labels"], "cost_unit")},
        # Of a trainer without a `BudgetDataModule`.
        {name: TODAY[name] for name in ("policy", "metrics", "head", "head_arguments", "shape")} | {"metrics": {}},
        # A newer version, at the top and inside.
        {**TODAY, "labels": {**TODAY["labels"], "noise": [0.1]}, "calibration": UNTESTED, "author": {"name": "x"}},
    ],
    ids=["today", "untested", "proxy", "first version", "no data", "newer"],
)
def test_what_is_read_is_written_again(record: dict[str, Any]) -> None:
    read = HeadRecord.from_json(record, "here")
    assert json.dumps(read.as_json()) == json.dumps(record)
    assert HeadRecord.from_json(read.as_json(), "there") == read


def test_what_code_makes_of_a_record_is_written_too() -> None:
    read = HeadRecord.from_json(TODAY, "here")
    changed = replace(read, policy=PolicyRecord.of(Utility(2.0)), calibration=None)
    policy = {"name": "Utility", "arguments": {"price": 2.0}}
    assert changed.as_json() == {**without(TODAY, "calibration"), "policy": policy}


def test_a_head_with_and_without_data() -> None:
    head = CurveHead(HeadShape(2, 8, (1, 3), (1,)), num_atoms=4)
    own = {name: TODAY[name] for name in ("head", "head_arguments", "shape")}
    assert HeadRecord.of(head).as_json() == HeadRecord.of(head, NO_DATA).as_json() == own
    unlabelled = DataRecord(sampling={"top_k": 0}, mean_tokens_per_sample=None)
    assert HeadRecord.of(head, unlabelled).as_json() == {
        **own,
        "sampling": {"top_k": 0},
        "mean_tokens_per_sample": None,
    }, "an unknown mean is told"


@pytest.mark.parametrize("value", [None, 3, "text", [TODAY]])
def test_no_object_is_no_record(value: object) -> None:
    with pytest.raises(T2Error, match=r"Expected an object in last\.ckpt, got .* The file is damaged\."):
        HeadRecord.from_json(value, "last.ckpt")


def test_what_a_template_is_told_is_recorded_where_it_is_told_something() -> None:
    told = {**TODAY["prompt"], "template_arguments": {"enable_thinking": False}, "date": "2026-11-29"}
    record = HeadRecord.from_json({**TODAY, "prompt": told}, "test")
    assert record.prompt is not None
    assert record.prompt.spec.as_json() | {"fingerprint": "a" * 64} == told
    assert record.as_json()["prompt"] == told
    assert HeadRecord.from_json(TODAY, "test").as_json()["prompt"] == TODAY["prompt"]
