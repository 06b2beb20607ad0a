"""Which machines compute in float32 although the model is saved in 16 bits, and how memory is kept."""

from __future__ import annotations

import resource
import sys
from types import SimpleNamespace

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


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives memory back")
def test_what_is_freed_is_taken_again_without_the_system() -> None:
    """Blocks of 16 MiB, freed and taken 50 times: without, each is 4,096 page faults."""

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(50):
            torch.ones(1 << 22)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with hardware.freed_memory_kept():
        faults()
        assert faults() < 4096


def test_of_several_contexts_the_first_begins_and_the_last_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """And an old glibc, which refuses large thresholds, gets the largest that it knows."""
    set_to: list[tuple[int, int]] = []

    def mallopt(name: int, size: int) -> int:
        set_to.append((name, size))
        return int(size <= 64 << 20)

    monkeypatch.setattr(hardware.platform, "system", lambda: "Linux")
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    with hardware.freed_memory_kept():
        begun = list(set_to)
        with hardware.freed_memory_kept():
            pass
        assert set_to == begun == [(-3, 1 << 30), (-3, 32 << 20), (-1, 1 << 30)]
    assert set_to[3:] == [(-3, 32 << 20), (-1, 64 << 20)]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: SimpleNamespace())
    with hardware.freed_memory_kept():
        pass
    monkeypatch.setattr(hardware.platform, "system", lambda: "Darwin")
    with hardware.freed_memory_kept():
        pass
