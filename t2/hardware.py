"""What this machine computes fast."""

from __future__ import annotations

import platform

import torch

X86 = ("x86_64", "AMD64")


def emulates_16_bits() -> bool:
    """Whether 16-bit arithmetic is slower than float32 here: no GPU, and an x86 CPU without AVX512.

    On such a CPU bf16 products run at about a tenth of the float32 rate (docs/LOG.md).
    """
    if torch.cuda.is_available() or platform.machine() not in X86:
        return False
    return "AVX512" not in torch.backends.cpu.get_cpu_capability()
