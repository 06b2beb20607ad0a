"""What this machine computes fast, on how many threads, and how it keeps memory."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import torch
from torch import set_num_threads as _set_num_threads  # vLLM replaces torch's own where it has bound threads to cores

X86 = ("x86_64", "AMD64")
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt: free bytes at the heap's end that go back to the system, and size of what lies outside it."""
_KEPT_BYTES, _LARGEST_MMAP_BYTES = 1 << 30, 32 << 20
"""While freed memory is kept, and what glibc itself comes to where large blocks are freed."""
_lock, _keeping = Lock(), 0


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


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """For forward passes on a CPU, whose activations are freed and taken again block after block.

    By its luck with the order, glibc gives their pages back to the system each time, and to get them again took a sixth
    of the time of a model of 512 units. Afterwards glibc is told the largest thresholds that it chooses by itself, in
    the place of whatever the environment has set. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if platform.system() == "Linux" else None
    if mallopt is None:
        yield
        return
    _keep(mallopt, 1)
    try:
        yield
    finally:
        _keep(mallopt, -1)


def _keep(mallopt: Callable[[int, int], int], change: int) -> None:
    """Begin or end one of the contexts; of several at a time the first begins and the last ends it."""
    global _keeping
    with _lock:
        before, _keeping = _keeping, _keeping + change
        if bool(before) == bool(_keeping):
            return
        is_set = mallopt(_MMAP_THRESHOLD, _KEPT_BYTES if _keeping else _LARGEST_MMAP_BYTES)
        if not is_set:  # old versions know nothing above this
            mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_BYTES)
        mallopt(_TRIM_THRESHOLD, _KEPT_BYTES if _keeping else 2 * _LARGEST_MMAP_BYTES)
