"""The log of shadow mode: JSON lines that are there whole or not at all, and never cost a request."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from t2.errors import T2Error, in_a_line
from t2.json_lines import read_objects
from t2.shadow.replay import ShadowRecord
from t2.store.files import cut_half_line

_BEGINNING = b'{"format": "t2-shadow"'
"""Of every line that is written here: a record's first field."""
_logger = logging.getLogger(__name__)


class ShadowLog:
    """Appends to a file that several processes may share, and that the operator may rename at any time.

    The file is opened for each line, so that whoever rotates it by renaming gets a new one. Lines are not synced to the
    disk one by one: after a power failure the last ones may be missing.
    """

    def __init__(self, path: str | Path) -> None:
        """Make sure that it can be written, before a request is answered.

        Raises:
            T2Error: it cannot, or the file is of something else; that file is left as it is.
        """
        self.path, self.written, self.lost = Path(path), 0, 0
        self._counting = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)  # prompts may be nobody else's
            with os.fdopen(handle, "ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                if not _begins_a_log(file.read(len(_BEGINNING))):
                    raise T2Error(
                        f"Expected a new file for the log of shadow mode, or one of an earlier run, got {self.path}, "
                        "which holds something else. Name another file: nothing was written."
                    )
                # A line that was cut off, as by a power failure, would spoil the next one. It never was a record.
                cut_half_line(file.fileno())
        except OSError as error:
            raise T2Error(
                f"Expected a file for the log of shadow mode that can be written, got {self.path}: {error.strerror}. "
                "Name another one."
            ) from error

    def write(self, record: ShadowRecord) -> bool:
        """Append a record; False: it could not be written (a full disk), which is counted as `lost` and logged once."""
        line = (json.dumps(record.as_json(), allow_nan=False) + "\n").encode("ascii")
        try:
            self._append(line)
        except OSError as error:
            with self._counting:
                self.lost += 1
            if self.lost == 1:
                _logger.warning("The log of shadow mode loses records: %s: %s", self.path, in_a_line(error))
            return False
        with self._counting:
            self.written += 1
        return True

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # held for one write: nobody else's line may come between
            end = os.fstat(handle).st_size
            try:
                written = os.write(handle, line)
                if written < len(line):
                    raise OSError(f"wrote {written} of {len(line)} bytes")
            except OSError:
                os.ftruncate(handle, end)  # the next line must not be appended to a half
                raise
        finally:
            os.close(handle)


def read_shadow_log(path: Path) -> Iterator[ShadowRecord]:
    """Its records in order; a last line that is still being written is left out.

    Raises:
        T2Error: no such file, or a line that is no record; names the line.
    """
    for line in read_objects(path, "requests in shadow mode", still_written=True):
        try:
            record = ShadowRecord.from_json(line.values, line.where)
        except T2Error as error:  # a record says of itself what is wrong with it, not where it stands
            raise error if line.where in str(error) else T2Error(f"{error} It is {line.where}.") from error
        yield record


def _begins_a_log(content: bytes) -> bool:
    """Whether a file that begins so is a log; an empty one is, and one whose first line was cut off."""
    return content == _BEGINNING[: len(content)]
