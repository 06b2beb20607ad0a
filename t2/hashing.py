"""Stable hashes: equal across processes, machines and Python versions (unlike `hash`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, as 64 hex digits."""
    # Sorted keys and no spaces: equal values give equal text.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def unit_interval(*parts: str | int) -> float:
    """A number in [0, 1) that depends on `parts` alone; uniform over distinct parts."""
    return next(unit_intervals(parts[:-1], [str(parts[-1])]))


def unit_intervals(first_parts: Iterable[str | int], last_parts: Iterable[str]) -> Iterator[float]:
    """`unit_interval(*first_parts, last)` for each of `last_parts`; what they share is hashed once."""
    shared = hashlib.blake2b("".join(f"{part}\x1f" for part in first_parts).encode(), digest_size=8)
    for last in last_parts:
        whole = shared.copy()
        whole.update(last.encode())
        # The upper 53 of 64 bits: as many as a float holds, so that it never rounds up to 1.
        yield (int.from_bytes(whole.digest(), "big") >> 11) / (1 << 53)


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
