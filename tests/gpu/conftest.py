"""Tests that need an NVIDIA GPU: `pytest -m gpu`. Where torch sees none they are skipped, with the reason."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU that torch sees, and `torch.cuda.is_available()` is False")
