"""What a run of W&B that was kept offline holds, read from its file."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2


def records(run_file: Path) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format (32 KiB blocks; CRC, length, type before each piece)."""
    data, position, whole = run_file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # padding at the end of a block
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        whole += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, or last piece
            yield whole
            whole = b""


def finished(run_file: Path, seconds: float = 240.0) -> list[Any]:
    """All records; waits for the last one, since the writer may still be at it when `wandb.finish` returns."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = []
        with contextlib.suppress(DecodeError, struct.error):  # half written
            for data in records(run_file):
                found.append(wandb_internal_pb2.Record())
                found[-1].ParseFromString(data)
            if found and found[-1].WhichOneof("record_type") == "exit":
                return found
        time.sleep(0.2)
    raise AssertionError(f"{run_file} has no end after {seconds:g} seconds")


def configuration(run_file: Path) -> dict[str, Any]:
    """The run's configuration, by which W&B compares runs."""
    values: dict[str, Any] = {}
    for record in finished(run_file):
        for item in record.config.update:
            values[item.key] = json.loads(item.value_json)
    values.pop("_wandb", None)
    return values


def history(run_file: Path) -> dict[str, list[Any]]:
    """Logged values by key."""
    values: dict[str, list[Any]] = {}
    for record in finished(run_file):
        for item in record.history.item:
            values.setdefault(item.key or "/".join(item.nested_key), []).append(json.loads(item.value_json))
    return values


def artifacts(run_file: Path) -> dict[str, Any]:
    """Artifacts of the run by type, without those that W&B makes of tables and code."""
    found = [record.artifact for record in finished(run_file) if record.WhichOneof("record_type") == "artifact"]
    assert len({each.type for each in found}) == len(found)
    return {each.type: each for each in found if each.type in ("pool", "head", "report")}


def contents(artifact: Any) -> dict[str, Path]:
    """Name in the artifact -> the file that `wandb sync` uploads."""
    return {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
