"""Rows of a data set: of a file, of a folder of files, or of the hub through the library `datasets`.

A JSON, JSON Lines or CSV file is read here as strictly as any other file of questions: `datasets` guesses types, which
makes dates of texts like 2024-01-01, 7.0 of 007 and nothing of NA, and lets the last of two equal keys win.
"""

from __future__ import annotations

import contextlib
import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2.errors import T2Error, quoted
from t2.hub import is_hub_id
from t2.json_lines import JsonObject, object_of, object_of_cells, read_list, read_objects

SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Files that are read; whatever ends in one is meant as a file."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class DataSet:
    """Which rows are meant."""

    path: str
    """hub id, or a local file or folder"""
    name: str | None
    """configuration of a data set that has several; None: its only or default one"""
    split: str
    revision: str | None
    """branch, tag or commit on the hub; None: the newest"""
    streaming: bool
    """read rows from the hub as they are asked for, instead of all into the local cache"""

    @property
    def is_local(self) -> bool:
        """Whether a file or folder of that name is there."""
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            return Path(self.path).expanduser().exists()
        return False

    def __str__(self) -> str:
        parts = [self.path] if self.is_local and Path(self.path).is_file() else [self.path, self.name, self.split]
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Rows:
    """The rows of a data set, and what it is."""

    rows: Iterator[JsonObject]
    commit: str | None
    """of the hub; None for files"""


def read_rows(data: DataSet, columns: Sequence[str]) -> Rows:
    """Open a data set; rows are read as they are asked for.

    Args:
        data: hub id or path.
        columns: that every row must have; the others need not be read.

    Raises:
        T2Error: no such file, folder, data set, configuration, split, revision or column, or a file that is damaged.
    """
    if data.is_local:
        path = Path(data.path).expanduser()
        if path.is_file():
            return Rows(_checked(_file_rows(path, data), columns, str(path)), None)
        return _library_rows(data, columns, str(path))
    if data.path.endswith(SUFFIXES) or not is_hub_id(data.path):
        raise T2Error(
            f"Expected a file, a folder or the hub id NAMESPACE/NAME as the `path` of a data set, got "
            f"{quoted(data.path)}: no such file or folder, and no hub id. Check the path."
        )
    return _library_rows(data, columns, data.path)


def _file_rows(path: Path, data: DataSet) -> Iterable[JsonObject]:
    if path.suffix == ".parquet":
        return _parquet_rows(path, data)
    if path.suffix == ".json":
        return read_list(path, "questions")
    if path.suffix in (".jsonl", ".ndjson"):
        return read_objects(path, "questions")
    if path.suffix in (".csv", ".tsv"):
        return _csv_rows(path)
    raise T2Error(f"Expected a file that ends in {', '.join(SUFFIXES)}, got {path}. Name it by what it holds.")


def _csv_rows(path: Path) -> Iterator[JsonObject]:
    """The rows of a table whose first row names its columns; every cell is a text as it stands there."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            names = next(lines, [])
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise T2Error(f"Expected each column once, got {quoted(twice[0])} twice in {path}. Rename one of them.")
            for cells in lines:
                where = f"{path}:{lines.line_num}"
                if cells and len(cells) != len(names):
                    raise T2Error(f"Expected {len(names)} cells, got {len(cells)} at {where}. Quote texts with commas.")
                if cells:
                    yield object_of_cells(dict(zip(names, cells, strict=True)), where, lines.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise T2Error(f"Expected a CSV file in UTF-8, got {path}: {_one_line(error)}.") from error


def _parquet_rows(path: Path, data: DataSet) -> Iterator[JsonObject]:
    with _as_one_line(str(path)):
        from datasets import load_dataset

        files = {"train": str(path)}
        return _numbered(load_dataset("parquet", data_files=files, split="train", streaming=data.streaming), str(path))


def _library_rows(data: DataSet, columns: Sequence[str], path: str) -> Rows:
    """Through `datasets`: it caches what it has read, so that the next time needs no network."""
    with _as_one_line(str(data)):
        from datasets import disable_progress_bars, load_dataset_builder

        if not sys.stderr.isatty():
            disable_progress_bars()
        builder = load_dataset_builder(path, data.name, revision=None if data.is_local else data.revision)
        commit = None if data.is_local else _commit(builder, data)
        if data.streaming:
            table = builder.as_streaming_dataset(data.split)
        else:
            builder.download_and_prepare()
            table = builder.as_dataset(data.split)
        if table.column_names is not None and set(columns) <= set(table.column_names):
            table = table.select_columns(columns)  # others may hold pictures, which would be decoded
    return Rows(_checked(_numbered(table, str(data)), columns, str(data)), commit)


def _commit(builder: Any, data: DataSet) -> str | None:
    """The commit that a builder of `datasets` reads: of the hub, or without a network of the local cache.

    Raises:
        T2Error: the cache alone can be read, and holds another revision than the one that is wanted.
    """
    commit = str(builder.hash)
    if data.revision not in (None, commit) and type(builder).__module__.endswith("cache.cache"):
        raise T2Error(
            f"Expected revision {data.revision!r} of {data.path}, got only {commit}, from the local cache: the hub "
            "cannot be reached. Connect, or set `revision` to that."
        )
    return commit if _COMMIT.fullmatch(commit) else None


def _numbered(table: Iterable[dict[str, object]], source: str) -> Iterator[JsonObject]:
    with _as_one_line(source):
        for number, row in enumerate(table, 1):
            yield object_of(row, f"{source}, row {number}", number)


def _checked(rows: Iterable[JsonObject], columns: Sequence[str], source: str) -> Iterator[JsonObject]:
    """The same rows, if the first has every column.

    Raises:
        T2Error: it has not; names what there is.
    """
    for number, row in enumerate(rows):
        if number == 0 and (missing := [name for name in columns if name not in row.row]):
            raise T2Error(
                f"Expected the columns {list(columns)} in {source}, got none called {missing[0]!r}: it has "
                f"{quoted(', '.join(row.row), 300)}. Mend `question`, `answer` or what else names it."
            )
        yield row


@contextlib.contextmanager
def _as_one_line(source: str) -> Iterator[None]:
    """What `datasets` says of a data set that it cannot read, as one line."""
    try:
        yield
    except T2Error:
        raise
    except Exception as error:  # of `datasets`, the hub's client, its HTTP library, pyarrow: they share no base
        raise T2Error(
            f"Expected a data set, got {quoted(source, 200)}: {_one_line(error.__cause__ or error)}. Check path, name, "
            "split and revision, the network, and whether the data set wants HF_TOKEN."
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
