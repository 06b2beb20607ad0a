"""Exports of every kind of head, and one of a CurveHead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.exports import HEADS, randomised, record_of, save

from t2.heads import Head


@pytest.fixture(params=HEADS)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Head, dict[str, Any], Path]:
    make, policy = HEADS[request.param]
    head = randomised(make())
    record = record_of(head, policy)
    return head, record, save(head, record, tmp_path / "head")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make, policy = HEADS["CurveHead"]
    head = randomised(make())
    return save(head, record_of(head, policy), tmp_path / "head")
