"""What this machine computes fast, and on how many threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import set_num_threads as _set_num_threads  # vLLM replaces torch's own where it has bound threads to cores

X86 = ("x86_64", "AMD64")


def emulates_16_bits() -> bool:
    """Whether 16-bit arithmetic is slower than float32 here: no GPU, and an x86 CPU without AVX512.

    On such a CPU bf16 products run at about a tenth of the float32 rate (docs/LOG.md).
    """
    if torch.cuda.is_available() or platform.machine() not in X86:
        return False
    return "AVX512" not in torch.backends.cpu.get_cpu_capability()


@contextmanager
def one_thread() -> Iterator[None]:
    """For thousands of small products: threads get in each other's way. The number of before comes back."""
    before = torch.get_num_threads()
    _set_num_threads(1)
    try:
        yield
    finally:
        _set_num_threads(before)
