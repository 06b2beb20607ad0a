"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

_READ_AT_ONCE = 1 << 16
"""Bytes, where the end of the last whole line is looked for."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file, then fsync it, rename it to `path` and fsync the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        write(scratch)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    _sync_folder(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """`write_atomically` for a UTF-8 text."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """`write_atomically` for bytes."""
    write_atomically(path, lambda scratch: scratch.write_bytes(content))


def append_line(path: Path, line: str) -> None:
    """Append one line and fsync it; a reader must ignore a last line without its newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("ab") as file:
        end = file.tell()
        try:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except BaseException:  # a full disk, a signal: whoever tries again must not append to half a line
            os.ftruncate(file.fileno(), end)
            raise
    if new:
        _sync_folder(path.parent)


def cut_half_line(handle: int) -> None:
    """Truncate an open file to its whole lines: half of one, left by an end, would spoil what is appended."""
    os.ftruncate(handle, _end_of_lines(handle))


def _end_of_lines(handle: int) -> int:
    """Bytes up to the end of the last whole line."""
    end = os.fstat(handle).st_size
    while end:
        start = max(0, end - _READ_AT_ONCE)
        if (place := os.pread(handle, end - start, start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
