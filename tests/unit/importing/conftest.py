"""A file, the pool that it becomes, and the import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.imported_files import Import

from t2.importing.command import ImportSummary, import_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "samples.jsonl"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return tmp_path / "pool"


@pytest.fixture
def run(file: Path, pool: Path) -> Import:
    """Writes rows (or raw bytes) to the file and imports it."""

    def write_and_import(*rows: Any, **options: Any) -> ImportSummary:
        raw = rows[0] if rows and isinstance(rows[0], bytes) else "\n".join(map(json.dumps, rows)).encode()
        file.write_bytes(raw)
        return import_file(str(file), str(pool), **options)

    return write_and_import
