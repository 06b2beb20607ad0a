"""The card beside an export says what it is and what it promises."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from helpers.exports import ASC, FINGERPRINT, HEADS, NO_HEAD, SHAPE, calibration_record, record_of

from t2.errors import T2Error
from t2.head_record import HeadRecord
from t2.heads import CurveHead
from t2.model_card import model_card


def card_of(record: dict[str, Any]) -> str:
    return model_card(HeadRecord.from_json(record, "the test"))


def test_model_card() -> None:
    head, policy = CurveHead(SHAPE), {"name": "Utility", "arguments": {"price": 3.0}}
    card = card_of(record_of(head, policy))
    assert card.startswith('---\nlibrary_name: t2\nbase_model: "org/model"\n')
    for line in ("# CurveHead for org/model", "Utility(price=3.0)", "| area | 0.0213 | 0.01 to 0.03 |", "1, 3, 5, 7"):
        assert line in card
    assert "(questions, 3, 16)" in card


@pytest.mark.parametrize("name", ["qwen: v2", "1.5", "llama #3", "null", 'a "quoted" one', "modèle", None])
def test_any_name_of_an_llm_is_read_back_from_the_card(name: str | None) -> None:
    record = record_of(CurveHead(SHAPE), {"name": "Utility", "arguments": {"price": 3.0}})
    card = card_of({**record, "base_model": {"id": name, "revision": None, "fingerprint": FINGERPRINT}})
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == name


def test_the_card_says_what_is_promised() -> None:
    record = record_of(CurveHead(SHAPE), HEADS["CurveHead"][1])
    card = card_of({**record, "calibration": calibration_record()})
    assert "## Calibration\n\n**It keeps.**\n" in card
    assert "Tested were 2 settings, safest first; the p-value of the chosen\none is 0.0625." in card
    few = card_of(
        {**record, "calibration": calibration_record(status="too_few_questions", promise="Too few.", chosen=None)}
    )
    assert "## Calibration\n\nToo few.\n\n## Limits" in few
    assert "## Calibration\n\nNone: no accuracy is promised.\n\n## Limits" in card_of(record)
    assert "Calibration" not in card_of({**record, "policy": {"name": "FixedN", "arguments": {"n": 5}}})


def test_the_card_of_one_n_for_all_asks_for_nothing() -> None:
    card = card_of(record_of(CurveHead(SHAPE), {"name": "FixedN", "arguments": {"n": 5}}))
    assert "# FixedN, no head, for org/model" in card
    assert "One number of samples for every question: 5." in card
    assert "head.activations" not in card


def test_the_card_says_why_and_what_it_loses() -> None:
    """A warning, where the interval allows more than the allowance, stands out."""
    better = {"value": 0.55, "low": 0.5, "high": 0.6}
    axes = {"path_ratio": {**better, "value": 1.5}, "memory_ratio": {**better, "value": 0.3}}
    loses = {
        "policy": ASC,
        "difference": {"value": -0.7, "low": -1.4, "high": 0.1},
        "ratio": better,
        "rounds": 1.62,
        **axes,
    }
    decision = {
        "basis": "out_of_fold",
        "why": "It is the cheapest.",
        "allowance": 0.01,
        "max_rounds": 2.0,
        "n_ref": 7,
        "num_questions": 80,
        "loses": {**loses, "within": True},
        "warning": "It may lose up to 1.4 points.",
        "candidates": [{**loses, "within": True}, {**loses, "policy": NO_HEAD, "within": False}],
    }
    record = HeadRecord.from_json({**record_of(CurveHead(SHAPE), ASC), "decision": decision}, "the test")
    assert HeadRecord.from_json(record.as_json(), "the test") == record
    card = model_card(record)
    for line in (
        "## Decision\n\nIt is the cheapest.",
        "On questions that did not choose, choosing in this way changes accuracy by -0.70 [-1.40, 0.10] points ",
        "tokens of FixedN(7), in 1.62 rounds.",
        "**It may lose up to 1.4 points.**",
        "| 0.30 [0.50, 0.60] | yes |",
        "| 0.30 [0.50, 0.60] | no |",
        "| ASC(cap=7, threshold=0.9) | -0.70 [-1.40, 0.10] | 0.55 [0.50, 0.60] | 1.62 | 1.50 [0.50, 0.60] | ",
        "| NoHeadThenStop(cap=7, price=2.0, round_price=0.5) | -0.70 [-1.40, 0.10] | 0.55 [0.50, 0.60] | 1.62 | 1.50 ",
    ):
        assert line in card


def test_the_card_says_how_sure_its_confidence_is() -> None:
    line = {"intercept": 0.214, "slope": 1.046, "num_questions": 403}
    record = HeadRecord.from_json({**record_of(CurveHead(SHAPE), ASC), "confidence": line}, "the test")
    assert HeadRecord.from_json(record.as_json(), "the test") == record
    assert "(0.21 + 1.05 x log odds)\nthat was fitted to answers to 403 held-out questions." in model_card(record)
    assert "## Confidence" not in card_of(record_of(CurveHead(SHAPE), ASC))


@pytest.mark.parametrize("changes", [{"slope": 0.0}, {"slope": float("nan")}, {"intercept": float("inf")}])
def test_a_line_that_turns_confidence_round_is_refused(changes: dict[str, float]) -> None:
    line = {"intercept": 0.0, "slope": 1.0, "num_questions": 40, **changes}
    with pytest.raises(T2Error, match="of the confidence"):
        HeadRecord.from_json({**record_of(CurveHead(SHAPE), ASC), "confidence": line}, "the test")
