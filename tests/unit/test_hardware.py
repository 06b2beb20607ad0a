"""Which machines compute in float32 although the model is saved in 16 bits."""

from __future__ import annotations

import pytest
import torch

from t2 import hardware


@pytest.mark.parametrize(
    ("machine", "capability", "gpu", "expected"),
    [
        ("x86_64", "AVX2", False, True),
        ("AMD64", "DEFAULT", False, True),
        ("x86_64", "AVX512", False, False),
        ("x86_64", "AVX2", True, False),
        ("aarch64", "DEFAULT", False, False),
    ],
)
def test_16_bits_are_emulated_on_x86_without_avx512(
    monkeypatch: pytest.MonkeyPatch, machine: str, capability: str, gpu: bool, expected: bool
) -> None:
    monkeypatch.setattr(hardware.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert hardware.emulates_16_bits() is expected
